//! The discretised mixture of logistics (Salimans et al. 2017, arXiv:1701.05517, sections 2.1 and 2.2).
//!
//! A sub-pixel's value x, one of 256 in −1..1, has the probability σ(p) − σ(q), where p and q are the ends of its interval
//! in units of the scale. It is computed as σ(p)·σ(−q)·(1 − e^(q − p)), which is the same and loses nothing to
//! cancellation; so no case for narrow intervals is needed. The first value's interval begins at −∞ and the last one's
//! ends at +∞, where a factor becomes 1.
//!
//! The original is not exact: for an interval of probability ≤ 1e-5 it takes the density at its middle times its width. Far
//! from a logistic of scale s that is less than the probability by a factor of sinh(h)/h, with h = 1/(255·s): nothing for
//! wide scales, but up to 2.15 nats of a sub-pixel's loss at the least log-scale of −7, by which the loss here is lower.

use burn::tensor::Tensor;

use super::{from_unit, to_unit};
use burn::tensor::activation::{log_sigmoid, log_softmax};

/// Numbers that a pixel's distribution takes: a weight and, for each colour, a mean, a scale and a coefficient.
pub(super) const NUMBERS: usize = 10;

/// The least log-scale.
pub(super) const LEAST_LOG_SCALE: f32 = -7.0;

/// Negative log-likelihood of each pixel in nats, `[N]`.
///
/// # Shapes
///
/// - `logits`: `[N, 10·mixtures]`: the mixtures' logits; then for red, green and blue the means, log-scales and
///   coefficients of all mixtures
/// - `pixels`: `[N, 3]`, x/127.5 − 1
pub fn negative_log_likelihood(logits: Tensor<2>, pixels: Tensor<2>) -> Tensor<1> {
    let [count, numbers] = logits.dims();
    let mixtures = numbers / NUMBERS;
    let weights = log_softmax(logits.clone().narrow(1, 0, mixtures), 1); // [N, mixtures]
    let rest = logits
        .narrow(1, mixtures, 9 * mixtures)
        .reshape([count, 3, 3, mixtures]);
    let part = |which: usize| rest.clone().narrow(2, which, 1).squeeze_dim::<3>(2); // [N, 3, mixtures]
    let log_scales = part(1).clamp_min(LEAST_LOG_SCALE);
    let coefficients = part(2).tanh();

    // Green's mean depends on red, blue's on red and green: [N, 3, 1] of what each coefficient is multiplied with, and
    // which colour the product belongs to.
    let colour = |which: usize| pixels.clone().narrow(1, which, 1);
    let (red, green) = (colour(0), colour(1));
    let factors = Tensor::cat(vec![red.clone(), red, green], 1).unsqueeze_dim::<3>(2);
    let products = coefficients * factors;
    let zeros = products.clone().narrow(1, 0, 1).zeros_like();
    let to_green = products.clone().narrow(1, 0, 1);
    let to_blue = products.narrow(1, 1, 2).sum_dim(1);
    let means = part(0) + Tensor::cat(vec![zeros, to_green, to_blue], 1);

    let x = pixels.unsqueeze_dim::<3>(2); // [N, 3, 1]
    let has_lower_end = x.clone().greater_equal_elem(-0.999).float();
    let has_upper_end = x.clone().lower_equal_elem(0.999).float();
    let inverse_scales = log_scales.neg().exp();
    let centred = (x - means) * inverse_scales.clone();
    let half = inverse_scales / 255.0; // half an interval
    let upper = log_sigmoid(centred.clone() + half.clone()) * has_upper_end.clone();
    let lower = log_sigmoid(half.clone() - centred) * has_lower_end.clone();
    // 1 − e^(−2h) = 2·tanh(h) / (1 + tanh(h)); the difference would lose the digits of a small h.
    let tanh = half.tanh();
    let width = ((tanh.clone() * 2.0).log() - tanh.log1p()) * (has_lower_end * has_upper_end);
    let colours = (upper + lower + width).sum_dim(1).squeeze_dim::<2>(1); // [N, mixtures]

    let joint = colours + weights;
    let peak = joint.clone().detach().max_dim(1);
    ((joint - peak.clone()).exp().sum_dim(1).log() + peak)
        .neg()
        .squeeze_dim(1)
}

