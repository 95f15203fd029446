//! The configuration file of a pretraining.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::data::Source;
use crate::train::config::{all_within, defaults, overridden};

/// A run: the encoder, the training's settings, the data. Paths are relative to the file's folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Fixes what is held out and hidden, the heads' beginning, batches and dropout.
    pub seed: u64,
    /// The encoder to go on from.
    pub encoder: EncoderSection,
    /// The training's settings.
    pub train: TrainSection,
    /// The texts.
    pub data: DataSection,
    /// The folder that relative paths start from; not part of the file.
    #[serde(skip)]
    pub base: PathBuf,
}

/// The encoder to go on from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSection {
    /// Folder with `config.json`, `model.safetensors` and `tokenizer.json`.
    pub folder: PathBuf,
}

/// The training's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// Passes over the texts.
    pub epochs: usize,
    /// Texts in a batch.
    pub batch_size: usize,
    /// Peak learning rate of the encoder.
    pub rate: f64,
    /// Peak learning rate of the heads, which begin at random.
    #[serde(default = "defaults::thousandth")]
    pub head_rate: f64,
    /// Share of all steps in which the rates rise to their peak; then they fall to 0.
    #[serde(default = "defaults::tenth")]
    pub warmup: f64,
    /// AdamW's weight decay; biases and normalisations have none.
    #[serde(default = "defaults::hundredth")]
    pub weight_decay: f64,
    /// The greatest norm of all gradients together.
    #[serde(default = "defaults::one")]
    pub clip: f64,
    /// Share of the words that are hidden.
    #[serde(default = "share")]
    pub mask: f64,
    /// Weight of the word shapes in the objective, in which the hidden words have 1.
    #[serde(default = "defaults::one")]
    pub shapes: f64,
    /// The text window in pieces; a longer text becomes several.
    #[serde(default = "defaults::sixty_four")]
    pub max_pieces: usize,
}

/// The texts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// What the sources' paths are relative to, and itself to the configuration's folder; that folder when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Where they are.
    pub train: Vec<Source>,
    /// Share of them that is not learned from, but asked about.
    #[serde(default = "fiftieth")]
    pub held_out: f64,
    /// The texts that are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocklist: Option<PathBuf>,
}

impl PretrainConfig {
    /// Reads a TOML file and applies `key=value` overrides, such as `train.rate=5e-5`.
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

    /// What the sources' paths are relative to, seen from the current folder.
    pub fn data_folder(&self) -> PathBuf {
        match &self.data.folder {
            Some(folder) => self.path(folder),
            None => self.base.clone(),
        }
    }

    /// A path of the file, seen from the current folder.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    fn check(&self) -> anyhow::Result<()> {
        let train = &self.train;
        ensure!(train.epochs > 0, "train.epochs must be at least 1");
        ensure!(train.batch_size > 0, "train.batch_size must be at least 1");
        ensure!(train.clip > 0.0, "train.clip must be above 0");
        ensure!(
            train.max_pieces >= 3,
            "train.max_pieces is {}, must be at least 3: [CLS], a piece, [SEP]",
            train.max_pieces
        );
        let shares = [
            ("train.rate", train.rate),
            ("train.head_rate", train.head_rate),
            ("train.warmup", train.warmup),
        ];
        all_within(&shares, 0.0..=1.0, "0 to 1")?;
        let above = [
            ("train.weight_decay", train.weight_decay),
            ("train.shapes", train.shapes),
        ];
        all_within(&above, 0.0..f64::INFINITY, "0 or above")?;
        let parts = [
            ("train.mask", train.mask),
            ("data.held_out", self.data.held_out),
        ];
        for (name, part) in parts {
            ensure!(
                part > 0.0 && part < 1.0,
                "{name} is {part}, must be above 0 and below 1"
            );
        }
        ensure!(
            !self.data.train.is_empty(),
            "there are no texts; list at least one source under [[data.train]]"
        );
        Ok(())
    }
}

fn fiftieth() -> f64 {
    0.02
}

fn share() -> f64 {
    0.15
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../configs/shipped/pretrain.toml");

    fn parse(text: &str, overrides: &[&str]) -> anyhow::Result<PretrainConfig> {
        let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
        PretrainConfig::parse(text, &overrides, PathBuf::new())
    }

    #[test]
    fn wrong_settings_are_named() {
        for (wrong, named) in [
            ("train.epochs=0", "train.epochs"),
            ("train.batch_size=0", "train.batch_size"),
            ("train.rate=-1", "train.rate is -1"),
            ("train.clip=0", "train.clip"),
            ("train.mask=0", "train.mask is 0"),
            ("train.mask=nan", "train.mask is NaN"),
            ("train.shapes=-1", "train.shapes is -1"),
            ("train.max_pieces=2", "train.max_pieces is 2"),
            ("train.speed=3", "speed"),
            ("data.held_out=1", "data.held_out is 1"),
            ("data.train=[]", "[[data.train]]"),
            ("encoder={}", "folder"),
        ] {
            let error = format!("{:#}", parse(SHIPPED, &[wrong]).unwrap_err());
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }

    /// The example in docs/training.md has every setting, and each that has a default has it there.
    #[test]
    fn every_setting_is_documented_with_its_default() {
        let docs = include_str!("../../../docs/training.md");
        let section = docs.split_once("## Continued pretraining").unwrap().1;
        let example = section.split_once("```toml\n").unwrap().1;
        let example = example.split_once("```").unwrap().0;
        let documented = toml::to_string(&parse(example, &[]).unwrap()).unwrap();

        let needed = r#"
            seed = 1
            encoder.folder = "../weights/all-MiniLM-L6-v2"
            train = { epochs = 3, batch_size = 40, rate = 1e-4 }
            data.folder = "../data"
            data.blocklist = "blocked.txt"
            data.train = [{ path = "tweets.txt", format = "text" }, { path = "twitter2017/train.txt" }]
        "#;
        let config = parse(needed, &[]).unwrap();
        assert_eq!(documented, toml::to_string(&config).unwrap());
        let settings: toml::Table = toml::from_str(&documented).unwrap();
        for section in ["train", "data", "encoder"] {
            for (name, _) in settings[section].as_table().unwrap() {
                assert!(example.contains(name.as_str()), "{name}");
            }
        }
    }
}
