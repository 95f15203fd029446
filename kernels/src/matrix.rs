//! Products of floats, for the few layers that are not of 8 bits.

use crate::lanes::add_scaled;
use crate::linear::{Activation, PANEL, put};
use crate::threads::split_product;
use crate::tier::tiered;

/// Rows that go together.
const ROWS: usize = 4;
/// Columns that go together: as many as registers hold the sums of.
const WIDTH: usize = if cfg!(target_arch = "wasm32") { 8 } else { 16 };

/// A matrix of floats with its bias, laid out for [`Floats::product`].
#[derive(Clone, Debug)]
pub struct Floats {
    inputs: usize,
    outputs: usize,
    /// `[panels][inputs][16]`
    weights: Vec<f32>,
    /// For each output, rounded up to panels.
    bias: Vec<f32>,
}

impl Floats {
    /// Lays out a matrix, of which `weight` gives the element of an input and an output.
    ///
    /// # Panics
    ///
    /// When the bias is not as long as the matrix has outputs.
    pub fn new(
        [inputs, outputs]: [usize; 2],
        weight: impl Fn(usize, usize) -> f32,
        bias: Option<&[f32]>,
    ) -> Self {
        let panels = outputs.div_ceil(PANEL);
        let mut weights = vec![0.0; panels * inputs * PANEL];
        for (panel, weights) in weights
            .chunks_exact_mut((inputs * PANEL).max(1))
            .enumerate()
        {
            for column in 0..PANEL.min(outputs - panel * PANEL) {
                for input in 0..inputs {
                    weights[input * PANEL + column] = weight(input, panel * PANEL + column);
                }
            }
        }
        let mut padded = vec![0.0; panels * PANEL];
        if let Some(bias) = bias {
            assert_eq!(bias.len(), outputs, "one for each output");
            padded[..outputs].copy_from_slice(bias);
        }
        Self {
            inputs,
            outputs,
            weights,
            bias: padded,
        }
    }

    /// Numbers of a row's product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `activation(rows · weights + bias) + residual`, row-major.
    ///
    /// # Panics
    ///
    /// When `rows`, `out` and `residual` are not whole rows, as many of each.
    pub fn product(
        &self,
        tier: crate::Tier,
        rows: &[f32],
        activation: Activation,
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) {
        let sizes = [self.inputs, self.outputs];
        split_product(sizes, rows, residual, out, |rows, residual, out| {
            product(tier, self, rows, activation, residual, out);
        });
    }
}

tiered! {
    fn product(matrix: &Floats, rows: &[f32], activation: Activation, residual: Option<&[f32]>, out: &mut [f32]) = product_plain;
}

#[inline(always)]
fn product_plain(
    matrix: &Floats,
    rows: &[f32],
    activation: Activation,
    residual: Option<&[f32]>,
    out: &mut [f32],
) {
    let inputs = matrix.inputs.max(1); // of none there are no rows
    for panel in 0..matrix.outputs.div_ceil(PANEL) {
        let tiles = rows.chunks_exact(inputs * ROWS);
        let rest = tiles.remainder().chunks_exact(inputs);
        let done = tiles.len() * ROWS;
        for (tile, rows) in tiles.enumerate() {
            let rows: [&[f32]; ROWS] = std::array::from_fn(|r| &rows[r * inputs..(r + 1) * inputs]);
            product_of(matrix, panel, tile * ROWS, rows, activation, residual, out);
        }
        for (row, one) in rest.enumerate() {
            product_of(matrix, panel, done + row, [one], activation, residual, out);
        }
    }
}

/// A panel of the product of some rows, the first of which is `row`.
#[inline(always)]
fn product_of<const R: usize>(
    matrix: &Floats,
    panel: usize,
    row: usize,
    rows: [&[f32]; R],
    activation: Activation,
    residual: Option<&[f32]>,
    out: &mut [f32],
) {
    let Floats {
        inputs, outputs, ..
    } = *matrix;
    let weights = &matrix.weights[panel * inputs * PANEL..(panel + 1) * inputs * PANEL];
    let first = panel * PANEL;
    let bias: &[f32; PANEL] = matrix.bias[first..].first_chunk().expect("whole panels");
    let mut sums = [*bias; R];
    for at in (0..PANEL).step_by(WIDTH) {
        let mut part = [[0.0; WIDTH]; R];
        multiply(rows, &weights[at..], PANEL, &mut part);
        for (sums, part) in sums.iter_mut().zip(&part) {
            for (sum, part) in sums[at..at + WIDTH].iter_mut().zip(part) {
                *sum += part;
            }
        }
    }
    for (r, sums) in sums.iter_mut().enumerate() {
        activation.apply(sums);
        let start = (row + r) * outputs + first;
        let columns = PANEL.min(outputs - first);
        put(
            sums,
            columns,
            residual.map(|all| &all[start..]),
            &mut out[start..],
        );
    }
}

/// Adds `rows` · `columns` to `sums`; of `columns` the first `L` of each `stride` numbers.
#[inline(always)]
pub(crate) fn multiply<const R: usize, const L: usize>(
    rows: [&[f32]; R],
    columns: &[f32],
    stride: usize,
    sums: &mut [[f32; L]; R],
) {
    let depth = rows[0].len();
    let rows = rows.map(|row| &row[..depth]);
    let mut local = *sums;
    for k in 0..depth {
        let column: &[f32; L] = columns[k * stride..]
            .first_chunk()
            .expect("as many as the rows are long");
        for r in 0..R {
            let value = rows[r][k];
            add_scaled(&mut local[r], value, column);
        }
    }
    *sums = local;
}
