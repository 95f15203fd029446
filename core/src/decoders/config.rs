//! Which decoders a model has.

use serde::{Deserialize, Serialize};

use super::captioner::{CaptionerConfig, Vocabulary};
use super::generator::PixelCnnConfig;
use crate::validate::{self, ConfigError};

/// Which decoders there are, and their sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodersConfig {
    /// Standard deviation s of the noise on the embeddings, in training.
    pub noise: f64,
    /// Whether the decoders are fed a constant instead of the embeddings: a control, which shows what they owe to them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blind: bool,
    /// The captioner, picture → text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captioner: Option<CaptionerDecoder>,
    /// The image generator, text → picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<PixelCnnConfig>,
}

/// The captioner's sizes and its words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptionerDecoder {
    /// Its sizes.
    pub sizes: CaptionerConfig,
    /// The word pieces that it can say.
    pub vocabulary: Vocabulary,
}

impl DecodersConfig {
    /// Checks the sizes, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate::range("noise", self.noise, 0.0..=1e3)?;
        if let Some(captioner) = &self.captioner {
            let sizes = captioner.sizes.validate();
            sizes.map_err(|error| error.within("captioner"))?;
        }
        match &self.generator {
            Some(sizes) => sizes.validate().map_err(|error| error.within("generator")),
            None => Ok(()),
        }
    }
}
