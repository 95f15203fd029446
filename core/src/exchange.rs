//! The CrossTransformer and its exchange (arXiv:2309.02190, section 3.3).
//!
//! Both streams go through the same layers. In the layers μ to η, after the self-attention, the tokens to which a stream's
//! cls row attends least take the mean of the other stream.
//!
//! A row of a stream can stand for several equal ones ([`Stream::copies`]): a caption without a picture has 64 equal
//! regions, and equal rows stay equal through every layer. One row that counts 64 times gives the same result for a small
//! part of the work. A padded row is one that counts zero times, so that one mechanism serves both.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

use crate::config::ExchangeConfig;
use crate::layers::attention::{SelfAttention, silent};
use crate::layers::linear::linear;

/// One of the two streams: its rows and how often each counts.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Rows `[B, 1 + n, d]`; the first is the cls row.
    pub rows: Tensor<3>,
    /// How the rows count.
    pub copies: Copies,
}

/// How often each row of a stream counts, and how many may be exchanged.
#[derive(Clone, Debug)]
pub struct Copies {
    /// `[B, 1 + n]`: 0 for padding, 1 for an ordinary row, more for a row that stands for several.
    counts: Tensor<2>,
    /// ln(counts) as a bias for the keys `[B, 1, 1, 1 + n]`; `None` when every row counts once.
    key_bias: Option<Tensor<4>>,
    /// `[B, 1]`: ⌈θ·(n − 1)⌉ for the n real tokens, cls not counted.
    quota: Tensor<2>,
}

impl Copies {
    /// From the counts on the host: one row of `1 + n` numbers for each sample, of equal lengths.
    pub fn new(counts: &[Vec<f32>], theta: f64, device: &Device) -> Self {
        let batch = counts.len();
        let length = counts.first().map_or(0, Vec::len);
        let flat: Vec<f32> = counts.iter().flatten().copied().collect();
        let quota: Vec<f32> = counts
            .iter()
            .map(|row| quota(theta, row.iter().skip(1).sum::<f32>() as usize) as f32)
            .collect();
        let key_bias = flat.iter().any(|&count| count != 1.0).then(|| {
            let bias: Vec<f32> = flat
                .iter()
                .map(|&count| if count > 0.0 { count.ln() } else { -1e9 })
                .collect();
            Tensor::from_data(TensorData::new(bias, [batch, 1, 1, length]), device)
        });
        Self {
            counts: Tensor::from_data(TensorData::new(flat, [batch, length]), device),
            key_bias,
            quota: Tensor::from_data(TensorData::new(quota, [batch, 1]), device),
        }
    }

    /// The mean over all that counts, cls included: `[B, 1, d]`.
    fn mean(&self, rows: &Tensor<3>) -> Tensor<3> {
        let total = self.counts.clone().sum_dim(1); // [B, 1]
        let share = (self.counts.clone() / total).unsqueeze_dim::<3>(1); // [B, 1, 1 + n]
        share.matmul(rows.clone())
    }

