// All heads' attention of sequences of two lengths, first those of the one, then those of the other. `projected` has each row's
// query, key and value side by side, PARTS times four numbers of each for a head. A thread takes a query of a head and goes over
// the keys once, with the softmax of those that it has seen (Milakov and Gimelshein 2018, arXiv:1805.02867).
//
// Then the threads tell what the first row pays to each key.
var<workgroup> first: vec2<f32>; // the largest score of the first row, and the sum over its weights

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    var start = group.z * sizes.one;
    var length = sizes.one;
    if (group.z >= sizes.batch) {
        start = sizes.batch * sizes.one + (group.z - sizes.batch) * sizes.other;
        length = sizes.other;
    }
    let heads = sizes.heads * PARTS;
    let head = group.y * PARTS;
    let scale = inverseSqrt(4.0 * f32(PARTS));
    let row = group.x * THREADS + thread;
    if (row < length) {
        let query = (start + row) * 3u * heads + head;
        var wanted: array<vec4<f32>, PARTS>;
        var sum: array<vec4<f32>, PARTS>;
        for (var i = 0u; i < PARTS; i++) {
            wanted[i] = projected[query + i] * scale;
        }
        var largest = -1e30;
        var total = 0.0;
        for (var other = 0u; other < length; other++) {
            let key = ((start + other) * 3u + 1u) * heads + head;
            var products = vec4<f32>();
            for (var i = 0u; i < PARTS; i++) {
                products += wanted[i] * projected[key + i];
            }
            let score = dot(products, vec4<f32>(1.0)) + key_bias(start + other);
            let next = max(largest, score);
            let kept = exp(largest - next);
            let weight = exp(score - next);
            largest = next;
            total = total * kept + weight;
            for (var i = 0u; i < PARTS; i++) {
                sum[i] = sum[i] * kept + weight * projected[key + heads + i];
            }
        }
        for (var i = 0u; i < PARTS; i++) {
            attended[(start + row) * heads + head + i] = sum[i] / total;
        }
        if (row == 0u) {
            first = vec2<f32>(largest, total);
        }
    }
    workgroupBarrier();
    if (group.x > 0u) {
        return;
    }
    for (var other = thread; other < length; other += THREADS) {
        let query = start * 3u * heads + head;
        let key = ((start + other) * 3u + 1u) * heads + head;
        var products = vec4<f32>();
        for (var i = 0u; i < PARTS; i++) {
            products += projected[query + i] * scale * projected[key + i];
        }
        let score = dot(products, vec4<f32>(1.0)) + key_bias(start + other);
        paid[(start + other) * sizes.heads + group.y] = exp(score - first.x) / first.y;
    }
}
