//! `muse crossfit`: soft labels from models that did not see what they label.
//!
//! The training data are cut into folds (`folds`); for each a model is trained on all the others and asked about it. So every
//! post has an answer from a model that never saw its label, which scores the configuration on all of the data
//! (cross-validation) and, mixed with the labels (`soften`), makes targets in which a label that nothing else agrees with
//! counts less: of the sentiment, and of the entities, where it is a whole sequence of tags.

pub mod folds;
mod report;
pub mod soften;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use muse_core::objective::Part;

use super::answer::{Answer, ask};
use super::id;
use super::launch::{Ended, Launcher};
use crate::data::{Sample, jsonl, names_of};
use crate::device::DeviceChoice;
use crate::output::{tell, write_file};
use crate::train::config::TrainConfig;
use crate::train::folder::lock;
use crate::values::{assignment, count, within};

/// What `muse crossfit` was asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
The data are cut into folds; for each a model is trained on the others and asked about it. Its answers, tempered so
that they are as sure as they are right, are mixed with the labels in DIR/soft.jsonl, which muse train reads. An
interrupted crossfit goes on with the same command.")]
pub struct Options {
    /// The training configuration, a TOML file
    pub config: PathBuf,
    /// Folder of the models and of the soft labels
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Into how many parts the data are cut
    #[arg(long, value_name = "N", default_value = "4", value_parser = count(2..=100))]
    pub folds: usize,
    /// How much of a target the models have; the label has the rest
    #[arg(long, value_name = "0..1", default_value_t = 0.5, value_parser = within(0.0_f32..=1.0))]
    pub share: f32,
    /// Override a setting of the configuration; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub overrides: Vec<String>,
    /// Where to train
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
}

/// Runs the command.
///
/// # Errors
///
/// When the configuration or the data cannot be used, there is nothing to soften, a training fails or is interrupted, or the
/// folder cannot be written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let config = TrainConfig::load(&options.config, &options.overrides)?;
    let samples = read_samples(&config)?;
    let folds = folds::split(&samples, options.folds, config.seed)?;

    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let _claim = lock(&options.out)?;
    let crossfit = Crossfit {
        options,
        launcher: Launcher::new(&options.config, options.device)?,
        config,
        samples: &samples,
    };
    let mut answers = vec![Answer::default(); samples.len()];
    for (number, held) in (1..).zip(&folds) {
        tell(format_args!(
            "fold {number} of {}: {} samples are held out",
            folds.len(),
            held.len()
        ));
        for (place, answer) in crossfit.answers(number, held)? {
            answers[place] = Answer {
                readings: answer.readings.filter(|_| crossfit.counts(Part::Entities)),
                probabilities: (answer.probabilities).filter(|_| crossfit.counts(Part::Sentiment)),
            };
        }
    }
    report::write(options, &samples, &answers)
}

/// The training data, which have something to soften.
fn read_samples(config: &TrainConfig) -> anyhow::Result<Vec<Sample>> {
    let samples = config.training_samples()?.into_iter();
    let samples: Vec<Sample> = samples.flat_map(|(_, samples)| samples).collect();
    let counts = |part| config.train.weights.of(part) > 0.0;
    let softened = |sample: &Sample| {
        let classes = sample.classes.contains_key(&Part::Sentiment);
        classes && counts(Part::Sentiment) || sample.tags.is_some() && counts(Part::Entities)
    };
    ensure!(
        samples.iter().any(softened),
        "no training sample carries what is softened: entities, or a sentiment, with a weight in train.weights above 0"
    );
    Ok(samples)
}

/// What all folds have in common.
struct Crossfit<'a> {
    options: &'a Options,
    config: TrainConfig,
    launcher: Launcher,
    samples: &'a [Sample],
}

impl Crossfit<'_> {
    /// Whether the models learn a part.
    fn counts(&self, part: Part) -> bool {
        self.config.train.weights.of(part) > 0.0
    }

    /// The answers on the samples at `held`: those of the fold's file, or else of a model that is trained without them.
    fn answers(&self, fold: usize, held: &[usize]) -> anyhow::Result<Vec<(usize, Answer)>> {
        let out = &self.options.out;
        let seen = self.seen(held)?;
        // Its name says what is in it: a resumed training whose data have changed is another configuration, and refused.
        let id = id(&format!("{}\n{seen}", toml::to_string(&self.config)?));
        let known = out.join(format!("held-{fold}-{id}.jsonl"));
        let folder = out.join(format!("fold-{fold}"));
        let model = folder.join("best.muse");
        let ask = || ask(&model, self.options.device, self.samples, held, &known);
        if known.exists() {
            return ask();
        }
        let data = out.join(format!("seen-{fold}-{id}.jsonl"));
        write_file(&data, seen.as_bytes())?;
        match self
            .launcher
            .train(&self.overrides(fold, &data)?, &folder)?
        {
            Ended::Complete => {}
            Ended::Interrupted => bail!("interrupted; the same command goes on"),
            Ended::Failed(error) => bail!("the training of {} failed: {error}", folder.display()),
        }
        ask()
    }

    /// The samples that are not held out, as JSON lines.
    fn seen(&self, held: &[usize]) -> anyhow::Result<String> {
        let mut seen = String::new();
        for (place, sample) in self.samples.iter().enumerate() {
            if held.binary_search(&place).is_err() {
                seen += &format!("{}\n", jsonl::line(sample)?);
            }
        }
        Ok(seen)
    }

    /// What a fold's training has other than the configuration.
    fn overrides(&self, fold: usize, data: &Path) -> anyhow::Result<Vec<String>> {
        let path = std::path::absolute(data)
            .with_context(|| format!("cannot tell where {} is", data.display()))?;
        let source = toml::Value::String(path.to_string_lossy().into_owned());
        // A fold may lack a label that others have.
        let names = names_of(self.config.model.names(), self.samples.iter());
        let names = names.lists().map(|(setting, names)| {
            format!("model.{setting}={}", toml::Value::from(names.to_vec()))
        });
        let own = [
            format!("data.train=[{{path = {source}}}]"),
            // The last epoch's model, which no data have chosen.
            "data.valid=[]".to_owned(),
            format!("seed={}", self.config.seed.wrapping_add(fold as u64 - 1)),
        ];
        Ok([&self.options.overrides[..], &names, &own].concat())
    }
}
