//! Multi-head self-attention, as the text encoder and the CrossTransformer use it.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Initializer, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};

use crate::layers::linear::linear;

/// Scaled dot-product self-attention with `heads` heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2).
///
/// burn's own module gives the weights only after dropout and has no additive bias for keys; the exchange needs both.
#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    dropout: Dropout,
    heads: usize,
}

/// What a self-attention gives.
pub(crate) struct Attended {
    /// The attended rows, `[B, N, d]`.
    pub(crate) rows: Tensor<3>,
    /// The attention weights before dropout, `[B, heads, N, N]`: query by key.
    pub(crate) weights: Tensor<4>,
}

impl SelfAttention {
    /// A layer of width `d_model` (a multiple of `heads`), randomly initialised.
    pub(crate) fn new(d_model: usize, heads: usize, dropout: f64, device: &Device) -> Self {
        let linear = || LinearConfig::new(d_model, d_model).init(device);
        Self {
            query: linear(),
            key: linear(),
            value: linear(),
            output: linear(),
            dropout: DropoutConfig::new(dropout).init(),
            heads,
        }
    }

    /// The same layer with an output of 0; see [`zero_init`].
    pub(crate) fn zero_init(mut self, device: &Device) -> Self {
        self.output = zero_init(&self.output, device);
        self
    }

    /// Attends over `rows` `[B, N, d]`; `key_bias` `[B, 1, 1, N]` is added to the scores of the keys.
    pub(crate) fn forward(&self, rows: Tensor<3>, key_bias: Option<&Tensor<4>>) -> Attended {
        let [batch, length, d_model] = rows.dims();
        let d_head = d_model / self.heads;
        let split = |x: Tensor<3>| {
            x.reshape([batch, length, self.heads, d_head])
                .swap_dims(1, 2) // [B, H, N, d/H]
        };
        // Scaling the queries is cheaper than scaling the N² scores.
        let query = split(linear(&self.query, rows.clone()).div_scalar((d_head as f64).sqrt()));
        let key = split(linear(&self.key, rows.clone()));
        let value = split(linear(&self.value, rows));

        let mut scores = query.matmul(key.swap_dims(2, 3)); // [B, H, N, N]
        if let Some(bias) = key_bias {
            scores = scores + bias.clone();
        }
        let weights = softmax(scores, 3);
        let rows = self
            .dropout
            .forward(weights.clone())
            .matmul(value) // [B, H, N, d/H]
            .swap_dims(1, 2)
            .reshape([batch, length, d_model]);
        Attended {
            rows: linear(&self.output, rows),
            weights,
        }
    }
}

/// A layer of the same sizes whose output is 0 until it is trained.
///
/// A residual branch that begins so leaves its input as it is: layers that are new do not garble what a pretrained encoder
/// says before they have learned something (compare Zhang et al. 2019, arXiv:1901.09321).
pub(crate) fn zero_init(linear: &Linear, device: &Device) -> Linear {
    let [d_input, d_output] = linear.weight.lazy_shape().dims();
    LinearConfig::new(d_input, d_output)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

/// The additive bias that hides keys: 0 where `mask` `[B, N]` is 1, and a number whose exponential is 0 elsewhere.
pub(crate) fn hide_padding(mask: Tensor<2>) -> Tensor<4> {
    // Not minus infinity: some GPU drivers assume that there are no infinities.
    ((mask - 1.0) * 1e9).unsqueeze_dims(&[1, 2])
}
