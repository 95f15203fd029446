// Layer normalisation. A group takes a row: each thread the mean and the squared distances of its own columns, four at a time,
// and then each joins those of all (Chan et al. 1983), which takes one barrier.
var<workgroup> parts: array<vec3<f32>, THREADS>; // how many, their mean, their squared distances from it

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x * sizes.width;
    var sum = vec4<f32>();
    var count = 0.0;
    for (var i = thread; i < sizes.width; i += THREADS) {
        sum += rows[row + i];
        count += 4.0;
    }
    let mean = dot(sum, vec4<f32>(1.0)) / max(count, 1.0);
    var squares = vec4<f32>();
    for (var i = thread; i < sizes.width; i += THREADS) {
        let distance = rows[row + i] - mean;
        squares += distance * distance;
    }
    parts[thread] = vec3<f32>(count, mean, dot(squares, vec4<f32>(1.0)));
    workgroupBarrier();
    let width = 4.0 * f32(sizes.width);
    var center = 0.0;
    for (var i = 0u; i < THREADS; i++) {
        center += parts[i].x * parts[i].y;
    }
    center /= width;
    var variance = 0.0;
    for (var i = 0u; i < THREADS; i++) {
        let distance = parts[i].y - center;
        variance += parts[i].z + parts[i].x * distance * distance;
    }
    let scale = 1.0 / sqrt(variance / width + bitcast<f32>(sizes.epsilon));
    for (var i = thread; i < sizes.width; i += THREADS) {
        normal[row + i] = (rows[row + i] - center) * scale * gamma[i] + beta[i];
    }
}
