//! What follows a product, and its gradient.

use super::{block, blocks, sum};
use crate::Tier;
use crate::math::{self, erf, exp};
use crate::threads::map;
use crate::tier::tiered;

/// The sum of the `rows`, whole rows of `width`: the gradient of what was added to each.
pub fn sum_rows(tier: Tier, rows: &[f32], width: usize) -> Vec<f32> {
    let block = block(width);
    let parts = map(rows.len().div_ceil(block), block, |index| {
        let rows = &rows[index * block..rows.len().min((index + 1) * block)];
        let mut sums = vec![0.0; width];
        add_rows(tier, rows, &mut sums);
        sums
    });
    sum(parts, width)
}

tiered! {
    fn add_rows(rows: &[f32], sums: &mut [f32]) = add_rows_plain;
}

#[inline(always)]
fn add_rows_plain(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

/// x·Φ(x) of each value (Hendrycks and Gimpel 2016, arXiv:1606.08415).
pub fn gelu(tier: Tier, values: &mut [f32]) {
    blocks(values, 1, |_, values| gelu_of(tier, values));
}

tiered! {
    fn gelu_of(values: &mut [f32]) = gelu_plain;
}

#[inline(always)]
fn gelu_plain(values: &mut [f32]) {
    for value in values {
        *value = math::gelu(*value);
    }
}

/// Multiplies each gradient with GELU's at that value: Φ(x) + x·φ(x).
///
/// # Panics
///
/// When there are not as many of both.
pub fn gelu_backward(tier: Tier, gradients: &mut [f32], values: &[f32]) {
    assert_eq!(gradients.len(), values.len(), "as many of both");
    blocks(gradients, 1, |at, gradients| {
        let values = &values[at..at + gradients.len()];
        gelu_backward_of(tier, gradients, values);
    });
}

tiered! {
    fn gelu_backward_of(gradients: &mut [f32], values: &[f32]) = gelu_backward_plain;
}

#[inline(always)]
fn gelu_backward_plain(gradients: &mut [f32], values: &[f32]) {
    /// 1 / √(2π)
    const PEAK: f32 = 0.398_942_3;
    for (gradient, &x) in gradients.iter_mut().zip(values) {
        let below = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
        *gradient *= below + x * (PEAK * exp(-0.5 * x * x));
    }
}

/// The larger of each value and 0.
pub fn relu(tier: Tier, values: &mut [f32]) {
    blocks(values, 1, |_, values| relu_of(tier, values));
}

tiered! {
    fn relu_of(values: &mut [f32]) = relu_plain;
}

#[inline(always)]
fn relu_plain(values: &mut [f32]) {
    for value in values {
        *value = if *value < 0.0 { 0.0 } else { *value };
    }
}

/// Takes away each gradient whose ReLU is not above 0.
///
/// # Panics
///
/// When there are not as many of both.
pub fn relu_backward(tier: Tier, gradients: &mut [f32], outputs: &[f32]) {
    assert_eq!(gradients.len(), outputs.len(), "as many of both");
    blocks(gradients, 1, |at, gradients| {
        let outputs = &outputs[at..at + gradients.len()];
        relu_backward_of(tier, gradients, outputs);
    });
}

tiered! {
    fn relu_backward_of(gradients: &mut [f32], outputs: &[f32]) = relu_backward_plain;
}

#[inline(always)]
fn relu_backward_plain(gradients: &mut [f32], outputs: &[f32]) {
    for (gradient, output) in gradients.iter_mut().zip(outputs) {
        *gradient = if *output > 0.0 { *gradient } else { 0.0 };
    }
}
