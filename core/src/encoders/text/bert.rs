//! BERT (Devlin et al. 2019, arXiv:1810.04805), post-LN, exact GELU.

#[cfg(test)]
mod tests;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Int, Tensor};
use muse_kernels::Activation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::layers::attention::{SelfAttention, hide_padding};
use crate::layers::dropout;
use crate::layers::embedding::Embedding;
use crate::layers::gpu;
use crate::layers::linear::Linear;
use crate::layers::norm::LayerNorm;
use crate::load::Packing;
use crate::validate::{self, ConfigError};
use crate::weights::foreign::{Foreign, publish, replace_all};
use crate::weights::{Problem, StateDict, WeightsError, load};

/// Sizes of a BERT, under the names of a Hugging Face `config.json`. Fields that the encoder does not need are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct BertConfig {
    /// Number of word pieces.
    pub vocab_size: usize,
    /// Model width d.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of learned positions.
    pub max_position_embeddings: usize,
    /// Number of segments.
    pub type_vocab_size: usize,
    /// Epsilon of the layer normalisations.
    pub layer_norm_eps: f64,
    /// Dropout after embeddings and sub-layers, in training.
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention weights, in training.
    pub attention_probs_dropout_prob: f64,
}

/// Of a `config.json`; refused where a size is missing, or a field asks for another arithmetic than [`Bert`]'s.
impl TryFrom<Map<String, Value>> for BertConfig {
    type Error = String;

    fn try_from(fields: Map<String, Value>) -> Result<Self, String> {
        // The first value is what the field's absence means.
        for (field, supported) in [
            ("model_type", &[json!("bert")][..]),
            ("hidden_act", &[json!("gelu"), json!("gelu_python")]),
            ("position_embedding_type", &[json!("absolute")]),
            ("is_decoder", &[json!(false)]),
            ("add_cross_attention", &[json!(false)]),
            ("pruned_heads", &[json!({})]),
        ] {
            let found = fields.get(field).filter(|value| !value.is_null());
            if let Some(found) = found.filter(|found| !supported.contains(found)) {
                return Err(format!(
                    "{field} is {found}, with which the encoder computes something else; only {} is supported",
                    supported[0]
                ));
            }
        }
        let size = |name| read(&fields, name, None);
        let number = |name, default| read(&fields, name, Some(default));
        Ok(Self {
            vocab_size: size("vocab_size")?,
            hidden_size: size("hidden_size")?,
            num_hidden_layers: size("num_hidden_layers")?,
            num_attention_heads: size("num_attention_heads")?,
            intermediate_size: size("intermediate_size")?,
            max_position_embeddings: size("max_position_embeddings")?,
            type_vocab_size: size("type_vocab_size")?,
            layer_norm_eps: number("layer_norm_eps", 1e-12)?,
            hidden_dropout_prob: number("hidden_dropout_prob", 0.1)?,
            attention_probs_dropout_prob: number("attention_probs_dropout_prob", 0.1)?,
        })
    }
}

/// A field's value, or the default where there is no such field.
fn read<T: DeserializeOwned>(
    fields: &Map<String, Value>,
    name: &str,
    default: Option<T>,
) -> Result<T, String> {
    match fields.get(name) {
        Some(value) => {
            serde_json::from_value(value.clone()).map_err(|error| format!("{name}: {error}"))
        }
        None => default.ok_or_else(|| format!("missing field `{name}`")),
    }
}

