//! The weights of attention.

use crate::attention::softmax;
use crate::tier::tiered;

tiered! {
    /// The softmax of each row of `width`, scaled by `scale` and with a `bias` added.
    pub(super) fn forward(scores: &mut [f32], width: usize, scale: f32, bias: Option<&[f32]>) = forward_plain;
}

#[inline(always)]
fn forward_plain(scores: &mut [f32], width: usize, scale: f32, bias: Option<&[f32]>) {
    for scores in scores.chunks_exact_mut(width) {
        match bias {
            None => scores.iter_mut().for_each(|score| *score *= scale),
            Some(bias) => {
                for (score, bias) in scores.iter_mut().zip(bias) {
                    *score = *score * scale + bias;
                }
            }
        }
        softmax(scores);
    }
}

tiered! {
    /// Turns the gradients of dropped weights into those of the scores: with the weights P, the same after dropout D, and G their
    /// gradients, `(D·G − P·Σ D·G) · scale`.
    pub(super) fn backward(gradients: &mut [f32], weights: &[f32], dropped: &[f32], width: usize, scale: f32) = backward_plain;
}

#[inline(always)]
fn backward_plain(
    gradients: &mut [f32],
    weights: &[f32],
    dropped: &[f32],
    width: usize,
    scale: f32,
) {
    let rows = weights.chunks_exact(width).zip(dropped.chunks_exact(width));
    for (gradients, (weights, dropped)) in gradients.chunks_exact_mut(width).zip(rows) {
        for (gradient, dropped) in gradients.iter_mut().zip(dropped) {
            *gradient *= dropped;
        }
        let whole = crate::math::sum(gradients, |g| g);
        for (gradient, weight) in gradients.iter_mut().zip(weights) {
            *gradient = (*gradient - weight * whole) * scale;
        }
    }
}
