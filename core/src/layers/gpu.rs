//! Where tensors lie on a GPU, inference is computed by kernels of ours, each of which does in one launch what takes burn several: a
//! launch costs a browser more than the arithmetic of a caption. `None` elsewhere, where gradients are wanted, and where the
//! kernel does not fit; burn then computes the same.

#[cfg(feature = "kernels")]
mod launch;
#[cfg(not(feature = "kernels"))]
#[path = "gpu/nowhere.rs"]
mod launch;
mod streams;

use burn::tensor::{Device, Int, Tensor};
use muse_kernels::Activation;

use self::launch::{Buffer, Launch};
pub(crate) use self::streams::{Exchanged, Sequences, exchange, join, pairs, part};

/// Beyond so many rows burn's tiles of a matrix product are worth their cost.
const FEW: usize = 256;
/// Rows and columns of a thread of `linear.wgsl`.
const ROWS: usize = 8;
const COLUMNS: usize = 4;
/// Columns of a product at most that are made one by one.
const NARROW: usize = 64;
/// Width of a head at most: a thread holds a query and a sum of it.
const HEAD: usize = 128;
const FOUR: &str = "array<vec4<f32>>";
const ONE: &str = "array<f32>";
const NUMBERS: &str = "array<i32>";

/// Whether a device's tensors lie on a GPU that computes by these kernels.
pub(crate) fn is_there(device: &Device) -> bool {
    Buffer::of(&Tensor::<1>::from_floats([0.0], device)).is_some()
}

/// The tensor with its numbers side by side, where it is on a GPU: whoever reads it again and again need not lay them so.
pub(crate) fn settled<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match Buffer::of(&tensor) {
        Some(buffer) => buffer.tensor(tensor.dims()),
        None => tensor,
    }
}

/// The product of rows `[.., in]` with `weight` `[in, out]`, plus `bias` `[out]`, and what follows it: `[.., out]`. Not both an
/// activation and a `residual` `[.., out]`.
pub(crate) fn product<const D: usize>(
    rows: &Tensor<D>,
    [input, output]: [usize; 2],
    parameters: impl FnOnce() -> Option<(Tensor<2>, Tensor<1>)>,
    activation: Activation,
    residual: Option<&Tensor<D>>,
) -> Option<Tensor<D>> {
    let mut shape = rows.dims();
    let count: usize = shape[..D - 1].iter().product();
    let wide = output.is_multiple_of(COLUMNS);
    let plain = matches!(activation, Activation::None) && residual.is_none();
    let fits = (1..=FEW).contains(&count)
        && input.is_multiple_of(4)
        && (wide || output <= NARROW && plain);
    if !fits {
        return None;
    }
    let rows = Buffer::of(rows)?;
    let (weight, bias) = parameters()?;
    let parameters = [&Buffer::of(&weight)?, &Buffer::of(&bias)?];
    let residual = match residual {
        Some(residual) => Some(Buffer::of(residual)?),
        None => None,
    };
    let sizes = [count, input, output];
    let product = multiply(&rows, sizes, parameters, activation, residual.as_ref())?;
    shape[D - 1] = output;
    Some(product.tensor(shape))
}

fn multiply(
    rows: &Buffer,
    [count, input, output]: [usize; 3],
    [weight, bias]: [&Buffer; 2],
    activation: Activation,
    residual: Option<&Buffer>,
) -> Option<Buffer> {
    let wide = output.is_multiple_of(COLUMNS);
    let (name, body, threads, kind, columns) = match wide {
        true => (
            "linear",
            include_str!("gpu/linear.wgsl"),
            32,
            FOUR,
            output / COLUMNS,
        ),
        false => ("narrow", include_str!("gpu/narrow.wgsl"), 64, ONE, output),
    };
    let groups = match wide {
        true => [columns.div_ceil(threads), count.div_ceil(ROWS), 1],
        false => [(count * columns).div_ceil(threads), 1, 1],
    };
    let product = rows.beside(count * output);
    let launch = Launch::new(name, body, threads)
        .read("rows", FOUR, rows)
        .read("weight", kind, weight)
        .read("bias", kind, bias)
        .write("product", kind, &product)
        .size("m", count)
        .size("k", input / 4)
        .size("n", columns);
    let launch = match (residual, activation) {
        (Some(residual), _) => launch.read("residual", FOUR, residual).variant(
            "residual",
            "fn finish(x: vec4<f32>, at: u32) -> vec4<f32> { return x + residual[at]; }",
        ),
        (None, Activation::None) => launch.variant(
            "",
            "fn finish(x: vec4<f32>, at: u32) -> vec4<f32> { return x; }",
        ),
        (None, Activation::Gelu) => launch.variant("gelu", include_str!("gpu/gelu.wgsl")),
        (None, Activation::Relu) => launch.variant(
            "relu",
            "fn finish(x: vec4<f32>, at: u32) -> vec4<f32> { return max(x, vec4<f32>()); }",
        ),
        (None, Activation::Relu6) => return None,
    };
    launch.run(groups)?;
    Some(product)
}

