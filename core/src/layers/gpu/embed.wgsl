// The sum of what a piece has of its own, of its place and of the first segment; and of what `extra` gives. A thread makes four
// numbers of a row.
@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    if (column >= sizes.width) {
        return;
    }
    let place = id.y % sizes.length;
    let word = words[u32(pieces[id.y]) * sizes.width + column];
    let at = id.y * sizes.width + column;
    sum[at] = word + (positions[place * sizes.width + column] + segments[column]) + more(at);
}
