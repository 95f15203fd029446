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
mod tests {
    use std::collections::BTreeSet;

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
    fn the_exchanges_rule_is_read_under_its_old_name_too() {
        for replace in ["replace_only=true", "rule=replace"] {
            let config = parse(&[&format!("model.exchange.{replace}")]).unwrap();
            let rule = config.model.exchange.unwrap().rule;
            assert_eq!(rule, muse_core::exchange::ExchangeRule::Replace);
        }
        let error = format!("{:#}", parse(&["model.exchange.rule=swap"]).unwrap_err());
        assert!(error.contains("`add` or `replace`"), "{error}");
    }

    /// Runs are resumed, and a sweep's runs found again, by it.
    #[test]
    fn the_exchange_s_echo_stays_what_it_was() {
        for (overrides, replace_only) in [
            (&[][..], "false"),
            (&["model.exchange.rule=replace"], "true"),
        ] {
            let echo = toml::to_string(&parse(overrides).unwrap()).unwrap();
            let section = echo.split_once("[model.exchange]\n").unwrap().1;
            let section = section.split_once("\n\n").unwrap().0;
            assert_eq!(
                section,
                format!(
                    "layers = 2\nheads = 12\nfeed_forward = 768\ndropout = 0.1\ntheta = 0.1\nfirst_layer = 0\n\
                     last_layer = 1\nreplace_only = {replace_only}"
                )
            );
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        for (wrong, named) in [
            ("train.epochs=0", "epochs"),
            ("train.warmup=1.5", "warmup"),
            ("train.rates.text=-1", "rates.text"),
            ("train.speed=3", "speed"),
            ("model.image.dropout=1", "model.image.dropout is 1, must be"),
            (
                "model.fusion_dropout=-1",
                "model.fusion_dropout is -1, must be",
            ),
            (
                "model.exchange.theta=2",
                "model.exchange.theta is 2, must be 0 to 1",
            ),
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
    fn a_model_s_settings_are_named_as_the_file_has_them() {
        let sizes = |vocabulary: usize| {
            format!(
                "model.text={{sizes = {{vocab_size = {vocabulary}, hidden_size = 384, num_hidden_layers = 1, \
                 num_attention_heads = 12, intermediate_size = 4, max_position_embeddings = 64, type_vocab_size = 2}}}}"
            )
        };
        for (text, wrong, named) in [
            (sizes(9), "model.image.size=31", "model.image.size: is 31"),
            (sizes(0), "seed=1", "model.text.sizes.vocab_size: is 0"),
            (
                sizes(9),
                "model.exchange.heads=5",
                "model.exchange.heads: is 5",
            ),
        ] {
            let config = parse(&[&text, wrong]).unwrap();
            let names = Names {
                tags: vec!["O".to_owned(), "B-PER".to_owned()],
                ..Names::default()
            };
            let error = config.model_config(names, None).unwrap_err();
            let error = error.to_string();
            assert_eq!(
                error.split(", must").next(),
                Some(&*format!("model configuration: {named}"))
            );
        }
        let error = ConfigError {
            setting: "text.vocab_size".to_owned(),
            problem: "is 0".to_owned(),
        };
        let error = parse(&[]).unwrap().placed(error).setting;
        assert!(
            error.starts_with("vocab_size of ") && error.ends_with("config.json"),
            "{error}"
        );
    }

    #[test]
    fn the_shipped_configurations_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let entries = |folder: &Path| std::fs::read_dir(folder).unwrap();
        let (mut read, mut captioner) = (0, None);
        for entry in entries(&folder).chain(entries(&folder.join("shipped"))) {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            // What has tests of its own: sweeps, and `muse pretrain`.
            let other = ["ablation", "captioner", "curves", "decoders", "pretrain"];
            if !path.is_file() || other.contains(&name.as_str()) {
                continue;
            }
            let config = TrainConfig::load(&path, &[]).unwrap_or_else(|e| panic!("{e:#}"));
            read += 1;
            if name == "muse-captioner" {
                captioner = Some(config);
            }
        }
        assert!(read >= 9, "{read}");
        let captioner = captioner.expect("muse-captioner.toml");
        let train = captioner.train;
        assert_eq!((train.weights.generation, train.photo_views), (0.0, 4));
        assert_eq!(captioner.model.image.dropout, 0.5);
    }

    /// What a section may have, as serde names it when it meets something else.
    fn settings(section: &str) -> Vec<String> {
        let nonsense = match section {
            "" => "nonsense=1".to_owned(),
            _ => format!("{section}.nonsense=1"),
        };
        let error = format!("{:#}", parse(&[&nonsense]).unwrap_err());
        let expected = error.split_once("expected ").expect("what is expected").1;
        let expected = expected.lines().next().unwrap_or_default();
        let names = expected.split('`').skip(1).step_by(2);
        names
            .map(|name| {
                format!("{section}.{name}")
                    .trim_start_matches('.')
                    .to_owned()
            })
            .collect()
    }

    /// The settings of each row of docs/training.md's table, and the cell of their defaults; `.x` is beside the one before it.
    fn rows() -> Vec<(Vec<String>, &'static str)> {
        let text = include_str!("../../../docs/training.md");
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            let (mut names, mut parent) = (Vec::new(), String::new());
            for name in cells[1].split('`').skip(1).step_by(2) {
                let name = match name.strip_prefix('.') {
                    Some(beside) => format!("{parent}{beside}"),
                    None => name.to_owned(),
                };
                parent = name
                    .rsplit_once('.')
                    .map_or(String::new(), |(p, _)| format!("{p}."));
                names.push(name);
            }
            (names, cells[2].trim())
        })
        .collect()
    }

