//! Weights and their gradients, in one pass.

use super::{BLOCK, blocks};
use crate::Tier;
use crate::math;
use crate::threads::{each, map};
use crate::tier::tiered;

/// The sum of the squares of all values.
pub fn sum_squares(tier: Tier, values: &[f32]) -> f64 {
    let parts = map(values.len().div_ceil(BLOCK), BLOCK, |index| {
        let values = &values[index * BLOCK..values.len().min((index + 1) * BLOCK)];
        let mut sum = 0.0;
        squares(tier, values, &mut sum);
        f64::from(sum)
    });
    parts.into_iter().sum()
}

tiered! {
    fn squares(values: &[f32], sum: &mut f32) = squares_plain;
}

#[inline(always)]
fn squares_plain(values: &[f32], sum: &mut f32) {
    *sum = math::sum(values, |x| x * x);
}

/// Multiplies each of the values.
pub fn scale(tier: Tier, values: &mut [f32], factor: f32) {
    blocks(values, 1, |_, values| scale_of(tier, values, factor));
}

tiered! {
    fn scale_of(values: &mut [f32], factor: f32) = scale_plain;
}

#[inline(always)]
fn scale_plain(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// A step of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2).
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// β₁ and β₂
    pub betas: [f32; 2],
    /// ε
    pub epsilon: f32,
    /// How many steps there were, this one included.
    pub time: i32,
    /// The learning rate.
    pub rate: f32,
    /// What is left of each weight.
    pub decay: f32,
}

impl AdamW {
    /// Changes `weights` and the moving means of their `gradients` and of the gradients' squares.
    ///
    /// # Panics
    ///
    /// When there are not as many of all.
    pub fn step(&self, tier: Tier, weights: &mut [f32], gradients: &[f32], means: [&mut [f32]; 2]) {
        let count = weights.len();
        let [first, second] = means;
        for other in [gradients.len(), first.len(), second.len()] {
            assert_eq!(count, other, "as many of all");
        }
        let parts = (weights.chunks_mut(BLOCK).zip(gradients.chunks(BLOCK)))
            .zip(first.chunks_mut(BLOCK).zip(second.chunks_mut(BLOCK)));
        each(
            parts.collect(),
            |((weights, gradients), (first, second))| {
                step(tier, self, weights, gradients, first, second);
            },
        );
    }
}

tiered! {
    fn step(adamw: &AdamW, weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) = step_plain;
}

#[inline(always)]
fn step_plain(
    adamw: &AdamW,
    weights: &mut [f32],
    gradients: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let [beta1, beta2] = adamw.betas;
    let (new1, new2) = (1.0 - beta1, 1.0 - beta2);
    // Means that began with 0 are too small.
    let (whole1, whole2) = (1.0 - beta1.powi(adamw.time), 1.0 - beta2.powi(adamw.time));
    let means = first.iter_mut().zip(second);
    for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradients).zip(means) {
        *first = *first * beta1 + gradient * new1;
        *second = *second * beta2 + gradient * gradient * new2;
        let change = (*first / whole1) / ((*second / whole2).sqrt() + adamw.epsilon);
        *weight = *weight * adamw.decay - change * adamw.rate;
    }
}
