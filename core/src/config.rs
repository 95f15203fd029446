//! What a model is made of: the sizes and settings that its weights belong to. Each part's are beside the part.

use serde::{Deserialize, Serialize};

use crate::decoders::DecodersConfig;
use crate::encoders::image::{ImageEncoderConfig, REGIONS};
use crate::encoders::text::TextEncoderConfig;
use crate::exchange::ExchangeConfig;
use crate::heads::{entities, sentiment};
use crate::validate;
pub use crate::validate::ConfigError;

/// Everything that decides a model's shape and its answers, besides the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MuseConfig {
    /// The text encoder.
    pub text: TextEncoderConfig,
    /// The image encoder.
    pub image: ImageEncoderConfig,
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

impl MuseConfig {
    /// The weights' shapes follow from the configuration, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range or contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let within = |section| move |error: ConfigError| error.within(section);
        self.text.validate().map_err(within("text"))?;
        self.image.validate().map_err(within("image"))?;
        let exchange = self.exchange.validate();
        exchange
            .and_then(|()| self.exchange.fits(self.text.width()))
            .map_err(within("exchange"))?;
        validate::dropout("fusion_dropout", self.fusion_dropout)?;
        let most = REGIONS.min(self.text.positions());
        validate::range("max_pieces", self.max_pieces, 3..=most)?;
        entities::validate_tags(&self.tags)?;
        sentiment::validate_classes(&self.classes)?;
        match &self.decoders {
            Some(decoders) => decoders.validate().map_err(within("decoders")),
            None if self.tags.is_empty() && self.classes.is_empty() => Err(ConfigError::new(
                "tags",
                "there are neither tags nor classes nor decoders, so nothing to predict",
            )),
            None => Ok(()),
        }
    }
}