    /// Which rows are exchanged: 1 or 0, `[B, 1 + n]`.
    ///
    /// A score lies strictly below the θ-quantile (with linear interpolation at θ·(n − 1)) exactly when at most
    /// ⌈θ·(n − 1)⌉ scores are not above it. So counting replaces sorting, ties included, and nothing leaves the device.
    fn choose(&self, scores: &Tensor<2>) -> Tensor<2> {
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
        let chosen = not_above.lower_equal(self.quota.clone()).float() * counts.clamp_max(1.0);
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

/// The layers that both streams share.
#[derive(Module, Debug)]
pub struct CrossTransformer {
    layers: Vec<Layer>,
    first_layer: usize,
    last_layer: usize,
    replace_only: bool,
}

#[derive(Module, Debug)]
struct Layer {
    attention: SelfAttention,
    norm1: LayerNorm,
    linear1: Linear,
    linear2: Linear,
    norm2: LayerNorm,
    dropout: Dropout,
}

/// What a layer's exchange saw and did, for one stream.
#[derive(Clone, Debug)]
pub struct ExchangeTrace {
    /// The attention that the cls row pays to each row, averaged over the heads, `[B, 1 + n]`.
    pub scores: Tensor<2>,
    /// 1 where the row was exchanged, `[B, 1 + n]`; `None` in a layer without exchange.
    pub chosen: Option<Tensor<2>>,
}

/// The CrossTransformer's output.
pub struct Crossed {
    /// Text rows `[B, 1 + N, d]`.
    pub text: Tensor<3>,
    /// Image rows `[B, 1 + n, d]`.
    pub image: Tensor<3>,
    /// For each layer what happened in the text and in the image stream.
    pub trace: Vec<[ExchangeTrace; 2]>,
}

impl CrossTransformer {
    /// Layers of width `d_model`, randomly initialised.
    pub fn new(config: &ExchangeConfig, d_model: usize, device: &Device) -> Self {
        Self {
            layers: (0..config.layers)
                .map(|_| Layer::new(config, d_model, device))
                .collect(),
            first_layer: config.first_layer,
            last_layer: config.last_layer,
            replace_only: config.replace_only,
        }
    }

    /// The same layers, whose residual branches give 0 until they are trained.
    pub fn silent(mut self, device: &Device) -> Self {
        for layer in &mut self.layers {
            layer.attention = layer.attention.clone().silent(device);
            layer.linear2 = silent(&layer.linear2, device);
        }
        self
    }

    /// Runs both streams through all layers.
    pub fn forward(&self, text: Stream, image: Stream) -> Crossed {
        let [mut text_rows, mut image_rows] = [text.rows, image.rows];
        let mut trace = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let (attended_text, text_scores) = layer.attend(text_rows, &text.copies);
            let (attended_image, image_scores) = layer.attend(image_rows, &image.copies);
            (text_rows, image_rows) = (attended_text, attended_image);

            let mut chosen = [None, None];
            if (self.first_layer..=self.last_layer).contains(&index) {
                let [text_done, image_done] = self.exchange(
                    (text_rows, &text_scores, &text.copies),
                    (image_rows, &image_scores, &image.copies),
                );
                (text_rows, image_rows) = (text_done.0, image_done.0);
                chosen = [Some(text_done.1), Some(image_done.1)];
            }

            text_rows = layer.feed_forward(text_rows);
            image_rows = layer.feed_forward(image_rows);
            let [text_chosen, image_chosen] = chosen;
            trace.push([
                ExchangeTrace {
                    scores: text_scores,
                    chosen: text_chosen,
                },
                ExchangeTrace {
                    scores: image_scores,
                    chosen: image_chosen,
                },
            ]);
        }
        Crossed {
            text: text_rows,
            image: image_rows,
            trace,
        }
    }

    /// The exchange of one layer. Takes each stream's rows `[B, 1 + n, d]` and their [scores], text first; gives its new
    /// rows, and which of them were chosen.
    pub fn exchange(
        &self,
        text: (Tensor<3>, &Tensor<2>, &Copies),
        image: (Tensor<3>, &Tensor<2>, &Copies),
    ) -> [(Tensor<3>, Tensor<2>); 2] {
        // Both means are taken before any row is changed.
        let text_mean = text.2.mean(&text.0);
        let image_mean = image.2.mean(&image.0);
        [(text, image_mean), (image, text_mean)].map(|((rows, scores, copies), mean)| {
            let chosen = copies.choose(scores);
            (self.replace(rows, mean, &chosen), chosen)
        })
    }

    /// `row + mean` (or the mean alone) where `chosen` is 1.
    fn replace(&self, rows: Tensor<3>, mean: Tensor<3>, chosen: &Tensor<2>) -> Tensor<3> {
        let chosen = chosen.clone().unsqueeze_dim::<3>(2); // [B, 1 + n, 1]
        let rows = if self.replace_only {
            rows * (chosen.clone().neg() + 1.0)
        } else {
            rows
        };
        rows + chosen.matmul(mean) // an outer product, [B, 1 + n, d]
    }
}

impl Layer {
    fn new(config: &ExchangeConfig, d_model: usize, device: &Device) -> Self {
        let norm = || LayerNormConfig::new(d_model).init(device);
        Self {
            attention: SelfAttention::new(d_model, config.heads, config.dropout, device),
            norm1: norm(),
            linear1: LinearConfig::new(d_model, config.feed_forward).init(device),
            linear2: LinearConfig::new(config.feed_forward, d_model).init(device),
            norm2: norm(),
            dropout: DropoutConfig::new(config.dropout).init(),
        }
    }