/// Draws a pixel's colours from its numbers, in the order of [`negative_log_likelihood`]'s logits: a logistic of the mixture,
/// then each colour from it, given the colours before. `uniform` gives numbers strictly between 0 and 1; `temperature`
/// scales the noise of either step.
pub(super) fn draw(logits: &[f32], temperature: f64, mut uniform: impl FnMut() -> f64) -> [u8; 3] {
    let mixtures = logits.len() / NUMBERS;
    // The greatest of the logits with Gumbel noise is a draw from their softmax.
    let mut chosen = (0, f64::NEG_INFINITY);
    for (mixture, &logit) in logits[..mixtures].iter().enumerate() {
        let score = f64::from(logit) - temperature * (-uniform().ln()).ln();
        if score > chosen.1 {
            chosen = (mixture, score);
        }
    }
    let number = |colour: usize, which: usize| {
        f64::from(logits[mixtures * (1 + 3 * colour + which) + chosen.0])
    };
    let mut colours = [0; 3];
    for colour in 0..3 {
        let known = |of: usize| f64::from(to_unit(colours[of]));
        let mean = number(colour, 0)
            + match colour {
                0 => 0.0,
                1 => number(0, 2).tanh() * known(0),
                _ => number(1, 2).tanh() * known(0) + number(2, 2).tanh() * known(1),
            };
        let scale = number(colour, 1).max(LEAST_LOG_SCALE.into()).exp();
        let u = uniform();
        let noise = (u / (1.0 - u)).ln(); // a standard logistic
        colours[colour] = from_unit((mean + temperature * scale * noise) as f32);
    }
    colours
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    /// A value far from a logistic of the least scale: the original's loss is the greater by ln(sinh(h)/h) for each colour.
    #[test]
    fn the_original_is_off_by_two_nats_at_the_least_scale() {
        let device = Device::flex();
        let (mean, pixel) = (0.5, to_unit(120));
        let numbers: Vec<f32> = [vec![0.0], [mean, -9.0, 0.0].repeat(3)].concat();
        let nll = negative_log_likelihood(
            Tensor::from_data(TensorData::new(numbers, [1, 10]), &device),
            Tensor::from_data(TensorData::new(vec![pixel; 3], [1, 3]), &device),
        );
        let exact = f64::from(nll.into_scalar::<f32>()) / 3.0;
        let inverse_scale = 7_f64.exp();
        let middle = f64::from(pixel - mean) * inverse_scale;
        let density = middle + 7.0 - 2.0 * middle.exp().ln_1p(); // of the logistic, in nats
        let original = 127.5_f64.ln() - density;
        let half = inverse_scale / 255.0;
        let factor = (half.sinh() / half).ln();
        assert!((factor - 2.15).abs() < 0.002, "{factor}");
        assert!(
            (original - exact - factor).abs() < 1e-3,
            "{original} {exact}"
        );
    }

    proptest::proptest! {
        /// Beside two colours that are certain, the 256 values of the third share all the probability.
        #[test]
        fn a_colour_is_a_distribution(
            colour in 0usize..3,
            weights in proptest::collection::vec(-3.0f32..3.0, 2),
            means in proptest::collection::vec(-1.5f32..1.5, 2),
            log_scales in proptest::collection::vec(-9.0f32..4.0, 2),
            coefficients in proptest::collection::vec(-2.0f32..2.0, 6),
        ) {
            let mut logits = weights;
            for other in 0..3 {
                if other == colour {
                    logits.extend(&means);
                    logits.extend(&log_scales);
                } else {
                    logits.extend([-50.0; 2]); // the darkest value's interval begins at minus infinity
                    logits.extend([-2.0; 2]);
                }
                logits.extend(&coefficients[2 * other..][..2]);
            }
            let pixels: Vec<f32> = (0..=255)
                .flat_map(|value| {
                    let mut pixel = [-1.0; 3];
                    pixel[colour] = to_unit(value);
                    pixel
                })
                .collect();
            let device = Device::flex();
            let nll = negative_log_likelihood(
                Tensor::from_data(TensorData::new(logits.repeat(256), [256, 20]), &device),
                Tensor::from_data(TensorData::new(pixels, [256, 3]), &device),
            );
            let nll: Vec<f32> = nll.into_data().try_to_vec().expect("floats");
            let sum: f64 = nll.iter().map(|&nll| (-f64::from(nll)).exp()).sum();
            proptest::prop_assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        }
    }
}
