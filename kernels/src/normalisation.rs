//! Layer normalisation (Ba et al. 2016, arXiv:1607.06450).

use crate::math::sum;
use crate::tier::tiered;

tiered! {
    /// Normalises each row in place: `(x − mean) / √(variance + epsilon) · gamma + beta`.
    ///
    /// # Panics
    ///
    /// When `rows` are not whole rows of `gamma`'s length, or `beta` has another.
    pub fn normalise(rows: &mut [f32], gamma: &[f32], beta: &[f32], epsilon: f32) = normalise_plain;
}

#[inline(always)]
fn normalise_plain(rows: &mut [f32], gamma: &[f32], beta: &[f32], epsilon: f32) {
    assert_eq!(
        gamma.len(),
        beta.len(),
        "a scale and a shift for each column"
    );
    assert!(rows.len().is_multiple_of(gamma.len().max(1)), "whole rows");
    for row in rows.chunks_exact_mut(gamma.len().max(1)) {
        normalise_row(row, gamma, beta, epsilon);
    }
}

/// The mean of what the row was, and 1 / √(variance + epsilon).
#[inline(always)]
pub(crate) fn normalise_row(
    row: &mut [f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
) -> [f32; 2] {
    let count = gamma.len() as f32;
    let mean = sum(row, |x| x) / count;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let inverse = 1.0 / (variance + epsilon).sqrt();
    for ((value, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
        *value = (*value - mean) * inverse * gamma + beta;
    }
    [mean, inverse]
}
