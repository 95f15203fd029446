//! The sections of the configuration file, with their defaults.

use std::path::PathBuf;

use muse_core::decoders::generator::PixelCnnConfig;
use muse_core::encoders::image::CnnKind;
use muse_core::encoders::text::TextEncoderConfig;
use muse_core::exchange::ExchangeConfig;
use muse_core::heads::Names;
use muse_core::heads::entities::Styles;
use muse_core::objective::Part;
use serde::{Deserialize, Serialize};

use super::defaults;
use crate::data::Source;

/// The model's shape and its pretrained encoders; or, with `init`, the model file that has both.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// A model file to start from. Shape and weights are then its own, and of the other settings here only the [`Self::names`] and
    /// `image.tune` count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// The text window N in pieces, at most 64.
    #[serde(default = "defaults::sixty_four")]
    pub max_pieces: usize,
    /// Add an embedding of each word's shape.
    #[serde(default)]
    pub word_shapes: bool,
    /// Dropout of the heads' fused rows.
    #[serde(default = "defaults::half")]
    pub fusion_dropout: f64,
    /// The text encoder.
    #[serde(default)]
    pub text: TextSection,
    /// The image encoder.
    #[serde(default)]
    pub image: ImageSection,
    /// The CrossTransformer; needed without `init`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ExchangeConfig>,
    /// The decoders; which of them there are is said by their weights in the objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoders: Option<DecodersSection>,
    /// Tags, when they shall not be read from the data (`muse info` without data, say).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Sentiment classes, when they shall not be read from the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Which of the sources' styles answers where none is asked for; the first of the training data when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_style: Option<String>,
}

impl ModelSection {
    /// What the heads choose from, as far as it is not read from the data.
    pub fn names(&self) -> Names {
        Names {
            tags: self.tags.clone(),
            classes: self.classes.clone(),
            styles: Styles {
                default: self.default_style.clone(),
                ..Styles::default()
            },
        }
    }
}

/// The text encoder: a Hugging Face folder, or sizes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSection {
    /// Folder with `config.json`, `model.safetensors` and `tokenizer.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Sizes, for a folder that is not at hand (`muse info`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<TextEncoderConfig>,
}

/// The image encoder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSection {
    /// Which network; needed without `init`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<CnnKind>,
    /// Its weights, `.pth` or `.safetensors`; needed without `init`, to train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Side of the input in pixels, when it is not the network's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// What of it is trained.
    #[serde(default)]
    pub tune: Tune,
    /// Dropout of its channels, each in all regions of a picture at once.
    #[serde(default)]
    pub dropout: f64,
}

/// The decoders' sizes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodersSection {
    /// Standard deviation of the noise on the embeddings.
    #[serde(default = "defaults::one")]
    pub noise: f64,
    /// The captioner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captioner: Option<CaptionerSection>,
    /// The image generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<PixelCnnConfig>,
}

/// The captioner's sizes and vocabulary.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionerSection {
    /// Width of the attention.
    pub attention: usize,
    /// Width of a token's embedding.
    pub embedding: usize,
    /// Width of the LSTM.
    pub hidden: usize,
    /// Dropout before the vocabulary.
    #[serde(default = "defaults::half")]
    pub dropout: f64,
    /// How often a word piece must occur in the training captions to be in the vocabulary.
    #[serde(default = "defaults::two")]
    pub least: usize,
    /// The vocabulary's size, for data that are not at hand (`muse info`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
}

/// What of the image encoder is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tune {
    /// Nothing: its features are computed once and kept.
    #[default]
    Frozen,
    /// The last so many stages.
    Last(usize),
    /// Everything.
    Whole,
}

