// Both streams one below the other, each sample's cls row in front of its rows: first all of the text's, then all of the image's.
// A thread copies four numbers of a row.
@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    if (column >= sizes.width) {
        return;
    }
    let to = id.y * sizes.width + column;
    let texts = sizes.batch * sizes.text;
    if (id.y < texts) {
        let place = id.y % sizes.text;
        if (place == 0u) {
            joined[to] = text_cls[column];
        } else {
            joined[to] = text[(id.y - id.y / sizes.text - 1u) * sizes.width + column];
        }
    } else {
        let row = id.y - texts;
        let place = row % sizes.image;
        if (place == 0u) {
            joined[to] = image_cls[column];
        } else {
            joined[to] = image[(row - row / sizes.image - 1u) * sizes.width + column];
        }
    }
}
