//! The CrossTransformer and its exchange (arXiv:2309.02190, section 3.3).
//!
//! Both streams go through the same layers. In the layers μ to η, after the self-attention, the tokens to which a stream's
//! cls row attends least take the mean of the other stream.
//!
//! A row of a stream can stand for several equal ones ([`Multiplicities`]): a caption without a picture has 64 equal
//! regions, and equal rows stay equal through every layer. One row that counts 64 times gives the same result for a small
//! part of the work. A padded row is one that counts zero times, so that one mechanism serves both.

mod multiplicities;
mod rule;
mod together;
mod written;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Int, Tensor};
use muse_kernels::Activation;
use serde::{Deserialize, Serialize};

pub use self::multiplicities::Multiplicities;
pub use self::rule::ExchangeRule;
use self::written::Written;
use crate::layers::attention::SelfAttention;
pub use crate::layers::attention::scores;
use crate::layers::linear::Linear;
use crate::layers::norm::LayerNorm;
use crate::layers::{dropout, gpu};
use crate::load::Packing;
use crate::validate::{self, ConfigError};

/// The CrossTransformer and its exchange (section 3 of the paper). Its width is the text encoder's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct ExchangeConfig {
    /// Number of layers L.
    pub layers: usize,
    /// Number of attention heads; divides the model width.
    pub heads: usize,
    /// Width of the feed-forward layers.
    pub feed_forward: usize,
    /// Dropout of attention weights and sub-layers, in training.
    pub dropout: f64,
    /// Exchange ratio θ, 0 to 1.
    pub theta: f64,
    /// First layer μ that exchanges, counted from 0.
    pub first_layer: usize,
    /// Last layer η that exchanges, itself included.
    pub last_layer: usize,
    /// What becomes of a chosen token.
    pub rule: ExchangeRule,
}

impl ExchangeConfig {
    /// Checks what does not depend on the model's width.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::range("layers", self.layers, 0..=256)?;
        validate::range("feed_forward", self.feed_forward, 1..=1 << 15)?;
        validate::dropout("dropout", self.dropout)?;
        validate::range("theta", self.theta, 0.0..=1.0)
    }

    /// Checks that it fits a model of this width.
    ///
    /// # Errors
    ///
    /// When the heads do not divide it.
    pub fn fits(&self, width: usize) -> Result<(), ConfigError> {
        validate::heads("heads", self.heads, width)
    }
}

/// One of the two streams: its rows and how often each counts.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Rows `[B, 1 + n, d]`; the first is the cls row.
    pub rows: Tensor<3>,
    /// How often each of them counts.
    pub multiplicities: Multiplicities,
}

/// PyTorch's.
const NORM_EPSILON: f64 = 1e-5;

/// The layers that both streams share.
#[derive(Module, Debug)]
pub struct CrossTransformer {
    layers: Vec<Layer>,
    theta: f64,
    first_layer: usize,
    last_layer: usize,
    #[module(skip)]
    rule: ExchangeRule,
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

impl Crossed {
    /// Rows of both streams side by side, `[n, 2 · d]`: those at `text` and `image` `[n]` of the flattened streams.
    pub(crate) fn pairs(&self, text: &Tensor<1, Int>, image: &Tensor<1, Int>) -> Tensor<2> {
        let pairs = gpu::pairs([&self.text, &self.image], Some([text, image]));
        pairs.unwrap_or_else(|| {
            let rows = |stream: &Tensor<3>, places: &Tensor<1, Int>| {
                let d = stream.dims()[2];
                let rows = stream.clone().reshape([-1, d as i32]);
                rows.select(0, places.clone())
            };
            Tensor::cat(vec![rows(&self.text, text), rows(&self.image, image)], 1)
        })
    }

    /// Both cls rows side by side, `[B, 2 · d]`.
    pub(crate) fn cls(&self) -> Tensor<2> {
        gpu::pairs([&self.text, &self.image], None).unwrap_or_else(|| {
            let cls = |stream: &Tensor<3>| stream.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
            Tensor::cat(vec![cls(&self.text), cls(&self.image)], 1)
        })
    }
}

impl CrossTransformer {
    /// Layers of width `d_model`, randomly initialised.
    pub fn new(config: &ExchangeConfig, d_model: usize, device: &Device) -> Self {
        Self {
            layers: (0..config.layers)
                .map(|_| Layer::new(config, d_model, device))
                .collect(),
            theta: config.theta,
            first_layer: config.first_layer,
            last_layer: config.last_layer,
            rule: config.rule,
        }
    }

    /// The same layers, whose residual branches give 0 until they are trained.
    pub fn zero_init_residuals(mut self, device: &Device) -> Self {
        for layer in &mut self.layers {
            layer.attention = layer.attention.clone().zero_init(device);
            layer.linear2 = layer.linear2.zero_init(device);
        }
        self
    }

