//! How often each row of a stream counts, and what follows from it: means, and which rows are the least attended.

use burn::tensor::{Device, Tensor, TensorData};
use libm::logf; // the same digits on every machine

use crate::layers::cpu;

/// How often each row of a stream counts.
#[derive(Clone, Debug)]
pub struct Multiplicities {
    /// `[B, 1 + n]`: 0 for padding, 1 for an ordinary row, more for a row that stands for several.
    counts: Tensor<2>,
    /// ln(counts) as a bias for the keys `[B, 1, 1, 1 + n]`; `None` when every row counts once.
    pub(super) key_bias: Option<Tensor<4>>,
    /// `counts`, row-major, and what their bias would be.
    host: [Vec<f32>; 2],
    /// The real tokens of each sample, cls not counted.
    tokens: Vec<usize>,
}

impl Multiplicities {
    /// From the counts on the host: one row of `1 + n` numbers for each sample, of equal lengths.
    pub fn new(counts: &[Vec<f32>], device: &Device) -> Self {
        let batch = counts.len();
        let length = counts.first().map_or(0, Vec::len);
        let flat: Vec<f32> = counts.iter().flatten().copied().collect();
        let bias: Vec<f32> = flat
            .iter()
            .map(|&count| if count > 0.0 { logf(count) } else { -1e9 })
            .collect();
        let key_bias = flat.iter().any(|&count| count != 1.0).then(|| {
            Tensor::from_data(TensorData::new(bias.clone(), [batch, 1, 1, length]), device)
        });
        Self {
            counts: Tensor::from_data(TensorData::new(flat.clone(), [batch, length]), device),
            key_bias,
            host: [flat, bias],
            tokens: counts
                .iter()
                .map(|row| row.iter().skip(1).sum::<f32>() as usize)
                .collect(),
        }
    }

    /// How many tokens of each sample lie below the θ-quantile of distinct scores, `[B, 1]`.
    pub(super) fn quota(&self, theta: f64) -> Tensor<2> {
        let quota: Vec<f32> = self.quotas(theta).collect();
        let shape = [quota.len(), 1];
        Tensor::from_data(TensorData::new(quota, shape), &self.counts.device())
    }

    /// [`Self::quota`] on the host.
    pub(super) fn quotas(&self, theta: f64) -> impl Iterator<Item = f32> {
        let tokens = self.tokens.iter();
        tokens.map(move |&tokens| quota(theta, tokens) as f32)
    }

    /// How often each row counts, row-major.
    pub(super) fn counts(&self) -> &[f32] {
        &self.host[0]
    }

    /// The bias for the keys, row-major.
    pub(super) fn bias(&self) -> &[f32] {
        &self.host[1]
    }

    /// The mean over all that counts, cls included: `[B, 1, d]`.
    pub(super) fn mean(&self, rows: &Tensor<3>) -> Tensor<3> {
        if let Some(mean) = cpu::mean(&self.counts, rows) {
            return mean;
        }
        let total = self.counts.clone().sum_dim(1); // [B, 1]
        let share = (self.counts.clone() / total).unsqueeze_dim::<3>(1); // [B, 1, 1 + n]
        share.matmul(rows.clone())
    }

    /// Which rows are exchanged: 1 or 0, `[B, 1 + n]`, of the `scores` `[B, 1 + n]` and the [quota](Self::quota).
    ///
    /// A score lies strictly below the θ-quantile (with linear interpolation at θ·(n − 1)) exactly when at most
    /// ⌈θ·(n − 1)⌉ scores are not above it. So counting replaces sorting, ties included, and nothing leaves the device.
    pub(super) fn least_attended(&self, scores: &Tensor<2>, quota: &Tensor<2>) -> Tensor<2> {
        let [batch, length] = scores.dims();
        let tokens = scores.clone().narrow(1, 1, length - 1); // [B, n]
        let counts = self.counts.clone().narrow(1, 1, length - 1);
        let not_above = tokens
            .clone()
            .unsqueeze_dim::<3>(1)
            .lower_equal(tokens.unsqueeze_dim::<3>(2)) // [B, n, n]: does k lie at or below j?
            .float()
            .matmul(counts.clone().unsqueeze_dim::<3>(2)) // padding counts zero times
            .squeeze_dim::<2>(2); // [B, n]
        let chosen = not_above.lower_equal(quota.clone()).float() * counts.clamp_max(1.0);
        let cls = Tensor::zeros([batch, 1], &scores.device());
        Tensor::cat(vec![cls, chosen], 1)
    }
}

/// ⌈θ·(n − 1)⌉, the number of tokens below the θ-quantile of n distinct scores.
fn quota(theta: f64, tokens: usize) -> usize {
    let position = theta * tokens.saturating_sub(1) as f64;
    // A product such as 0.1·30 may end a hair above the whole number it means.
    (position - 1e-9).ceil().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(scores: &[f32], counts: &[f32], theta: f64) -> Vec<f32> {
        let device = Device::flex();
        let multiplicities = Multiplicities::new(&[counts.to_vec()], &device);
        let scores =
            Tensor::from_data(TensorData::new(scores.to_vec(), [1, scores.len()]), &device);
        multiplicities
            .least_attended(&scores, &multiplicities.quota(theta))
            .into_data()
            .try_to_vec()
            .expect("floats")
    }

    /// numpy.quantile with linear interpolation, and a strict comparison: the definition, done by sorting.
    fn by_definition(scores: &[f32], counts: &[f32], theta: f64) -> Vec<f32> {
        let real: Vec<f64> = scores[1..]
            .iter()
            .zip(&counts[1..])
            .filter(|(_, c)| **c > 0.0)
            .map(|(s, _)| f64::from(*s))
            .collect();
        let mut sorted = real.clone();
        sorted.sort_by(f64::total_cmp);
        let position = theta * sorted.len().saturating_sub(1) as f64;
        let (low, part) = (position.floor() as usize, position.fract());
        let high = (low + 1).min(sorted.len().saturating_sub(1));
        let threshold = match sorted.is_empty() {
            true => f64::NEG_INFINITY,
            false => sorted[low] + part * (sorted[high] - sorted[low]),
        };
        std::iter::once(0.0)
            .chain(
                scores[1..]
                    .iter()
                    .zip(&counts[1..])
                    .map(|(s, c)| f32::from(u8::from(*c > 0.0 && f64::from(*s) < threshold))),
            )
            .collect()
    }

    proptest::proptest! {
        #[test]
        fn counting_is_the_quantile(
            // Few distinct values, so that ties are common.
            scores in proptest::collection::vec((0u8..12, proptest::bool::weighted(0.8)), 2..30),
            theta in 0u8..=20,
        ) {
            let theta = f64::from(theta) / 20.0;
            let values: Vec<f32> = scores.iter().map(|(s, _)| f32::from(*s)).collect();
            let mut counts: Vec<f32> = scores.iter().map(|(_, real)| f32::from(u8::from(*real))).collect();
            counts[0] = 1.0;
            proptest::prop_assert_eq!(
                chosen(&values, &counts, theta),
                by_definition(&values, &counts, theta)
            );
        }
    }

    #[test]
    fn equal_rows_are_never_chosen() {
        assert_eq!(chosen(&[0.3, 0.7], &[1.0, 64.0], 1.0), [0.0, 0.0]);
        assert_eq!(
            chosen(&[0.1, 0.3, 0.3, 0.3], &[1.0; 4], 1.0),
            [0.0, 0.0, 0.0, 0.0]
        );
    }
}
