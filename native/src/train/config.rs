//! The configuration file of a training run.

mod check;
pub(crate) mod defaults;
mod overrides;
mod sections;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use muse_core::config::{ConfigError, MuseConfig};
use muse_core::decoders::captioner::{CaptionerConfig, Vocabulary};
use muse_core::decoders::{CaptionerDecoder, DecodersConfig};
use muse_core::encoders::image::ImageEncoderConfig;
use muse_core::heads::{Calibration, Names};
use serde::{Deserialize, Serialize};

use crate::data::blocklist::Blocklist;
use crate::data::{Sample, read_source};
use crate::output::tell;

pub(crate) use self::check::all_within;
pub(crate) use self::overrides::overridden;
pub use self::sections::{
    CacheSection, CaptionerSection, DataSection, DecodersSection, ImageSection, LossWeights,
    ModelSection, Rates, TextSection, TrainSection, Tune,
};

/// A run: the model's shape, the training's settings, the data. Paths are relative to the file's folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Fixes initialisation, batches and dropout.
    pub seed: u64,
    /// The model's shape and its pretrained encoders.
    pub model: ModelSection,
    /// The training's settings.
    pub train: TrainSection,
    /// Where the features of a frozen image encoder are kept.
    #[serde(default)]
    pub cache: CacheSection,
    /// The data.
    #[serde(default)]
    pub data: DataSection,
    /// The folder that relative paths start from; not part of the file.
    #[serde(skip)]
    pub base: PathBuf,
}

impl TrainConfig {
    /// Reads a TOML file and applies `key=value` overrides, such as `train.rates.text=5e-5` or `data.train.0.limit=100`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not such a configuration, when an override's key leads nowhere, or when a
    /// setting is out of range; the message names the setting.
    pub fn load(path: &Path, overrides: &[String]) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let base = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        Self::parse(&text, overrides, base)
            .with_context(|| format!("in the configuration {}", path.display()))
    }

    fn parse(text: &str, overrides: &[String], base: PathBuf) -> anyhow::Result<Self> {
        let mut config: Self = overridden(text, overrides)?;
        config.base = base;
        config.check()?;
        Ok(config)
    }

    /// A path of the file, seen from the current folder.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// The samples of each training source that may be learned from, and what reports call the source.
    ///
    /// # Errors
    ///
    /// When a source or the blocklist cannot be read.
    pub fn training_samples(&self) -> anyhow::Result<Vec<(String, Vec<Sample>)>> {
        let folder = self.data_folder();
        let blocklist = self.data.blocklist.as_ref();
        let blocklist = blocklist.map(|path| Blocklist::read(&folder.join(path)));
        let blocklist = blocklist.transpose()?;
        let (mut all, mut blocked) = (Vec::new(), 0);
        for source in &self.data.train {
            let mut samples = read_source(source, &folder)?;
            if let Some(list) = &blocklist {
                let before = samples.len();
                samples.retain(|sample| !list.blocks(&sample.words));
                blocked += before - samples.len();
            }
            all.push((source.title(), samples));
        }
        if blocklist.is_some() {
            tell(format_args!("{blocked} samples are left out as blocked"));
        }
        Ok(all)
    }

    /// What the sources' paths are relative to, seen from the current folder.
    pub fn data_folder(&self) -> PathBuf {
        match &self.data.folder {
            Some(folder) => self.path(folder),
            None => self.base.clone(),
        }
    }

    /// The decoders whose weights in the objective are above 0; `vocabulary` makes the captioner's.
    ///
    /// # Errors
    ///
    /// Those of `vocabulary`.
    pub fn decoders(
        &self,
        vocabulary: impl FnOnce(&CaptionerSection) -> anyhow::Result<Vocabulary>,
    ) -> anyhow::Result<Option<DecodersConfig>> {
        let Some(section) = &self.model.decoders else {
            return Ok(None);
        };
        let weights = &self.train.weights;
        let captioner = match &section.captioner {
            Some(captioner) if weights.captioning > 0.0 => Some(CaptionerDecoder {
                sizes: CaptionerConfig {
                    attention: captioner.attention,
                    embedding: captioner.embedding,
                    hidden: captioner.hidden,
                    dropout: captioner.dropout,
                },
                vocabulary: vocabulary(captioner)?,
            }),
            _ => None,
        };
        let generator = section
            .generator
            .clone()
            .filter(|_| weights.generation > 0.0);
        Ok(
            (captioner.is_some() || generator.is_some()).then_some(DecodersConfig {
                noise: section.noise,
                blind: self.train.blind_decoders,
                captioner,
                generator,
            }),
        )
    }

    /// The model's configuration for these names and decoders.
    ///
    /// # Errors
    ///
    /// When the text encoder's `config.json` cannot be read, or the settings contradict each other.
    pub fn model_config(
        &self,
        names: Names,
        decoders: Option<DecodersConfig>,
    ) -> anyhow::Result<MuseConfig> {
        let model = &self.model;
        let text = match (&model.text.folder, &model.text.sizes) {
            (Some(folder), None) => {
                let file = self.path(folder).join("config.json");
                let text = std::fs::read_to_string(&file).with_context(|| {
                    format!(
                        "cannot read the text encoder's {}; `cargo xtask weights` gets the default encoders",
                        file.display()
                    )
                })?;
                serde_json::from_str(&text)
                    .with_context(|| format!("{} is not a BERT's config.json", file.display()))?
            }
            (None, Some(sizes)) => sizes.clone(),
            (Some(_), Some(_)) => bail!("model.text needs either a folder or sizes, not both"),
            (None, None) => bail!(missing("model.text.folder")),
        };
        let encoder = model
            .image
            .encoder
            .context(missing("model.image.encoder"))?;
        let exchange = model.exchange.clone();
        let mut preparation = encoder.default_preparation();
        if let Some(size) = model.image.size {
            preparation.size = size;
        }
        let config = MuseConfig {
            text,
            image: ImageEncoderConfig {
                encoder,
                preparation,
                dropout: model.image.dropout,
            },
            exchange: exchange.context(missing("model.exchange"))?,
            fusion_dropout: model.fusion_dropout,
            word_shapes: model.word_shapes,
            max_pieces: model.max_pieces,
            names,
            calibration: Calibration::default(),
            decoders,
        };
        config.validate().map_err(|error| self.placed(error))?;
        Ok(config)
    }

    /// The error of a model's configuration, with the place where this file has the setting.
    fn placed(&self, mut error: ConfigError) -> ConfigError {
        let text = &self.model.text;
        error.setting = match (error.setting.strip_prefix("text."), &text.folder) {
            (Some(size), Some(folder)) => {
                let file = self.path(folder).join("config.json");
                format!("{size} of {}", file.display())
            }
            (Some(size), None) => format!("model.text.sizes.{size}"),
            (None, _) if error.setting == "image.preparation.size" => "model.image.size".to_owned(),
            (None, _) => format!("model.{}", error.setting),
        };
        error
    }
}

/// What is said of a setting that is needed where there is no model to start from.
pub(super) fn missing(setting: &str) -> String {
    format!("{setting} is needed, unless model.init (or --init) names a model file to start from")
}

#[cfg(test)]
mod tests;
