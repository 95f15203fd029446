//! Layer normalisation (Ba et al. 2016, arXiv:1607.06450), with what its gradient needs.

use super::{blocks, sum};
use crate::Tier;
use crate::math;
use crate::normalisation::normalise_row;
use crate::tier::tiered;

/// Mean, and 1 / √(variance + epsilon), of each row.
#[derive(Clone, Debug)]
pub struct Normalised(Vec<[f32; 2]>);

/// Normalises each row: `(x − mean) / √(variance + epsilon) · gamma + beta`.
///
/// # Panics
///
/// When `rows` are not whole rows of `gamma`'s length, or `beta` has another.
pub fn normalise(
    tier: Tier,
    rows: &mut [f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
) -> Normalised {
    let width = gamma.len();
    assert_eq!(width, beta.len(), "a scale and a shift for each column");
    assert!(rows.len().is_multiple_of(width.max(1)), "whole rows");
    let parts = blocks(rows, width, |_, rows| {
        let mut statistics = vec![[0.0; 2]; rows.len() / width.max(1)];
        normalise_of(tier, rows, gamma, beta, epsilon, &mut statistics);
        statistics
    });
    Normalised(parts.concat())
}

tiered! {
    fn normalise_of(rows: &mut [f32], gamma: &[f32], beta: &[f32], epsilon: f32, statistics: &mut [[f32; 2]]) = normalise_plain;
}

#[inline(always)]
fn normalise_plain(
    rows: &mut [f32],
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
    statistics: &mut [[f32; 2]],
) {
    for (row, statistics) in rows.chunks_exact_mut(gamma.len().max(1)).zip(statistics) {
        *statistics = normalise_row(row, gamma, beta, epsilon);
    }
}

/// Turns the gradients of normalised rows into those of the `rows` before it; and gives those of `gamma` and of `beta`.
///
/// With n = (x − mean) / √(variance + epsilon) and g = gradient · gamma: `(g − mean(g) − n · mean(g · n)) / √(variance + epsilon)`.
///
/// # Panics
///
/// When `gradients`, `rows` and what is known of them do not fit each other.
pub fn normalise_backward(
    tier: Tier,
    gradients: &mut [f32],
    rows: &[f32],
    gamma: &[f32],
    known: &Normalised,
) -> [Vec<f32>; 2] {
    let width = gamma.len();
    assert_eq!(gradients.len(), rows.len(), "as many of both");
    assert_eq!(known.0.len() * width, rows.len(), "of these rows");
    let parts = blocks(gradients, width, |at, gradients| {
        let rows = &rows[at..at + gradients.len()];
        let (mut scales, mut shifts) = (vec![0.0; width], vec![0.0; width]);
        let known = &known.0[at / width.max(1)..];
        backward(
            tier,
            gradients,
            rows,
            gamma,
            known,
            &mut scales,
            &mut shifts,
        );
        (scales, shifts)
    });
    let (scales, shifts) = parts.into_iter().unzip();
    [sum(scales, width), sum(shifts, width)]
}

tiered! {
    fn backward(gradients: &mut [f32], rows: &[f32], gamma: &[f32], known: &[[f32; 2]], scales: &mut [f32], shifts: &mut [f32]) = backward_plain;
}

#[inline(always)]
fn backward_plain(
    gradients: &mut [f32],
    rows: &[f32],
    gamma: &[f32],
    known: &[[f32; 2]],
    scales: &mut [f32],
    shifts: &mut [f32],
) {
    let width = gamma.len().max(1);
    let mut products = vec![0.0; width];
    let rows = rows.chunks_exact(width).zip(known);
    for (gradients, (row, &[mean, inverse])) in gradients.chunks_exact_mut(width).zip(rows) {
        for (((product, x), gradient), (scale, shift)) in (products.iter_mut().zip(row))
            .zip(gradients.iter_mut())
            .zip(scales.iter_mut().zip(shifts.iter_mut()))
        {
            let normal = (x - mean) * inverse;
            *scale += *gradient * normal;
            *shift += *gradient;
            *product = normal;
        }
        for (gradient, gamma) in gradients.iter_mut().zip(gamma) {
            *gradient *= gamma;
        }
        let count = width as f32;
        let average = math::sum(gradients, |g| g) / count;
        // The normal values follow from the rows once more.
        for (product, gradient) in products.iter_mut().zip(gradients.iter()) {
            *product *= gradient;
        }
        let along = math::sum(&products, |p| p) / count;
        for (gradient, x) in gradients.iter_mut().zip(row) {
            let normal = (x - mean) * inverse;
            *gradient = (*gradient - average - normal * along) * inverse;
        }
    }
}