/// Layer normalisation of `[.., d]`.
pub(crate) fn normalise<const D: usize>(
    rows: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    let shape = rows.dims();
    let width = shape[D - 1];
    if !width.is_multiple_of(4) {
        return None;
    }
    let rows = Buffer::of(rows)?;
    let (gamma, beta) = (Buffer::of(gamma)?, Buffer::of(beta)?);
    let count = shape.iter().product();
    let normal = rows.beside(count);
    Launch::new("norm", include_str!("gpu/norm.wgsl"), 32)
        .read("rows", FOUR, &rows)
        .read("gamma", FOUR, &gamma)
        .read("beta", FOUR, &beta)
        .write("normal", FOUR, &normal)
        .size("width", width / 4)
        .size("epsilon", (epsilon as f32).to_bits() as usize)
        .run([count / width.max(1), 1, 1])?;
    Some(normal.tensor(shape))
}

/// Whether [`attention`] has a kernel for so many heads of rows of this width.
pub(crate) fn attends(width: usize, heads: usize) -> bool {
    width.is_multiple_of(4 * heads) && width / heads <= HEAD
}

/// All heads' attention of sequences whose rows `[1, n, 3 · d]` or `[B, N, 3 · d]` have query, key and value side by side, with a
/// `bias` for each key, n numbers: the attended rows, `[1, n, d]` or `[B, N, d]`, and what each head's first pays to each
/// `[n, heads]`.
pub(crate) fn attention<const B: usize>(
    projected: &Tensor<3>,
    bias: Option<&Tensor<B>>,
    heads: usize,
    sequences: Sequences,
) -> Option<(Tensor<3>, Tensor<2>)> {
    let [outer, inner, width] = projected.dims();
    let width = width / 3;
    if !attends(width, heads) {
        return None;
    }
    let projected = Buffer::of(projected)?;
    let bias = match bias {
        Some(bias) => Some(Buffer::of(bias)?),
        None => None,
    };
    let rows = sequences.rows();
    let attended = projected.beside(rows * width);
    let paid = projected.beside(rows * heads);
    let threads = 64;
    let launch = Launch::new("attention", include_str!("gpu/attention.wgsl"), threads)
        .constant("PARTS", width / heads / 4)
        .read("projected", FOUR, &projected)
        .write("attended", FOUR, &attended)
        .write("paid", ONE, &paid)
        .size("batch", sequences.batch)
        .size("one", sequences.lengths[0])
        .size("other", sequences.lengths[1])
        .size("heads", heads);
    let launch = match &bias {
        Some(bias) => launch
            .read("bias", ONE, bias)
            .variant("bias", "fn key_bias(at: u32) -> f32 { return bias[at]; }"),
        None => launch.variant("", "fn key_bias(at: u32) -> f32 { return 0.0; }"),
    };
    let kinds = sequences
        .lengths
        .iter()
        .filter(|&&length| length > 0)
        .count();
    let longest = sequences.lengths.into_iter().max().unwrap_or(0);
    launch.run([longest.div_ceil(threads), heads, kinds * sequences.batch])?;
    Some((
        attended.tensor([outer, inner, width]),
        paid.tensor([rows, heads]),
    ))
}

/// The sum of what `pieces` `[B, N]` have of their own, of their places and of the first segment, by the `tables` of these three
/// `[.., d]`, and of `extra`: `[B, N, d]`.
pub(crate) fn embed(
    pieces: &Tensor<2, Int>,
    tables: impl FnOnce() -> [Tensor<2>; 3],
    extra: Option<&Tensor<3>>,
) -> Option<Tensor<3>> {
    let [batch, length] = pieces.dims();
    let pieces = Buffer::of_ints(pieces)?;
    let [words, positions, segments] = tables();
    let [_, width] = words.dims();
    if !width.is_multiple_of(4) {
        return None;
    }
    let (words, positions, segments) = (
        Buffer::of(&words)?,
        Buffer::of(&positions)?,
        Buffer::of(&segments)?,
    );
    let extra = match extra {
        Some(extra) => Some(Buffer::of(extra)?),
        None => None,
    };
    let sum = words.beside(batch * length * width);
    let launch = Launch::new("embed", include_str!("gpu/embed.wgsl"), THREADS)
        .read("pieces", NUMBERS, &pieces)
        .read("words", FOUR, &words)
        .read("positions", FOUR, &positions)
        .read("segments", FOUR, &segments)
        .write("sum", FOUR, &sum)
        .size("length", length)
        .size("width", width / 4);
    let launch = match &extra {
        Some(extra) => launch.read("extra", FOUR, extra).variant(
            "extra",
            "fn more(at: u32) -> vec4<f32> { return extra[at]; }",
        ),
        None => launch.variant("", "fn more(at: u32) -> vec4<f32> { return vec4<f32>(); }"),
    };
    launch.run(by_rows(batch * length, width))?;
    Some(sum.tensor([batch, length, width]))
}

/// Threads side by side of the kernels whose threads take four columns of a row.
const THREADS: usize = 32;

fn by_rows(rows: usize, width: usize) -> [usize; 3] {
    [(width / 4).div_ceil(THREADS), rows, 1]
}
