//! What a model is made of: the sizes and settings that its weights belong to.

use serde::{Deserialize, Serialize};

use crate::decoders::DecodersConfig;

/// Sizes of a BERT, under the names of a Hugging Face `config.json`. Fields that the encoder does not need are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    #[serde(default = "bert_eps")]
    pub layer_norm_eps: f64,
    /// Dropout after embeddings and sub-layers, in training.
    #[serde(default = "tenth")]
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention weights, in training.
    #[serde(default = "tenth")]
    pub attention_probs_dropout_prob: f64,
}

fn bert_eps() -> f64 {
    1e-12
}

fn tenth() -> f64 {
    0.1
}

/// The convolutional networks that can look at the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CnnKind {
    /// EfficientNet-Lite0 (default): 3.4 M weights without its classifier.
    #[serde(rename = "efficientnet-lite0")]
    EfficientnetLite0,
    /// ResNet-18, as in torchvision.
    Resnet18,
    /// ResNet-34.
    Resnet34,
    /// ResNet-50.
    Resnet50,
    /// ResNet-101.
    Resnet101,
    /// ResNet-152, the paper's.
    Resnet152,
}

impl CnnKind {
    /// Channels C of the last feature map.
    pub fn channels(self) -> usize {
        match self {
            Self::EfficientnetLite0 => 1280,
            Self::Resnet18 | Self::Resnet34 => 512,
            Self::Resnet50 | Self::Resnet101 | Self::Resnet152 => 2048,
        }
    }

    /// Input size and normalisation that the published weights expect.
    pub fn default_preparation(self) -> ImagePreparation {
        match self {
            Self::EfficientnetLite0 => ImagePreparation {
                size: 256,
                mean: [127.0; 3],
                std: [128.0; 3],
            },
            // ImageNet statistics of torchvision, on 0..255.
            _ => ImagePreparation {
                size: 224,
                mean: [123.675, 116.28, 103.53],
                std: [58.395, 57.12, 57.375],
            },
        }
    }
}

/// How a picture becomes the CNN's input: stretched to a square, then `(rgb - mean) / std` on 0..255.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImagePreparation {
    /// Side of the square in pixels.
    pub size: usize,
    /// Mean of each channel, R, G, B, on 0..255.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, on 0..255.
    pub std: [f32; 3],
}

/// The image encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Which network.
    pub encoder: CnnKind,
    /// How a picture is prepared for it.
    pub preparation: ImagePreparation,
    /// Dropout of its channels, each in all regions of a picture at once, in training.
    #[serde(default)]
    pub dropout: f64,
}

/// The CrossTransformer and its exchange (section 3 of the paper). Its width is the text encoder's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Replace the row by the other stream's mean instead of adding it (an ablation).
    #[serde(default)]
    pub replace_only: bool,
}

/// Everything that decides a model's shape and its answers, besides the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MuseConfig {
    /// The text encoder.
    pub text: BertConfig,
    /// The image encoder.
    pub image: ImageConfig,
    /// The CrossTransformer.
    pub exchange: ExchangeConfig,
    /// Dropout of the fused rows and of the sentiment head, in training.
    pub fusion_dropout: f64,
    /// Whether an embedding of each word's shape is added to its pieces.
    pub word_shapes: bool,
    /// The text window N, in pieces with `[CLS]` and `[SEP]`; at most 64, the number of image regions.
    pub max_pieces: usize,
    /// The BIO tags, `O` first; empty when there is no entity head.
    pub tags: Vec<String>,
    /// The sentiment classes; empty when there is no sentiment head.
    pub classes: Vec<String>,
    /// The decoders, where the model was trained with them and they were not left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoders: Option<DecodersConfig>,
}

