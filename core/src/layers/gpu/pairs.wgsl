// Rows of the text's stream, each beside one of the image's; `place` says which. A thread copies four numbers of both.
@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    if (column >= sizes.width) {
        return;
    }
    let which = place(id.y);
    let to = 2u * id.y * sizes.width + column;
    pairs[to] = text[which.x * sizes.width + column];
    pairs[to + sizes.width] = image[which.y * sizes.width + column];
}
