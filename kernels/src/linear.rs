//! Products with 8-bit weights, as a model file has them: W8A16.
//!
//! A row's numbers become whole numbers of 16 bits, block by block of 128 with a scale each, but for its two largest, which stay as
//! they are (unless [none stands out](Packed::of_even_rows)). Sums of a block are exact in 32 bits (127 · 32767 · 128 < 2³¹), whatever the order; they are then scaled and added in
//! a fixed order.
//!
//! A row with NaN or an infinity gives NaN in every column. Blocks of numbers below 1e-30 count as zeros.

mod dot;
mod quantise;

use self::quantise::{BLOCK, Quantised};
use crate::lanes::clamp;
use crate::math;
use crate::threads::split_product;
use crate::tier::{Kind, Tier};

/// Columns of a panel.
pub(crate) const PANEL: usize = 16;

/// Numbers of a row that stay as they are, the largest: a few columns of a BERT's hidden state are up to 39 times as large as the
/// others, which would leave these few bits.
const OUTLIERS: usize = 2;

/// What a matrix of whole numbers is to be multiplied by.
#[derive(Clone, Copy, Debug)]
pub enum Scale<'a> {
    /// One for each input.
    Inputs(&'a [f32]),
    /// One for each output.
    Outputs(&'a [f32]),
}

/// What follows a product and its bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// GELU(x) = x·Φ(x).
    Gelu,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

impl Activation {
    /// Of each number; NaN stays NaN.
    #[inline(always)]
    pub(crate) fn apply<const N: usize>(self, values: &mut [f32; N]) {
        match self {
            Self::None => {}
            Self::Gelu => {
                for value in values {
                    *value = math::gelu(*value);
                }
            }
            Self::Relu => clamp(values, 0.0, f32::INFINITY),
            Self::Relu6 => clamp(values, 0.0, 6.0),
        }
    }
}

/// A matrix of 8-bit weights with its scale and bias, laid out for [`Packed::product`].
#[derive(Clone, Debug)]
pub struct Packed {
    inputs: usize,
    outputs: usize,
    /// `[panels][inputs / 2][16][2]`, both rounded up: of a panel's columns two inputs lie side by side.
    weights: Vec<i8>,
    /// For each input; empty where the scale is the outputs'.
    input_scale: Vec<f32>,
    /// For each output, rounded up to panels.
    output_scale: Vec<f32>,
    /// For each output, rounded up to panels.
    bias: Vec<f32>,
    /// How many of a row's numbers stay as they are.
    outliers: usize,
}

impl Packed {
    /// Lays out a matrix, of which `weight` gives the element of an input and an output.
    ///
    /// # Panics
    ///
    /// When the scale or the bias are not as many as the matrix has inputs or outputs.
    pub fn new(
        [inputs, outputs]: [usize; 2],
        weight: impl Fn(usize, usize) -> i8,
        scale: Scale,
        bias: Option<&[f32]>,
    ) -> Self {
        let panels = outputs.div_ceil(PANEL);
        let pairs = inputs.div_ceil(2);
        let mut weights = vec![0; panels * pairs * 2 * PANEL];
        for (panel, weights) in weights
            .chunks_exact_mut((pairs * 2 * PANEL).max(1))
            .enumerate()
        {
            for column in 0..PANEL.min(outputs - panel * PANEL) {
                for input in 0..inputs {
                    weights[input / 2 * 2 * PANEL + 2 * column + input % 2] =
                        weight(input, panel * PANEL + column);
                }
            }
        }
        let padded = |values: &[f32]| {
            assert_eq!(values.len(), outputs, "one for each output");
            let mut values = values.to_vec();
            values.resize(panels * PANEL, 0.0);
            values
        };
        let (input_scale, output_scale) = match scale {
            Scale::Inputs(scale) => {
                assert_eq!(scale.len(), inputs, "one for each input");
                (scale.to_vec(), vec![1.0; panels * PANEL])
            }
            Scale::Outputs(scale) => (Vec::new(), padded(scale)),
        };
        Self {
            inputs,
            outputs,
            weights,
            input_scale,
            output_scale,
            bias: bias.map_or_else(|| vec![0.0; panels * PANEL], padded),
            outliers: OUTLIERS,
        }
    }

    /// For rows of which no number stands out, such as those of ReLU6: none stays as it is, which saves looking for it.
    pub fn of_even_rows(mut self) -> Self {
        self.outliers = 0;
        self
    }

    /// Numbers of a row's product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `activation(rows · weights · scale + bias) + residual`, row-major.
    ///
    /// # Panics
    ///
    /// When `rows`, `out` and `residual` are not whole rows, as many of each.
    pub fn product(
        &self,
        tier: Tier,
        rows: &[f32],
        activation: Activation,
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) {
        let sizes = [self.inputs, self.outputs];
        split_product(sizes, rows, residual, out, |rows, residual, out| {
            let work = Work {
                matrix: self,
                rows: &Quantised::new(tier, rows, self.inputs, &self.input_scale, self.outliers),
                count: rows.len() / self.inputs.max(1),
                activation,
                residual,
            };
            work.run(tier, out);
        });
    }
}

/// One product.
struct Work<'a> {
    matrix: &'a Packed,
    rows: &'a Quantised,
    count: usize,
    activation: Activation,
    residual: Option<&'a [f32]>,
}

