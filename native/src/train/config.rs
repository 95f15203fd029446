//! The configuration file of a training run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use muse_core::captioner::{CaptionerConfig, Vocabulary};
use muse_core::config::{BertConfig, CnnKind, ExchangeConfig, ImageConfig, MuseConfig};
use muse_core::decoders::{CaptionerDecoder, DecodersConfig};
use muse_core::pixel_cnn::PixelCnnConfig;
use serde::{Deserialize, Serialize};

use crate::data::Source;

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

/// The model's shape and its pretrained encoders.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The text window N in pieces, at most 64.
    #[serde(default = "sixty_four")]
    pub max_pieces: usize,
    /// Add an embedding of each word's shape.
    #[serde(default)]
    pub word_shapes: bool,
    /// Dropout of the fused rows and of the sentiment head.
    #[serde(default = "half")]
    pub fusion_dropout: f64,
    /// The text encoder.
    pub text: TextSection,
    /// The image encoder.
    pub image: ImageSection,
    /// The CrossTransformer.
    pub exchange: ExchangeConfig,
    /// The decoders; which of them there are is said by their weights in the objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoders: Option<DecodersSection>,
    /// Tags, when they shall not be read from the data (`muse info` without data, say).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Sentiment classes, when they shall not be read from the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

/// The text encoder: a Hugging Face folder, or sizes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSection {
    /// Folder with `config.json`, `model.safetensors` and `tokenizer.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Sizes, for a folder that is not at hand (`muse info`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<BertConfig>,
}

/// The image encoder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSection {
    /// Which network.
    pub encoder: CnnKind,
    /// Its weights, `.pth` or `.safetensors`.
    pub weights: PathBuf,
    /// Side of the input in pixels, when it is not the network's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// What of it is trained.
    #[serde(default)]
    pub tune: Tune,
}

/// The decoders' sizes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodersSection {
    /// Standard deviation of the noise on the embeddings.
    #[serde(default = "one")]
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
    #[serde(default = "half")]
    pub dropout: f64,
    /// How often a word piece must occur in the training captions to be in the vocabulary.
    #[serde(default = "two")]
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
    #[serde(default = "tenth")]
    pub warmup: f64,
    /// AdamW's weight decay; biases, normalisations and single rows have none.
    #[serde(default = "hundredth")]
    pub weight_decay: f64,
    /// The greatest norm of all gradients together.
    #[serde(default = "one")]
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
    /// Feed the decoders a constant instead of the embeddings: a control, which shows what they owe to them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub blind_decoders: bool,
    /// Worker threads that prepare batches.
    #[serde(default = "two")]
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
    #[serde(default = "thousandth")]
    pub decoders: f64,
}

/// Weights of the objective's parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossWeights {
    /// CRF negative log-likelihood of a sentence.
    #[serde(default = "one")]
    pub entities: f64,
    /// Cross-entropy of a post.
    #[serde(default = "one")]
    pub sentiment: f64,
    /// α, of the captioner's loss; 0 leaves the captioner out.
    #[serde(default)]
    pub captioning: f64,
    /// β, of the image generator's loss; 0 leaves the generator out.
    #[serde(default)]
    pub generation: f64,
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
    /// What is trained on, all mixed.
    #[serde(default)]
    pub train: Vec<Source>,
    /// What is scored after each epoch, one by one and pooled.
    #[serde(default)]
    pub valid: Vec<Source>,
}

fn sixty_four() -> usize {
    64
}

fn half() -> f64 {
    0.5
}

fn tenth() -> f64 {
    0.1
}

fn hundredth() -> f64 {
    0.01
}

fn thousandth() -> f64 {
    0.001
}

fn one() -> f64 {
    1.0
}

fn is_false(value: &bool) -> bool {
    !value
}

fn two() -> usize {
    2
}

fn cache_folder() -> PathBuf {
    PathBuf::from("../.cache/features")
}

