//! What a model is made of: the sizes and settings that its weights belong to. Each part's are beside the part.

use serde::{Deserialize, Serialize};

use crate::decoders::DecodersConfig;
use crate::encoders::image::{ImageEncoderConfig, REGIONS};
use crate::encoders::text::TextEncoderConfig;
use crate::exchange::ExchangeConfig;
use crate::heads::{Calibration, Names};
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
    /// Dropout of the heads' fused rows, in training.
    pub fusion_dropout: f64,
    /// Whether an embedding of each word's shape is added to its pieces.
    pub word_shapes: bool,
    /// The text window N, in pieces with `[CLS]` and `[SEP]`; at most 64, the number of image regions.
    pub max_pieces: usize,
    /// What the heads choose from.
    #[serde(flatten)]
    pub names: Names,
    /// How sure the heads' answers are told to be.
    #[serde(default, skip_serializing_if = "Calibration::is_empty")]
    pub calibration: Calibration,
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
        let most = REGIONS.min(self.text.max_positions());
        validate::range("max_pieces", self.max_pieces, 3..=most)?;
        self.names.validate()?;
        self.calibration.validate(&self.names)?;
        match &self.decoders {
            Some(decoders) => decoders.validate().map_err(within("decoders")),
            None if self.names.is_empty() => Err(ConfigError::new(
                "tags",
                "there are neither tags nor classes nor decoders, so nothing to predict",
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::ExchangeRule;

    /// As files had it before there were other text encoders and other rules.
    fn written() -> Value {
        json!({
            "text": {
                "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
                "intermediate_size": 1536, "max_position_embeddings": 512, "type_vocab_size": 2,
                "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1
            },
            "image": {
                "encoder": "efficientnet-lite0",
                "preparation": {"size": 256, "mean": [127.0, 127.0, 127.0], "std": [128.0, 128.0, 128.0]}
            },
            "exchange": {
                "layers": 2, "heads": 12, "feed_forward": 768, "dropout": 0.1, "theta": 0.1, "first_layer": 0,
                "last_layer": 1, "replace_only": true
            },
            "fusion_dropout": 0.5, "word_shapes": true, "max_pieces": 64,
            "tags": ["O", "B-PER", "I-PER"], "classes": []
        })
    }

    fn read(value: Value) -> MuseConfig {
        serde_json::from_value(value).expect("a configuration")
    }

    #[test]
    fn an_older_file_is_read() {
        let config = read(written());
        config.validate().expect("sound");
        assert_eq!(config.text.width(), 384);
        assert_eq!(config.exchange.rule, ExchangeRule::Replace);
        assert!(config.calibration.is_empty());
        let again = serde_json::to_value(&config).expect("plain data");
        assert!(again.get("calibration").is_none(), "{again}");
        assert_eq!(read(again), config);
    }

    #[test]
    fn a_fault_is_named_by_its_place() {
        for (pointer, value, said) in [
            (
                "/text/vocab_size",
                json!(0),
                "text.vocab_size: is 0, must be 1 to 1048576",
            ),
            (
                "/text/num_attention_heads",
                json!(5),
                "text.num_attention_heads: is 5, must divide",
            ),
            (
                "/image/preparation/size",
                json!(31),
                "image.preparation.size: is 31",
            ),
            (
                "/image/preparation/std/1",
                json!(0),
                "image.preparation.std: must be above 0",
            ),
            (
                "/exchange/theta",
                json!(1.5),
                "exchange.theta: is 1.5, must be 0 to 1",
            ),
            (
                "/exchange/heads",
                json!(7),
                "exchange.heads: is 7, must divide the width 384",
            ),
            (
                "/fusion_dropout",
                json!(1),
                "fusion_dropout: is 1, must be at least 0 and below 1",
            ),
            (
                "/max_pieces",
                json!(65),
                "max_pieces: is 65, must be 3 to 64",
            ),
            ("/tags/0", json!("B-LOC"), "tags: the first tag must be O"),
            (
                "/tags/2",
                json!("B-PER"),
                "tags: \"B-PER\" is not a BIO tag",
            ),
            ("/tags", json!([]), "tags: there are neither"),
            (
                "/calibration",
                json!({"temperatures": {"sentiment": -2}}),
                "calibration.temperatures: is -2, must be 0.01 to 100",
            ),
            (
                "/classes",
                json!(["sad"]),
                "classes: must be two or more different names",
            ),
        ] {
            let mut config = written();
            match config.pointer_mut(pointer) {
                Some(setting) => *setting = value,
                None => config[&pointer[1..]] = value,
            }
            let error = read(config).validate().expect_err(said).to_string();
            assert!(
                error.contains(&format!("model configuration: {said}")),
                "{error}"
            );
        }
    }
}
