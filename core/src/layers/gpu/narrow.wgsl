// rows [m, k] × weight [k, n] + bias [n] for so few columns that they do not come by fours. A thread makes one number.
@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x / sizes.n;
    let column = id.x % sizes.n;
    if (row >= sizes.m) {
        return;
    }
    var sum = bias[column];
    var at = column;
    for (var i = 0u; i < sizes.k; i++) {
        let part = vec4<f32>(weight[at], weight[at + sizes.n], weight[at + 2u * sizes.n], weight[at + 3u * sizes.n]);
        at += 4u * sizes.n;
        sum += dot(part, rows[row * sizes.k + i]);
    }
    product[id.x] = sum;
}
