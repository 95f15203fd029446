//! Multi-head self-attention, as the text encoder and the CrossTransformer use it.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};

use crate::layers::gpu::{self, Sequences};
use crate::layers::linear::Linear;
use crate::layers::{cpu, dropout, learn};
use crate::load::Packing;

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
    /// Query, key and value in one, in the place of their parameters, where a model on a GPU is only asked.
    #[module(skip)]
    joint: Option<Linear>,
}

/// What a self-attention gives.
pub(crate) struct Attended {
    /// The rows with what they attended to added, `[B, N, d]`.
    pub(crate) rows: Tensor<3>,
    paid: Paid,
}

/// The attention weights before dropout.
enum Paid {
    /// `[B, heads, N, N]`: query by key.
    All(Tensor<4>),
    /// The first query's, averaged over the heads, `[B, N]`.
    First(Tensor<2>),
    /// The first query's of each head, `[B · N, heads]`.
    Heads(Tensor<2>),
}

impl Attended {
    /// The attention that the first row pays to each row, averaged over the heads, `[B, N]`. Without a gradient.
    pub(crate) fn scores(self) -> Tensor<2> {
        match self.paid {
            Paid::First(scores) => scores,
            Paid::Heads(paid) => {
                let [batch, length, _] = self.rows.dims();
                let [_, heads] = paid.dims();
                let paid = paid.reshape([batch, length, heads]);
                paid.mean_dim(2).squeeze_dim(2)
            }
            Paid::All(weights) => scores(weights),
        }
    }
}

/// The attention that the first row pays to each row, averaged over the heads: `[B, N]` of `weights` `[B, heads, N, N]`. Without a
/// gradient.
pub fn scores(weights: Tensor<4>) -> Tensor<2> {
    weights
        .detach()
        .narrow(2, 0, 1) // the cls query
        .mean_dim(1)
        .squeeze_dims::<2>(&[1, 2])
}

impl SelfAttention {
    /// A layer of width `d_model` (a multiple of `heads`), randomly initialised.
    pub(crate) fn new(d_model: usize, heads: usize, dropout: f64, device: &Device) -> Self {
        let linear = || Linear::new(d_model, d_model, device);
        Self {
            query: linear(),
            key: linear(),
            value: linear(),
            output: linear(),
            dropout: DropoutConfig::new(dropout).init(),
            heads,
            joint: None,
        }
    }

    /// The same layer with an output of 0; see [`Linear::zero_init`].
    pub(crate) fn zero_init(mut self, device: &Device) -> Self {
        self.output = self.output.zero_init(device);
        self
    }

    /// See [`Linear::pack`].
    pub(crate) fn pack(&mut self, path: &str, weights: &mut Packing) {
        let shape = self.query.shape();
        if gpu::attends(shape[0], self.heads) {
            let paths = ["query", "key", "value"].map(|name| format!("{path}.{name}"));
            self.joint = weights.joint(&paths, shape);
        }
        self.query.pack(&format!("{path}.query"), weights);
        self.key.pack(&format!("{path}.key"), weights);
        self.value.pack(&format!("{path}.value"), weights);
        self.output.pack(&format!("{path}.output"), weights);
    }

    /// Adds to `rows` `[B, N, d]` what they attend to, after `dropout`; `key_bias` `[B, 1, 1, N]` is added to the scores of the keys.
    pub(crate) fn forward(
        &self,
        rows: Tensor<3>,
        key_bias: Option<&Tensor<4>>,
        dropout: &Dropout,
    ) -> Attended {
        if let Some(joint) = &self.joint {
            return self.jointly(joint, rows, key_bias, dropout);
        }
        let query = self.query.forward(rows.clone());
        let key = self.key.forward(rows.clone());
        let value = self.value.forward(rows.clone());
        let streams = [&query, &key, &value];
        let fused = cpu::attention(streams, key_bias, self.heads).or_else(|| {
            let drawn = dropout::drawn(&self.dropout, &query);
            learn::attention(streams, key_bias, self.heads, drawn)
        });
        let (attended, paid) = match fused {
            Some((attended, first)) => (attended, Paid::First(first)),
            None => self.attend(query, key, value, key_bias),
        };
        Attended {
            rows: self.output.added(attended, dropout, rows),
            paid,
        }
    }

    /// Whether query, key and value are one layer, as they are on a GPU.
    pub(crate) fn is_joint(&self) -> bool {
        self.joint.is_some()
    }

    /// [`Self::forward`] where query, key and value are one layer.
    fn jointly(
        &self,
        joint: &Linear,
        rows: Tensor<3>,
        key_bias: Option<&Tensor<4>>,
        dropout: &Dropout,
    ) -> Attended {
        let [batch, length, width] = rows.dims();
        let lengths = [length, 0];
        let projected = joint.forward(rows.clone());
        let kernel = gpu::attention(
            &projected,
            key_bias,
            self.heads,
            Sequences { batch, lengths },
        );
        let (attended, paid) = match kernel {
            Some((attended, paid)) => (attended, Paid::Heads(paid)),
            None => {
                let part = |nth| projected.clone().narrow(2, nth * width, width);
                self.attend(part(0), part(1), part(2), key_bias)
            }
        };
        Attended {
            rows: self.output.added(attended, dropout, rows),
            paid,
        }
    }

    /// [`Self::forward`] on a GPU, of `sequences` one below the other `[1, n, d]`, with a `bias` for each key `[n]`. Also what each
    /// head's first row pays to each `[n, heads]`.
    pub(crate) fn together(
        &self,
        rows: Tensor<3>,
        bias: &Tensor<1>,
        sequences: Sequences,
        dropout: &Dropout,
    ) -> Option<(Tensor<3>, Tensor<2>)> {
        let projected = self.joint.as_ref()?.forward(rows.clone());
        let (attended, paid) = gpu::attention(&projected, Some(bias), self.heads, sequences)?;
        Some((self.output.added(attended, dropout, rows), paid))
    }

    /// The attended rows `[B, N, d]`, and the weights.
    fn attend(
        &self,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
        key_bias: Option<&Tensor<4>>,
    ) -> (Tensor<3>, Paid) {
        let [batch, length, d_model] = query.dims();
        let d_head = d_model / self.heads;
        let split = |x: Tensor<3>| {
            x.reshape([batch, length, self.heads, d_head])
                .swap_dims(1, 2) // [B, H, N, d/H]
        };
        // Scaling the queries is cheaper than scaling the N² scores.
        let query = split(query.div_scalar((d_head as f64).sqrt()));
        let mut scores = query.matmul(split(key).swap_dims(2, 3)); // [B, H, N, N]
        if let Some(bias) = key_bias {
            scores = scores + bias.clone();
        }
        let weights = softmax(scores, 3);
        let rows = self
            .dropout
            .forward(weights.clone())
            .matmul(split(value)) // [B, H, N, d/H]
            .swap_dims(1, 2)
            .reshape([batch, length, d_model]);
        (rows, Paid::All(weights))
    }
}

/// The additive bias that hides keys: 0 where `mask` `[B, N]` is 1, and a number whose exponential is 0 elsewhere.
pub(crate) fn hide_padding(mask: Tensor<2>) -> Tensor<4> {
    // Not minus infinity: some GPU drivers assume that there are no infinities.
    ((mask - 1.0) * 1e9).unsqueeze_dims(&[1, 2])
}
