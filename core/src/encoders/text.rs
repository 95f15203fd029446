//! The text encoder: a network that Hugging Face's `config.json` describes. A further one is a file beside `bert.rs` and a
//! variant here.

pub mod bert;
#[cfg(test)]
mod tests;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use self::bert::{Bert, BertConfig};
use crate::load::Packing;
use crate::validate::ConfigError;
use crate::weights::{StateDict, WeightsError};

/// Which network, and its sizes: the fields of a `config.json`, whose `model_type` says which. Without one it is a BERT.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "model_type", rename_all = "kebab-case")]
pub enum TextEncoderConfig {
    /// A BERT.
    Bert(BertConfig),
}

impl TextEncoderConfig {
    /// Model width d.
    pub fn width(&self) -> usize {
        match self {
            Self::Bert(bert) => bert.hidden_size,
        }
    }

    /// Number of word pieces.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bert(bert) => bert.vocab_size,
        }
    }

    /// The longest text, in pieces.
    pub fn max_positions(&self) -> usize {
        match self {
            Self::Bert(bert) => bert.max_position_embeddings,
        }
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        match self {
            Self::Bert(bert) => bert.num_hidden_layers,
        }
    }

    /// Checks the sizes, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range or contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Bert(bert) => bert.validate(),
        }
    }
}

impl<'de> Deserialize<'de> for TextEncoderConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::<String, Value>::deserialize(deserializer)?;
        match fields.get("model_type").unwrap_or(&Value::Null) {
            Value::Null => {}
            Value::String(name) if name == "bert" => {}
            other => {
                return Err(D::Error::custom(format!(
                    "model_type is {other}; the only text encoder that is supported is \"bert\""
                )));
            }
        }
        BertConfig::try_from(fields)
            .map(Self::Bert)
            .map_err(D::Error::custom)
    }
}

/// A text encoder.
#[derive(Module, Debug)]
pub enum TextEncoder {
    /// A BERT.
    Bert(Bert),
}

impl TextEncoder {
    /// An encoder with random weights.
    pub fn new(config: &TextEncoderConfig, device: &Device) -> Self {
        match config {
            TextEncoderConfig::Bert(config) => Self::Bert(Bert::new(config, device)),
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
        match self {
            Self::Bert(bert) => bert.forward(pieces, mask, extra),
        }
    }

    /// Takes weights from a model file, as it has them.
    pub(crate) fn pack(&mut self, path: &str, weights: &mut Packing) {
        match self {
            Self::Bert(bert) => bert.pack(path, weights),
        }
    }

    /// Loads weights under the names that Hugging Face's file has.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Mismatch`], in the file's names.
    pub fn load_published(self, dict: StateDict) -> Result<Self, WeightsError> {
        match self {
            Self::Bert(bert) => bert.load_published(dict).map(Self::Bert),
        }
    }

    /// The weights under the names that Hugging Face's file has; [`Self::load_published`] reads them again.
    pub fn published(&self) -> StateDict {
        match self {
            Self::Bert(bert) => bert.published(),
        }
    }

    /// What stands for each word piece, `[V, d]`.
    pub(crate) fn pieces(&self) -> Tensor<2> {
        match self {
            Self::Bert(bert) => bert.pieces(),
        }
    }
}
