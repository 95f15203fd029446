//! The text encoder: BERT (Devlin et al. 2019, arXiv:1810.04805), post-LN, exact GELU.

use burn::module::Module;
use burn::nn::{
    Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear,
    LinearConfig,
};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Int, Tensor};

use crate::config::BertConfig;
use crate::layers::attention::{SelfAttention, hide_padding};
use crate::layers::linear::linear;

/// A BERT without its pooler.
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: Embeddings,
    layers: Vec<Layer>,
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    layer_norm: LayerNorm,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct Layer {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    dropout: Dropout,
}

impl Bert {
    /// An encoder with random weights.
    pub fn new(config: &BertConfig, device: &Device) -> Self {
        let d = config.hidden_size;
        let norm = || {
            LayerNormConfig::new(d)
                .with_epsilon(config.layer_norm_eps)
                .init(device)
        };
        let dropout = || DropoutConfig::new(config.hidden_dropout_prob).init();
        let embedding = |n: usize| {
            EmbeddingConfig::new(n, d)
                .with_initializer(burn::nn::Initializer::Normal {
                    mean: 0.0,
                    std: 0.02,
                })
                .init(device)
        };
        Self {
            embeddings: Embeddings {
                word_embeddings: embedding(config.vocab_size),
                position_embeddings: embedding(config.max_position_embeddings),
                token_type_embeddings: embedding(config.type_vocab_size),
                layer_norm: norm(),
                dropout: dropout(),
            },
            layers: (0..config.num_hidden_layers)
                .map(|_| Layer {
                    attention: SelfAttention::new(
                        d,
                        config.num_attention_heads,
                        config.attention_probs_dropout_prob,
                        device,
                    ),
                    attention_norm: norm(),
                    intermediate: LinearConfig::new(d, config.intermediate_size).init(device),
                    output: LinearConfig::new(config.intermediate_size, d).init(device),
                    output_norm: norm(),
                    dropout: dropout(),
                })
                .collect(),
        }
    }

    /// The last hidden state T_e `[B, N, d]` of `pieces` `[B, N]`.
    ///
    /// `mask` `[B, N]` is 1 at real pieces and 0 at padding, or `None` when nothing is padded. `extra` `[B, N, d]` is
    /// added to the word embeddings, before the normalisation.
    pub fn forward(
        &self,
        pieces: Tensor<2, Int>,
        mask: Option<Tensor<2>>,
        extra: Option<Tensor<3>>,
    ) -> Tensor<3> {
        self.hidden_states(pieces, mask, extra)
            .pop()
            .expect("the embeddings are there even without layers")
    }

    /// All hidden states: after the embeddings, then after each layer; each `[B, N, d]`.
    pub fn hidden_states(
        &self,
        pieces: Tensor<2, Int>,
        mask: Option<Tensor<2>>,
        extra: Option<Tensor<3>>,
    ) -> Vec<Tensor<3>> {
        let key_bias = mask.map(hide_padding);
        let mut states = vec![self.embeddings.forward(pieces, extra)];
        for layer in &self.layers {
            let rows = states[states.len() - 1].clone();
            states.push(layer.forward(rows, key_bias.as_ref()));
        }
        states
    }
}

impl Embeddings {
    fn forward(&self, pieces: Tensor<2, Int>, extra: Option<Tensor<3>>) -> Tensor<3> {
        let [_, length] = pieces.dims();
        let words = self.word_embeddings.forward(pieces); // [B, N, d]
        let positions = self
            .position_embeddings
            .weight
            .val()
            .narrow(0, 0, length)
            .unsqueeze(); // [1, N, d]
        // Segment 0 everywhere.
        let segment = self
            .token_type_embeddings
            .weight
            .val()
            .narrow(0, 0, 1)
            .unsqueeze(); // [1, 1, d]
        let mut sum = words + (positions + segment);
        if let Some(extra) = extra {
            sum = sum + extra;
        }
        self.dropout.forward(self.layer_norm.forward(sum))
    }
}

impl Layer {
    fn forward(&self, rows: Tensor<3>, key_bias: Option<&Tensor<4>>) -> Tensor<3> {
        let attended = self.attention.forward(rows.clone(), key_bias).rows;
        let rows = self
            .attention_norm
            .forward(rows + self.dropout.forward(attended));
        let wide = gelu(linear(&self.intermediate, rows.clone()));
        let fed = linear(&self.output, wide);
        self.output_norm.forward(rows + self.dropout.forward(fed))
    }
}