impl Work<'_> {
    fn run(&self, tier: Tier, out: &mut [f32]) {
        match tier.0 {
            Kind::Plain => self.plain(out),
            // SAFETY: a tier is made only where its instructions are.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Kind::Avx2 => unsafe { self.avx2(out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Kind::AvxVnni => unsafe { self.avx_vnni(out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Kind::Avx512Vnni => unsafe { self.avx512_vnni(out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            #[allow(unsafe_code)]
            Kind::Neon => unsafe { self.neon(out) },
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Kind::Simd128 => self.simd128(out),
        }
    }
}

/// Defines [`Work`]'s product with the `dot` of a tier, `rows` of which go together at most.
macro_rules! product {
    ($name:ident, $dot:path, $most:literal $(, $features:literal)?) => {
        impl Work<'_> {
            #[inline(never)]
            $(#[target_feature(enable = $features)])?
            fn $name(&self, out: &mut [f32]) {
                $(#[target_feature(enable = $features)])?
                fn tile<const R: usize>(work: &Work, panel: usize, row: usize, out: &mut [f32]) {
                    let mut sums = [[0.0; PANEL]; R];
                    let blocks = work.rows.blocks;
                    for block in 0..blocks {
                        let rows: [&[i32]; R] = std::array::from_fn(|r| work.rows.block(row + r, block));
                        let mut whole = [[0i32; PANEL]; R];
                        $dot(&rows, work.weights(panel, block), &mut whole);
                        for r in 0..R {
                            let scale = work.rows.scales[(row + r) * blocks + block];
                            for column in 0..PANEL {
                                sums[r][column] += whole[r][column] as f32 * scale;
                            }
                        }
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        work.finish(panel, row + r, sums, out);
                    }
                }
                for panel in 0..self.matrix.outputs.div_ceil(PANEL) {
                    let mut row = 0;
                    while row < self.count {
                        let rows = match self.count - row {
                            12.. if $most >= 12 => {
                                tile::<12>(self, panel, row, out);
                                12
                            }
                            8.. if $most >= 8 => {
                                tile::<8>(self, panel, row, out);
                                8
                            }
                            4.. => {
                                tile::<4>(self, panel, row, out);
                                4
                            }
                            _ => {
                                tile::<1>(self, panel, row, out);
                                1
                            }
                        };
                        row += rows;
                    }
                }
            }
        }
    };
}

product!(plain, dot::plain, 4);
#[cfg(target_arch = "x86_64")]
product!(avx2, dot::avx2, 4, "avx2");
#[cfg(target_arch = "x86_64")]
product!(avx_vnni, dot::avx_vnni, 4, "avx2,avxvnni");
#[cfg(target_arch = "x86_64")]
product!(
    avx512_vnni,
    dot::avx512_vnni,
    12,
    "avx2,avx512f,avx512bw,avx512vnni"
);
#[cfg(target_arch = "aarch64")]
product!(neon, dot::neon, 4, "neon");
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
product!(simd128, dot::simd128, 4);

/// Puts the first `columns` of `sums` there, plus a residual.
#[inline(always)]
pub(crate) fn put(
    sums: &mut [f32; PANEL],
    columns: usize,
    residual: Option<&[f32]>,
    out: &mut [f32],
) {
    if let Some(residual) = residual {
        if let (PANEL, Some(residual)) = (columns, residual.first_chunk::<PANEL>()) {
            for column in 0..PANEL {
                sums[column] += residual[column];
            }
        } else {
            for (sum, residual) in sums.iter_mut().zip(&residual[..columns]) {
                *sum += residual;
            }
        }
    }
    // A copy of known length is a few instructions, any other is a call.
    match (columns, out.first_chunk_mut::<PANEL>()) {
        (PANEL, Some(out)) => *out = *sums,
        _ => out[..columns].copy_from_slice(&sums[..columns]),
    }
}

impl Work<'_> {
    /// A block of a panel.
    #[inline(always)]
    fn weights(&self, panel: usize, block: usize) -> &[[i8; 2 * PANEL]] {
        let pairs = self.matrix.inputs.div_ceil(2);
        let (weights, _) = self.matrix.weights.as_chunks();
        let panel = &weights[panel * pairs..(panel + 1) * pairs];
        &panel[block * BLOCK / 2..((block + 1) * BLOCK / 2).min(pairs)]
    }

    /// Adds the largest numbers, scale, bias, activation and residual.
    #[inline(always)]
    fn finish(&self, panel: usize, row: usize, sums: &mut [f32; PANEL], out: &mut [f32]) {
        let matrix = self.matrix;
        let pairs = matrix.inputs.div_ceil(2);
        let (weights, _) = matrix.weights.as_chunks::<{ 2 * PANEL }>();
        for (input, value) in self.rows.outliers(row) {
            let weights = &weights[panel * pairs + input / 2];
            for column in 0..PANEL {
                sums[column] += f32::from(weights[2 * column + input % 2]) * value;
            }
        }
        let first = panel * PANEL;
        let (scale, bias) = (
            &matrix.output_scale[first..][..PANEL],
            &matrix.bias[first..][..PANEL],
        );
        for column in 0..PANEL {
            sums[column] = sums[column] * scale[column] + bias[column];
        }
        self.activation.apply(sums);
        let start = row * matrix.outputs + first;
        let columns = PANEL.min(matrix.outputs - first);
        put(
            sums,
            columns,
            self.residual.map(|all| &all[start..]),
            &mut out[start..],
        );
    }
}
