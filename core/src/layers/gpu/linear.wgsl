// rows [m, k] × weight [k, n] + bias [n], and what `finish` makes of it, four numbers at a time. A thread makes 8 rows of four
// neighbouring columns; threads side by side take columns side by side.
//
// No tile in workgroup memory: a caption has so few rows that a weight is read only once for 8 of them, and a GPU in
// software pays more for barriers and copies than a tile spares.
@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n = sizes.n;
    let column = id.x;
    if (column >= n) {
        return;
    }
    let row = id.y * 8u;
    // What lies past the last row repeats it, and is not stored.
    let last = sizes.m - 1u;
    let row0 = min(row, last) * sizes.k;
    let row1 = min(row + 1u, last) * sizes.k;
    let row2 = min(row + 2u, last) * sizes.k;
    let row3 = min(row + 3u, last) * sizes.k;
    let row4 = min(row + 4u, last) * sizes.k;
    let row5 = min(row + 5u, last) * sizes.k;
    let row6 = min(row + 6u, last) * sizes.k;
    let row7 = min(row + 7u, last) * sizes.k;
    let first = bias[column];
    var sum0 = first;
    var sum1 = first;
    var sum2 = first;
    var sum3 = first;
    var sum4 = first;
    var sum5 = first;
    var sum6 = first;
    var sum7 = first;
    var at = column;
    for (var i = 0u; i < sizes.k; i++) {
        let part = mat4x4<f32>(weight[at], weight[at + n], weight[at + 2u * n], weight[at + 3u * n]);
        at += 4u * n;
        sum0 += part * rows[row0 + i];
        sum1 += part * rows[row1 + i];
        sum2 += part * rows[row2 + i];
        sum3 += part * rows[row3 + i];
        sum4 += part * rows[row4 + i];
        sum5 += part * rows[row5 + i];
        sum6 += part * rows[row6 + i];
        sum7 += part * rows[row7 + i];
    }
    let to = row * n + column;
    product[to] = finish(sum0, to);
    if (row + 1u < sizes.m) { product[to + n] = finish(sum1, to + n); }
    if (row + 2u < sizes.m) { product[to + 2u * n] = finish(sum2, to + 2u * n); }
    if (row + 3u < sizes.m) { product[to + 3u * n] = finish(sum3, to + 3u * n); }
    if (row + 4u < sizes.m) { product[to + 4u * n] = finish(sum4, to + 4u * n); }
    if (row + 5u < sizes.m) { product[to + 5u * n] = finish(sum5, to + 5u * n); }
    if (row + 6u < sizes.m) { product[to + 6u * n] = finish(sum6, to + 6u * n); }
    if (row + 7u < sizes.m) { product[to + 7u * n] = finish(sum7, to + 7u * n); }
}