fn cache_limit() -> u64 {
    4096
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
        let mut table: toml::Value = toml::from_str(text)?;
        for item in overrides {
            let (key, value) = item
                .split_once('=')
                .with_context(|| format!("the override {item:?} is not key=value"))?;
            set(&mut table, key.trim(), parse_value(value.trim()))
                .with_context(|| format!("the override {item:?}"))?;
        }
        let mut config: Self = table.try_into()?;
        config.base = base;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let train = &self.train;
        ensure!(train.epochs > 0, "train.epochs must be at least 1");
        ensure!(train.batch_size > 0, "train.batch_size must be at least 1");
        ensure!(train.clip > 0.0, "train.clip must be above 0");
        for (name, share) in [
            ("train.warmup", train.warmup),
            ("train.stray_photos", train.stray_photos),
            ("train.withheld_photos", train.withheld_photos),
        ] {
            ensure!(
                (0.0..=1.0).contains(&share),
                "{name} is {share}, must be 0 to 1"
            );
        }
        let rates = &train.rates;
        for (name, rate) in [
            ("text", rates.text),
            ("image", rates.image),
            ("exchange", rates.exchange),
            ("heads", rates.heads),
            ("crf", rates.crf),
            ("decoders", rates.decoders),
        ] {
            ensure!(
                (0.0..=1.0).contains(&rate),
                "train.rates.{name} is {rate}, must be 0 to 1"
            );
        }
        for (name, weight) in [
            ("train.weights.entities", train.weights.entities),
            ("train.weights.sentiment", train.weights.sentiment),
            ("train.weights.captioning", train.weights.captioning),
            ("train.weights.generation", train.weights.generation),
            ("train.weight_decay", train.weight_decay),
        ] {
            ensure!(
                weight >= 0.0 && weight.is_finite(),
                "{name} is {weight}, must be 0 or above"
            );
        }
        let decoders = self.model.decoders.as_ref();
        for (name, weight, sized) in [
            (
                "captioning",
                train.weights.captioning,
                decoders.is_some_and(|d| d.captioner.is_some()),
            ),
            (
                "generation",
                train.weights.generation,
                decoders.is_some_and(|d| d.generator.is_some()),
            ),
        ] {
            let section = match name {
                "captioning" => "captioner",
                _ => "generator",
            };
            ensure!(
                weight == 0.0 || sized,
                "train.weights.{name} is {weight}, but there is no [model.decoders.{section}] that says its sizes"
            );
        }
        let mut titles = BTreeSet::from(["all".to_owned()]);
        for source in &self.data.valid {
            let title = source.title();
            ensure!(
                titles.insert(title.clone()),
                "data.valid has two sets called {title:?} (\"all\" is what they are called together); give one another \
                 name"
            );
        }
        Ok(())
    }

    /// A path of the file, seen from the current folder.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
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
                captioner,
                generator,
            }),
        )
    }

    /// The model's configuration for these tags, classes and decoders.
    ///
    /// # Errors
    ///
    /// When the text encoder's `config.json` cannot be read, or the settings contradict each other.
    pub fn model_config(
        &self,
        tags: Vec<String>,
        classes: Vec<String>,
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
            _ => bail!("model.text needs either a folder or sizes"),
        };
        let mut preparation = model.image.encoder.default_preparation();
        if let Some(size) = model.image.size {
            preparation.size = size;
        }
        let pick = |own: &[String], data| match own.is_empty() {
            true => data,
            false => own.to_vec(),
        };
        let config = MuseConfig {
            text,
            image: ImageConfig {
                encoder: model.image.encoder,
                preparation,
            },
            exchange: model.exchange.clone(),
            fusion_dropout: model.fusion_dropout,
            word_shapes: model.word_shapes,
            max_pieces: model.max_pieces,
            tags: pick(&model.tags, tags),
            classes: pick(&model.classes, classes),
            decoders,
        };
        config.validate()?;
        Ok(config)
    }
}

/// A value as TOML has it (`3`, `1e-4`, `true`, `[1, 2]`, `"x"`), or else a plain string.
fn parse_value(text: &str) -> toml::Value {
    match toml::from_str::<toml::Table>(&format!("v = {text}")) {
        Ok(mut table) => table.remove("v").expect("the one key"),
        Err(_) => toml::Value::String(text.to_owned()),
    }
}

/// Sets `a.b.0.c`, walking tables by name and arrays by number. The last name may be new; serde refuses what it does not know.
fn set(root: &mut toml::Value, key: &str, value: toml::Value) -> anyhow::Result<()> {
    let mut at = root;
    let mut names = key.split('.').peekable();
    while let Some(name) = names.next() {
        at = match at {
            toml::Value::Table(table) => {
                if names.peek().is_none() {
                    table.insert(name.to_owned(), value);
                    return Ok(());
                }
                let next = table
                    .entry(name)
                    .or_insert_with(|| toml::Value::Table(toml::Table::new()));
                // A setting that is a word or a table, such as `tune`, may change from one to the other.
                if !next.is_table() && !next.is_array() {
                    *next = toml::Value::Table(toml::Table::new());
                }
                next
            }
            toml::Value::Array(items) => {
                let length = items.len();
                let index: usize = name
                    .parse()
                    .with_context(|| format!("{name:?} must be the number of an entry"))?;
                let item = items
                    .get_mut(index)
                    .with_context(|| format!("there is no entry {index}, only {length}"))?;
                if names.peek().is_none() {
                    *item = value;
                    return Ok(());
                }
                item
            }
            _ => bail!("{name:?} is looked for in a list's entry that is not a table"),
        };
    }
    bail!("the key is empty")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = include_str!("../../../configs/muse-small.toml");

    fn parse(overrides: &[&str]) -> anyhow::Result<TrainConfig> {
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        TrainConfig::parse(SMALL, &overrides, PathBuf::new())
    }

    #[test]
    fn overrides_reach_every_depth() {
        let config = parse(&[
            "seed=7",
            "train.rates.text=5e-5",
            "model.image.tune.last=2",
            "data.train.0.limit=10",
            "cache.folder=elsewhere",
        ])
        .unwrap();
        assert_eq!(config.seed, 7);
        assert_eq!(config.train.rates.text, 5e-5);
        assert_eq!(config.model.image.tune, Tune::Last(2));
        assert_eq!(config.data.train[0].limit, Some(10));
        assert_eq!(config.cache.folder, PathBuf::from("elsewhere"));
    }

    #[test]
    fn wrong_settings_are_named() {
        for (wrong, named) in [
            ("train.epochs=0", "epochs"),
            ("train.warmup=1.5", "warmup"),
            ("train.rates.text=-1", "rates.text"),
            ("train.speed=3", "speed"),
            ("data.train.99.limit=1", "99"),
            ("nonsense", "key=value"),
            ("seed=minus", "minus"),
            ("data.valid.0.name=all", "all"),
        ] {
            let error = format!("{:#}", parse(&[wrong]).unwrap_err());
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_echo_reads_back_the_same() {
        let config = parse(&["data.valid.0.limit=3"]).unwrap();
        let echo = toml::to_string(&config).unwrap();
        let again = TrainConfig::parse(&echo, &[], PathBuf::new()).unwrap();
        assert_eq!(toml::to_string(&again).unwrap(), echo);
    }
}