impl BertConfig {
    /// Checks the sizes, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range or contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::range("vocab_size", self.vocab_size, 1..=1 << 20)?;
        validate::range("hidden_size", self.hidden_size, 1..=1 << 13)?;
        validate::range("num_hidden_layers", self.num_hidden_layers, 0..=256)?;
        validate::heads(
            "num_attention_heads",
            self.num_attention_heads,
            self.hidden_size,
        )?;
        validate::range("intermediate_size", self.intermediate_size, 1..=1 << 15)?;
        validate::range(
            "max_position_embeddings",
            self.max_position_embeddings,
            1..=1 << 15,
        )?;
        validate::range("type_vocab_size", self.type_vocab_size, 1..=1 << 10)?;
        validate::dropout("hidden_dropout_prob", self.hidden_dropout_prob)?;
        validate::dropout(
            "attention_probs_dropout_prob",
            self.attention_probs_dropout_prob,
        )
    }
}

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
        let norm = || LayerNorm::new(d, config.layer_norm_eps, device);
        let dropout = || DropoutConfig::new(config.hidden_dropout_prob).init();
        let embedding = |n: usize| Embedding::new(n, d, device);
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
                    intermediate: Linear::new(d, config.intermediate_size, device),
                    output: Linear::new(config.intermediate_size, d, device),
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

    /// Takes weights from a model file, as it has them.
    pub(super) fn pack(&mut self, path: &str, weights: &mut Packing) {
        let words = &mut self.embeddings.word_embeddings;
        words.pack(&format!("{path}.embeddings.word_embeddings"), weights);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let path = format!("{path}.layers.{index}");
            layer.attention.pack(&format!("{path}.attention"), weights);
            layer
                .intermediate
                .pack(&format!("{path}.intermediate"), weights);
            layer.output.pack(&format!("{path}.output"), weights);
        }
    }

    /// Loads a Hugging Face BERT: with or without the `bert.` prefix, `gamma`/`beta` or `weight`/`bias` for the
    /// normalisations; the heads that such files carry (pooler, `cls.*`, classifiers) and `position_ids` are left out.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Mismatch`], in the file's names.
    pub fn load_published(self, dict: StateDict) -> Result<Self, WeightsError> {
        const UNUSED: [&str; 4] = ["pooler.", "cls.", "classifier.", "qa_outputs."];
        let mut state = StateDict::new();
        let mut problems = Vec::new();
        for (name, tensor) in dict {
            let name = name.strip_prefix("bert.").unwrap_or(&name);
            if UNUSED.iter().any(|head| name.starts_with(head)) || name.ends_with("position_ids") {
                continue;
            }
            let name = match name.rsplit_once('.') {
                Some((module, "gamma")) => format!("{module}.weight"),
                Some((module, "beta")) => format!("{module}.bias"),
                _ => name.to_owned(),
            };
            if state.insert(name.clone(), tensor).is_some() {
                problems.push(Problem::Twice { name });
            }
        }
        if !problems.is_empty() {
            let module = "BERT".to_owned();
            return Err(WeightsError::Mismatch { module, problems });
        }
        load(self, "BERT", state, published_name)
    }

    /// The weights under Hugging Face's names; [`Self::load_published`] reads them again.
    pub fn published(&self) -> StateDict {
        publish(self, published_name)
    }

    /// What stands for each word piece, `[V, d]`.
    pub(crate) fn pieces(&self) -> Tensor<2> {
        self.embeddings.word_embeddings.weight()
    }
}

impl Embeddings {
    fn forward(&self, pieces: Tensor<2, Int>, extra: Option<Tensor<3>>) -> Tensor<3> {
        let tables = || {
            let tables = [
                &self.word_embeddings,
                &self.position_embeddings,
                &self.token_type_embeddings,
            ];
            tables.map(Embedding::weight)
        };
        if let Some(sum) = gpu::embed(&pieces, tables, extra.as_ref()) {
            return self.layer_norm.forward(sum);
        }
        let [_, length] = pieces.dims();
        let words = self.word_embeddings.forward(pieces); // [B, N, d]
        let positions = self
            .position_embeddings
            .weight()
            .narrow(0, 0, length)
            .unsqueeze(); // [1, N, d]
        // Segment 0 everywhere.
        let segment = self
            .token_type_embeddings
            .weight()
            .narrow(0, 0, 1)
            .unsqueeze(); // [1, 1, d]
        let mut sum = words + (positions + segment);
        if let Some(extra) = extra {
            sum = sum + extra;
        }
        dropout::drop(&self.dropout, self.layer_norm.forward(sum))
    }
}

impl Layer {
    fn forward(&self, rows: Tensor<3>, key_bias: Option<&Tensor<4>>) -> Tensor<3> {
        let attended = self.attention.forward(rows, key_bias, &self.dropout);
        let rows = self.attention_norm.forward(attended.rows);
        let wide = self.intermediate.activated(rows.clone(), Activation::Gelu);
        let fed = self.output.added(wide, &self.dropout, rows);
        self.output_norm.forward(fed)
    }
}

/// What Hugging Face calls a parameter.
fn published_name(path: &str) -> Foreign {
    let transposed = path.starts_with("layers.") && path.ends_with(".weight");
    let name = replace_all(
        path,
        &[
            ("layers.", "encoder.layer."),
            (".attention_norm.", ".attention.output.LayerNorm."),
            (".attention.query.", ".attention.self.query."),
            (".attention.key.", ".attention.self.key."),
            (".attention.value.", ".attention.self.value."),
            (".intermediate.", ".intermediate.dense."),
            // The attention's output and the feed-forward's.
            (".output.weight", ".output.dense.weight"),
            (".output.bias", ".output.dense.bias"),
            (".output_norm.", ".output.LayerNorm."),
            (".layer_norm.", ".LayerNorm."),
            (".gamma", ".weight"),
            (".beta", ".bias"),
        ],
    );
    Foreign { name, transposed }
}
