// rows [m, k] × weight [k, n] + bias [n], four numbers at a time. A thread makes 8 rows of four neighbouring columns; threads
// side by side take columns side by side.
//
// No tile in workgroup memory: a caption has so few rows that a weight is read only once for 8 of them, and a GPU in
// software pays more for barriers and copies than a tile spares.
@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> product: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> sizes: array<u32>; // m, k / 4, n / 4

@compute @workgroup_size(32)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = sizes[0];
    let k = sizes[1];
    let n = sizes[2];
    let column = id.x;
    if (column >= n) {
        return;
    }
    let row = id.y * 8u;
    // What lies past the last row repeats it, and is not stored.
    let last = m - 1u;
    let row0 = min(row, last) * k;
    let row1 = min(row + 1u, last) * k;
    let row2 = min(row + 2u, last) * k;
    let row3 = min(row + 3u, last) * k;
    let row4 = min(row + 4u, last) * k;
    let row5 = min(row + 5u, last) * k;
    let row6 = min(row + 6u, last) * k;
    let row7 = min(row + 7u, last) * k;
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
    for (var i = 0u; i < k; i++) {
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
    product[to] = sum0;
    if (row + 1u < m) { product[to + n] = sum1; }
    if (row + 2u < m) { product[to + 2u * n] = sum2; }
    if (row + 3u < m) { product[to + 3u * n] = sum3; }
    if (row + 4u < m) { product[to + 4u * n] = sum4; }
    if (row + 5u < m) { product[to + 5u * n] = sum5; }
    if (row + 6u < m) { product[to + 6u * n] = sum6; }
    if (row + 7u < m) { product[to + 7u * n] = sum7; }
}