    #[test]
    fn documented_defaults_are_the_codes() {
        let text = include_str!("../../../configs/quickstart.toml");
        let written: toml::Value = toml::from_str(text).unwrap();
        let config = TrainConfig::parse(text, &[], PathBuf::new()).unwrap();
        let echo: toml::Value = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        let at = |value: &toml::Value, name: &str| {
            name.split('.')
                .try_fold(value.clone(), |v, key| v.get(key).cloned())
        };
        // 1 is 1.0.
        let plain = |value: &toml::Value| match value {
            toml::Value::Integer(number) => (*number as f64).to_string(),
            toml::Value::Float(number) => number.to_string(),
            other => other.to_string(),
        };
        let mut compared = 0;
        for (names, cell) in rows() {
            for (name, default) in names.iter().zip(cell.split(", ")) {
                let default = format!("x = {}", default.trim_matches('`'));
                let default = toml::from_str::<toml::Table>(&default);
                let (Ok(default), None) = (default, at(&written, name)) else {
                    continue; // in words, or another than the default
                };
                if let Some(used) = at(&echo, name) {
                    assert_eq!(plain(&used), plain(&default["x"]), "{name}");
                    compared += 1;
                }
            }
        }
        assert!(compared >= 15, "{compared}");
    }

    #[test]
    fn every_setting_is_documented() {
        let documented: BTreeSet<String> =
            rows().into_iter().flat_map(|(names, _)| names).collect();
        let sections = [
            "",
            "model",
            "model.text",
            "model.image",
            "model.exchange",
            "model.decoders",
            "train",
            "train.rates",
            "train.weights",
            "cache",
        ];
        let mut known = BTreeSet::new();
        for section in sections {
            for name in settings(section) {
                let parts = ["model", "train", "data"].contains(&name.as_str())
                    || sections.contains(&name.as_str());
                let described = documented.iter().any(|entry| {
                    *entry == name
                        || entry.starts_with(&format!("{name}."))
                        || entry.starts_with(&format!("[[{name}."))
                });
                assert!(described, "{name} is not in docs/training.md");
                if !parts {
                    known.insert(name);
                }
            }
        }
        // And nothing that is gone.
        for entry in documented.iter().filter(|entry| {
            sections
                .iter()
                .any(|s| !s.is_empty() && entry.rsplit_once('.').is_some_and(|(p, _)| p == *s))
        }) {
            assert!(known.contains(entry), "{entry} is no setting");
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
