//! The activations of a PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517): ELU of a value and of its negative, and a gate.

use super::blocks;
use crate::Tier;
use crate::math::exp;
use crate::tier::tiered;

/// ELU of rows x `[N, C]` and of −x, side by side: `[N, 2·C]`.
///
/// # Panics
///
/// When `values` are not whole rows of `channels`.
pub fn concat_elu(tier: Tier, values: &[f32], channels: usize) -> Vec<f32> {
    assert!(values.len().is_multiple_of(channels.max(1)), "whole rows");
    let mut out = vec![0.0; 2 * values.len()];
    blocks(&mut out, 2 * channels, |at, out| {
        let values = &values[at / 2..at / 2 + out.len() / 2];
        elu(tier, values, channels, out);
    });
    out
}

tiered! {
    fn elu(values: &[f32], channels: usize, out: &mut [f32]) = elu_plain;
}

#[inline(always)]
fn elu_plain(values: &[f32], channels: usize, out: &mut [f32]) {
    let channels = channels.max(1);
    for (values, out) in values
        .chunks_exact(channels)
        .zip(out.chunks_exact_mut(2 * channels))
    {
        let (plus, minus) = out.split_at_mut(channels);
        for ((plus, minus), &x) in plus.iter_mut().zip(minus).zip(values) {
            let below = exp(if x < 0.0 { x } else { -x }) - 1.0;
            *plus = if x < 0.0 { below } else { x };
            *minus = if x < 0.0 { -x } else { below };
        }
    }
}

/// The gradients of x from those of [`concat_elu`]; none where x is 0.
///
/// # Panics
///
/// When there are not twice as many `gradients` as `values`.
pub fn concat_elu_backward(
    tier: Tier,
    gradients: &[f32],
    values: &[f32],
    channels: usize,
) -> Vec<f32> {
    assert_eq!(gradients.len(), 2 * values.len(), "two of each value");
    let mut out = vec![0.0; values.len()];
    blocks(&mut out, channels, |at, out| {
        let values = &values[at..at + out.len()];
        let gradients = &gradients[2 * at..2 * (at + out.len())];
        elu_backward(tier, gradients, values, channels, out);
    });
    out
}

tiered! {
    fn elu_backward(gradients: &[f32], values: &[f32], channels: usize, out: &mut [f32]) = elu_backward_plain;
}

#[inline(always)]
fn elu_backward_plain(gradients: &[f32], values: &[f32], channels: usize, out: &mut [f32]) {
    let channels = channels.max(1);
    let rows = values
        .chunks_exact(channels)
        .zip(gradients.chunks_exact(2 * channels));
    for (out, (values, gradients)) in out.chunks_exact_mut(channels).zip(rows) {
        let (plus, minus) = gradients.split_at(channels);
        for ((out, &x), (plus, minus)) in out.iter_mut().zip(values).zip(plus.iter().zip(minus)) {
            let slope = exp(if x < 0.0 { x } else { -x });
            let both = if x < 0.0 {
                slope * plus - minus
            } else {
                plus - slope * minus
            };
            *out = if x == 0.0 { 0.0 } else { both };
        }
    }
}

/// a · σ(b) of rows `[N, 2·C]`, a and b side by side: `[N, C]`.
///
/// # Panics
///
/// When `values` are not whole rows of twice the `channels`.
pub fn gate(tier: Tier, values: &[f32], channels: usize) -> Vec<f32> {
    assert!(
        values.len().is_multiple_of(2 * channels.max(1)),
        "whole rows"
    );
    let mut out = vec![0.0; values.len() / 2];
    blocks(&mut out, channels, |at, out| {
        gate_of(tier, &values[2 * at..2 * (at + out.len())], channels, out);
    });
    out
}

tiered! {
    fn gate_of(values: &[f32], channels: usize, out: &mut [f32]) = gate_plain;
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn gate_plain(values: &[f32], channels: usize, out: &mut [f32]) {
    let channels = channels.max(1);
    let rows = values.chunks_exact(2 * channels);
    for (out, values) in out.chunks_exact_mut(channels).zip(rows) {
        let (values, gates) = values.split_at(channels);
        for ((out, value), gate) in out.iter_mut().zip(values).zip(gates) {
            *out = value * sigmoid(*gate);
        }
    }
}

/// The gradients of a and b, side by side, from those of [`gate`].
///
/// # Panics
///
/// When there are not twice as many `values` as `gradients`.
pub fn gate_backward(tier: Tier, gradients: &[f32], values: &[f32], channels: usize) -> Vec<f32> {
    assert_eq!(2 * gradients.len(), values.len(), "one of two values");
    let mut out = vec![0.0; values.len()];
    blocks(&mut out, 2 * channels, |at, out| {
        let values = &values[at..at + out.len()];
        let gradients = &gradients[at / 2..(at + out.len()) / 2];
        gate_backward_of(tier, gradients, values, channels, out);
    });
    out
}

tiered! {
    fn gate_backward_of(gradients: &[f32], values: &[f32], channels: usize, out: &mut [f32]) = gate_backward_plain;
}

#[inline(always)]
fn gate_backward_plain(gradients: &[f32], values: &[f32], channels: usize, out: &mut [f32]) {
    let channels = channels.max(1);
    let rows = values
        .chunks_exact(2 * channels)
        .zip(gradients.chunks_exact(channels));
    for (out, (values, gradients)) in out.chunks_exact_mut(2 * channels).zip(rows) {
        let (of_values, of_gates) = out.split_at_mut(channels);
        let (values, gates) = values.split_at(channels);
        for (((of_value, of_gate), gradient), (value, gate)) in (of_values.iter_mut().zip(of_gates))
            .zip(gradients)
            .zip(values.iter().zip(gates))
        {
            let open = sigmoid(*gate);
            *of_value = gradient * open;
            *of_gate = gradient * value * (open * (1.0 - open));
        }
    }
}