    /// Self-attention, residual and first normalisation; and the scores `[B, 1 + n]`, which carry no gradient.
    fn attend(&self, rows: Tensor<3>, copies: &Copies) -> (Tensor<3>, Tensor<2>) {
        let attended = self
            .attention
            .forward(rows.clone(), copies.key_bias.as_ref());
        let scores = scores(attended.weights);
        let rows = self
            .norm1
            .forward(rows + self.dropout.forward(attended.rows));
        (rows, scores)
    }

    /// Feed-forward, residual and second normalisation.
    fn feed_forward(&self, rows: Tensor<3>) -> Tensor<3> {
        let hidden = self
            .dropout
            .forward(relu(linear(&self.linear1, rows.clone())));
        let fed = self.dropout.forward(linear(&self.linear2, hidden));
        self.norm2.forward(rows + fed)
    }
}

/// The attention that the cls row pays to each row, averaged over the heads: `[B, 1 + n]` of `weights`
/// `[B, heads, 1 + n, 1 + n]`. Without a gradient.
pub fn scores(weights: Tensor<4>) -> Tensor<2> {
    weights
        .detach()
        .narrow(2, 0, 1) // the cls query
        .mean_dim(1)
        .squeeze_dims::<2>(&[1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn chosen(scores: &[f32], counts: &[f32], theta: f64) -> Vec<f32> {
        let device = Device::flex();
        let copies = Copies::new(&[counts.to_vec()], theta, &device);
        let scores =
            Tensor::from_data(TensorData::new(scores.to_vec(), [1, scores.len()]), &device);
        copies
            .choose(&scores)
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

    #[test]
    fn one_row_that_counts_often_equals_many_rows() {
        let device = Device::flex();
        let config = ExchangeConfig {
            layers: 2,
            heads: 2,
            feed_forward: 16,
            dropout: 0.0,
            theta: 0.3,
            first_layer: 0,
            last_layer: 1,
            replace_only: false,
        };
        let cross = CrossTransformer::new(&config, 8, &device);
        let random =
            |shape| Tensor::<3>::random(shape, burn::tensor::Distribution::Default, &device);
        let (text, cls, region) = (random([1, 5, 8]), random([1, 1, 8]), random([1, 1, 8]));
        let stream = |rows: Tensor<3>, counts: Vec<f32>| Stream {
            rows,
            copies: Copies::new(&[counts], config.theta, &device),
        };
        let many = Tensor::cat(vec![cls.clone(), region.clone().repeat_dim(1, 64)], 1);
        let once = Tensor::cat(vec![cls, region], 1);
        let long = cross.forward(
            stream(text.clone(), vec![1.0; 5]),
            stream(many, vec![1.0; 65]),
        );
        let short = cross.forward(stream(text, vec![1.0; 5]), stream(once, vec![1.0, 64.0]));
        let tolerance = burn::tensor::Tolerance::<f32>::absolute(1e-5);
        long.text
            .into_data()
            .assert_approx_eq(&short.text.into_data(), tolerance);
        long.image
            .narrow(1, 0, 2)
            .into_data()
            .assert_approx_eq(&short.image.into_data(), tolerance);
    }
}