    /// Takes weights from a model file, as it has them.
    pub(crate) fn pack(&mut self, path: &str, weights: &mut Packing) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let path = format!("{path}.layers.{index}");
            layer.attention.pack(&format!("{path}.attention"), weights);
            layer.linear1.pack(&format!("{path}.linear1"), weights);
            layer.linear2.pack(&format!("{path}.linear2"), weights);
        }
    }

    /// Runs both streams through all layers.
    pub fn forward(&self, text: Stream, image: Stream) -> Crossed {
        let mut streams = [text, image];
        let quotas = self.quotas(&streams);
        let mut trace = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let [(text, text_scores), (image, image_scores)] =
                streams.map(|stream| layer.attend(stream));
            let scores = [text_scores, image_scores];
            let mut chosen = [None, None];
            streams = [text, image];
            if (self.first_layer..=self.last_layer).contains(&index) {
                let (exchanged, which) = self.exchange(streams, &scores, &quotas);
                (streams, chosen) = (exchanged, which.map(Some));
            }
            streams = streams.map(|stream| Stream {
                rows: layer.feed_forward(stream.rows),
                ..stream
            });
            let mut chosen = chosen.into_iter();
            trace.push(scores.map(|scores| ExchangeTrace {
                scores,
                chosen: chosen.next().flatten(),
            }));
        }
        let [text, image] = streams.map(|stream| stream.rows);
        Crossed { text, image, trace }
    }

    /// For each stream how many tokens of each sample are exchanged where no scores tie, `[B, 1]`: ⌈θ·(n − 1)⌉ of n.
    pub fn quotas(&self, streams: &[Stream; 2]) -> [Tensor<2>; 2] {
        streams
            .each_ref()
            .map(|stream| stream.multiplicities.quota(self.theta))
    }

    /// The exchange of one layer.
    ///
    /// # Shapes
    ///
    /// One for the text's stream and one for the image's:
    ///
    /// - `streams`: rows `[B, 1 + n, d]`
    /// - `scores`: `[B, 1 + n]`, as [`scores`] gives them
    /// - `quotas`: `[B, 1]`, as [`Self::quotas`] gives them
    /// - returns the streams with their new rows `[B, 1 + n, d]`, and which rows were chosen `[B, 1 + n]`, 1 or 0
    pub fn exchange(
        &self,
        streams: [Stream; 2],
        scores: &[Tensor<2>; 2],
        quotas: &[Tensor<2>; 2],
    ) -> ([Stream; 2], [Tensor<2>; 2]) {
        // Both means are taken before any row is changed.
        let [text_mean, image_mean] = streams
            .each_ref()
            .map(|stream| stream.multiplicities.mean(&stream.rows));
        let chosen = std::array::from_fn(|s| {
            let multiplicities = &streams[s].multiplicities;
            multiplicities.least_attended(&scores[s], &quotas[s])
        });
        let [text, image] = streams;
        let take = |mut stream: Stream, mean: Tensor<3>, chosen: &Tensor<2>| {
            let chosen = chosen.clone().unsqueeze_dim::<3>(2); // [B, 1 + n, 1]
            stream.rows = self.rule.apply(stream.rows, chosen, mean);
            stream
        };
        let text = take(text, image_mean, &chosen[0]);
        let image = take(image, text_mean, &chosen[1]);
        ([text, image], chosen)
    }
}

impl Layer {
    fn new(config: &ExchangeConfig, d_model: usize, device: &Device) -> Self {
        let norm = || LayerNorm::new(d_model, NORM_EPSILON, device);
        Self {
            attention: SelfAttention::new(d_model, config.heads, config.dropout, device),
            norm1: norm(),
            linear1: Linear::new(d_model, config.feed_forward, device),
            linear2: Linear::new(config.feed_forward, d_model, device),
            norm2: norm(),
            dropout: DropoutConfig::new(config.dropout).init(),
        }
    }

    /// Self-attention, residual and first normalisation; and the scores `[B, 1 + n]`, which carry no gradient.
    fn attend(&self, mut stream: Stream) -> (Stream, Tensor<2>) {
        let bias = stream.multiplicities.key_bias.as_ref();
        let attended = self.attention.forward(stream.rows, bias, &self.dropout);
        stream.rows = self.norm1.forward(attended.rows.clone());
        (stream, attended.scores())
    }

    /// Feed-forward, residual and second normalisation.
    fn feed_forward(&self, rows: Tensor<3>) -> Tensor<3> {
        let hidden = self.linear1.activated(rows.clone(), Activation::Relu);
        let hidden = dropout::drop(&self.dropout, hidden);
        let fed = self.linear2.added(hidden, &self.dropout, rows);
        self.norm2.forward(fed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

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
            rule: ExchangeRule::Add,
        };
        let cross = CrossTransformer::new(&config, 8, &device);
        let random =
            |shape| Tensor::<3>::random(shape, burn::tensor::Distribution::Default, &device);
        let (text, cls, region) = (random([1, 5, 8]), random([1, 1, 8]), random([1, 1, 8]));
        let stream = |rows: Tensor<3>, counts: Vec<f32>| Stream {
            rows,
            multiplicities: Multiplicities::new(&[counts], &device),
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