/// A configuration that no model can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model configuration: {setting}: {problem}")]
pub struct ConfigError {
    /// The setting at fault.
    pub setting: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl MuseConfig {
    /// The weights' shapes follow from the configuration, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range or contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let d = self.text.hidden_size;
        let fail = |setting, problem: String| Err(ConfigError { setting, problem });
        for (setting, value, most) in [
            ("text.vocab_size", self.text.vocab_size, 1 << 20),
            ("text.hidden_size", d, 1 << 13),
            (
                "text.intermediate_size",
                self.text.intermediate_size,
                1 << 15,
            ),
            (
                "text.max_position_embeddings",
                self.text.max_position_embeddings,
                1 << 15,
            ),
            ("text.type_vocab_size", self.text.type_vocab_size, 1 << 10),
            ("text.num_attention_heads", self.text.num_attention_heads, d),
            ("exchange.heads", self.exchange.heads, d),
            ("exchange.feed_forward", self.exchange.feed_forward, 1 << 15),
            (
                "image.preparation.size",
                self.image.preparation.size,
                1 << 11,
            ),
        ] {
            if value == 0 || value > most {
                return fail(setting, format!("is {value}, must be 1 to {most}"));
            }
        }
        for (setting, layers) in [
            ("text.num_hidden_layers", self.text.num_hidden_layers),
            ("exchange.layers", self.exchange.layers),
        ] {
            if layers > 256 {
                return fail(setting, format!("is {layers}, must be at most 256"));
            }
        }
        if self.image.preparation.size < 32 {
            return fail("image.preparation.size", "must be at least 32".into());
        }
        if self
            .image
            .preparation
            .std
            .iter()
            .any(|&s| s <= 0.0 || !s.is_finite())
        {
            return fail("image.preparation.std", "must be above 0".into());
        }
        for (setting, heads) in [
            ("text.num_attention_heads", self.text.num_attention_heads),
            ("exchange.heads", self.exchange.heads),
        ] {
            if !d.is_multiple_of(heads) {
                return fail(setting, format!("is {heads}, must divide the width {d}"));
            }
        }
        for (setting, share) in [
            ("text.hidden_dropout_prob", self.text.hidden_dropout_prob),
            (
                "text.attention_probs_dropout_prob",
                self.text.attention_probs_dropout_prob,
            ),
            ("image.dropout", self.image.dropout),
            ("exchange.dropout", self.exchange.dropout),
            ("fusion_dropout", self.fusion_dropout),
        ] {
            if !(0.0..1.0).contains(&share) {
                return fail(
                    setting,
                    format!("is {share}, must be at least 0 and below 1"),
                );
            }
        }
        if !(0.0..=1.0).contains(&self.exchange.theta) {
            let theta = self.exchange.theta;
            return fail("exchange.theta", format!("is {theta}, must be 0 to 1"));
        }
        let most = crate::batch::REGIONS.min(self.text.max_position_embeddings);
        if !(3..=most).contains(&self.max_pieces) {
            let n = self.max_pieces;
            return fail("max_pieces", format!("is {n}, must be 3 to {most}"));
        }
        if self.tags.is_empty() && self.classes.is_empty() && self.decoders.is_none() {
            return fail(
                "tags",
                "there are neither tags nor classes nor decoders, so nothing to predict".into(),
            );
        }
        if let Some(decoders) = &self.decoders {
            decoders.validate()?;
        }
        if self.tags.first().is_some_and(|tag| tag != "O") {
            return fail("tags", "the first tag must be O".into());
        }
        for (index, tag) in self.tags.iter().enumerate().skip(1) {
            let kind = tag.strip_prefix("B-").or_else(|| tag.strip_prefix("I-"));
            if kind.is_none_or(str::is_empty) || self.tags[..index].contains(tag) {
                return fail(
                    "tags",
                    format!("{tag:?} is not a BIO tag of its own (B-type or I-type)"),
                );
            }
        }
        let distinct: std::collections::BTreeSet<_> = self.classes.iter().collect();
        if distinct.len() != self.classes.len() || self.classes.len() == 1 {
            return fail("classes", "must be two or more different names".into());
        }
        Ok(())
    }
}
