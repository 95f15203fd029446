// The exchange of one layer, for both streams one below the other. A group takes four columns a thread of one sequence: it averages
// what the cls row pays over the heads, tells who is chosen, takes the other stream's mean, and gives it to them.
//
// `facts` has how often each row counts, then each sequence's quota.
var<workgroup> scores: array<f32, LONGEST>;
var<workgroup> chosen: array<f32, LONGEST>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let texts = sizes.batch * sizes.text;
    var start = group.y * sizes.text;
    var length = sizes.text;
    var other = texts + group.y * sizes.image;
    var others = sizes.image;
    var trace = start;
    var trace_chosen = sizes.text_chosen + start;
    if (group.y >= sizes.batch) {
        let nth = group.y - sizes.batch;
        start = texts + nth * sizes.image;
        length = sizes.image;
        other = nth * sizes.text;
        others = sizes.text;
        trace = sizes.image_scores + nth * sizes.image;
        trace_chosen = sizes.image_chosen + nth * sizes.image;
    }
    for (var row = thread; row < length; row += THREADS) {
        var sum = 0.0;
        for (var head = 0u; head < sizes.heads; head++) {
            sum += paid[(start + row) * sizes.heads + head];
        }
        scores[row] = sum / f32(sizes.heads);
    }
    workgroupBarrier();
    let quota = facts[texts + sizes.batch * sizes.image + group.y];
    for (var row = thread; row < length; row += THREADS) {
        // A score lies below the quantile when no more than the quota are not above it.
        var not_above = 0.0;
        for (var i = 1u; i < length; i++) {
            not_above += select(0.0, facts[start + i], scores[i] <= scores[row]);
        }
        chosen[row] = select(0.0, min(facts[start + row], 1.0), row > 0u && not_above <= quota);
        if (group.x == 0u) {
            told[trace + row] = scores[row];
            told[trace_chosen + row] = chosen[row];
        }
    }
    workgroupBarrier();
    let column = group.x * THREADS + thread;
    if (column >= sizes.width) {
        return;
    }
    var total = 0.0;
    for (var row = 0u; row < others; row++) {
        total += facts[other + row];
    }
    var mean = vec4<f32>();
    for (var row = 0u; row < others; row++) {
        mean += facts[other + row] / total * rows[(other + row) * sizes.width + column];
    }
    for (var row = 0u; row < length; row++) {
        let at = (start + row) * sizes.width + column;
        let kept = 1.0 - chosen[row] * f32(sizes.replace);
        exchanged[at] = rows[at] * kept + chosen[row] * mean;
    }
}