/// The training's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// Passes over the data.
    pub epochs: usize,
    /// Samples in a batch.
    pub batch_size: usize,
    /// Share of all steps in which the rates rise to their peak; then they fall to 0.
    #[serde(default = "defaults::tenth")]
    pub warmup: f64,
    /// AdamW's weight decay; biases, normalisations and single rows have none.
    #[serde(default = "defaults::hundredth")]
    pub weight_decay: f64,
    /// The greatest norm of the gradients of the model together, and of those of each decoder.
    #[serde(default = "defaults::one")]
    pub clip: f64,
    /// Peak learning rates.
    pub rates: Rates,
    /// Weights of the heads and decoders in the objective.
    #[serde(default)]
    pub weights: LossWeights,
    /// Share of the captions with entity labels and no picture that are shown a random photo of the data, so that a
    /// wrong photo does no harm.
    #[serde(default)]
    pub stray_photos: f64,
    /// Share of the pictures that are withheld, so that their absence does no harm.
    #[serde(default)]
    pub withheld_photos: f64,
    /// Share of the captions that are shown in small letters, and of those that are shown in capitals, so that such are understood
    /// too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recased: f64,
    /// Views of each training photo, one of which is drawn whenever the photo is shown: itself, and crops of it.
    /// The image generator draws the whole photo all the same.
    #[serde(default = "one_view", skip_serializing_if = "is_one")]
    pub photo_views: u32,
    /// Share of each sentiment label that is spread over all classes (label smoothing).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_smoothing: f64,
    /// How much rare sentiment classes weigh more: a class of n samples weighs n to the power of minus this, 0 to 1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub class_balance: f64,
    /// Feed the decoders a constant instead of the embeddings: a control, which shows what they owe to them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub blind_decoders: bool,
    /// Worker threads that prepare batches.
    #[serde(default = "defaults::two")]
    pub workers: usize,
}

/// Peak learning rates.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Text encoder.
    pub text: f64,
    /// Image encoder, where it is trained.
    pub image: f64,
    /// CrossTransformer, projection and the learned rows.
    pub exchange: f64,
    /// Heads and word shapes.
    pub heads: f64,
    /// CRF.
    pub crf: f64,
    /// Decoders.
    #[serde(default = "defaults::thousandth")]
    pub decoders: f64,
}

/// Weights of the objective's parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossWeights {
    /// CRF negative log-likelihood of a sentence.
    pub entities: f64,
    /// Cross-entropy of a post.
    pub sentiment: f64,
    /// α, of the captioner's loss; 0 leaves the captioner out.
    pub captioning: f64,
    /// β, of the image generator's loss; 0 leaves the generator out.
    pub generation: f64,
}

impl LossWeights {
    /// The weight of a part.
    pub fn of(&self, part: Part) -> f64 {
        match part {
            Part::Entities => self.entities,
            Part::Sentiment => self.sentiment,
            Part::Captioning => self.captioning,
            Part::Generation => self.generation,
        }
    }
}

impl Default for LossWeights {
    fn default() -> Self {
        Self {
            entities: 1.0,
            sentiment: 1.0,
            captioning: 0.0,
            generation: 0.0,
        }
    }
}

/// Where the features of a frozen image encoder are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSection {
    /// The folder.
    #[serde(default = "cache_folder")]
    pub folder: PathBuf,
    /// Its greatest size in megabytes; the longest unused features go first.
    #[serde(default = "cache_limit")]
    pub limit_mb: u64,
}

impl Default for CacheSection {
    fn default() -> Self {
        Self {
            folder: cache_folder(),
            limit_mb: cache_limit(),
        }
    }
}

/// The data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// What the sources' paths are relative to, and itself to the configuration's folder; that folder when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The texts that are not learned from; see [`crate::data::blocklist`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocklist: Option<PathBuf>,
    /// What is trained on, all mixed.
    #[serde(default)]
    pub train: Vec<Source>,
    /// What is scored after each epoch, one by one and pooled.
    #[serde(default)]
    pub valid: Vec<Source>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn one_view() -> u32 {
    1
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

fn cache_folder() -> PathBuf {
    PathBuf::from("../.cache/features")
}

fn cache_limit() -> u64 {
    4096
}
