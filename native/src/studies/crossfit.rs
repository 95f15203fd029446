//! `muse crossfit`: soft labels from models that did not see what they label.
//!
//! The training data are cut into folds (`folds`); for each a model is trained on all the others and asked about it. So every
//! post has an answer from a model that never saw its label, which scores the configuration on all of the data
//! (cross-validation) and, mixed with the labels (`soften`), makes targets in which a label that nothing else agrees with
//! counts less.

pub mod folds;
pub mod soften;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use muse_core::heads::classifier::ClassCounter;
use muse_core::objective::Part;
use serde::{Deserialize, Serialize};

use super::id;
use super::launch::{Ended, Launcher};
use crate::data::{Sample, Shares, jsonl, names_of, read_source};
use crate::device::DeviceChoice;
use crate::output::{tell, write_file};
use crate::tagger_pool::TaggerPool;
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

/// A model's answer on a sample that it was not trained on; a line of `held-K.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
struct Held {
    /// Its place in the training data.
    sample: usize,
    /// Of each class.
    probabilities: Shares,
}

/// Runs the command.
///
/// # Errors
///
/// When the configuration or the data cannot be used, there is no sentiment to soften, a training fails or is interrupted, or
/// the folder cannot be written.
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
    let mut answers = vec![None; samples.len()];
    for (number, held) in (1..).zip(&folds) {
        tell(format_args!(
            "fold {number} of {}: {} samples are held out",
            folds.len(),
            held.len()
        ));
        for held in crossfit.answers(number, held)? {
            answers[held.sample] = Some(held.probabilities);
        }
    }
    report(options, &samples, &answers)
}

/// The training data, which have a sentiment.
fn read_samples(config: &TrainConfig) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for source in &config.data.train {
        samples.extend(read_source(source, &config.base)?);
    }
    ensure!(
        samples
            .iter()
            .any(|sample| sample.classes.contains_key(&Part::Sentiment)),
        "no training sample carries a sentiment, which is what is softened"
    );
    ensure!(
        config.train.weights.sentiment > 0.0,
        "train.weights.sentiment is 0: the models would learn nothing of the sentiment, which is what is softened"
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
    /// The answers on the samples at `held`: those of the fold's file, or else of a model that is trained without them.
    fn answers(&self, fold: usize, held: &[usize]) -> anyhow::Result<Vec<Held>> {
        let out = &self.options.out;
        let seen = self.seen(held)?;
        // Its name says what is in it: a resumed training whose data have changed is another configuration, and refused.
        let id = id(&format!("{}\n{seen}", toml::to_string(&self.config)?));
        let known = out.join(format!("held-{fold}-{id}.jsonl"));
        if known.exists() {
            return read(&known);
        }
        let data = out.join(format!("seen-{fold}-{id}.jsonl"));
        write_file(&data, seen.as_bytes())?;
        let folder = out.join(format!("fold-{fold}"));
        match self
            .launcher
            .train(&self.overrides(fold, &data)?, &folder)?
        {
            Ended::Complete => {}
            Ended::Interrupted => bail!("interrupted; the same command goes on"),
            Ended::Failed(error) => bail!("the training of {} failed: {error}", folder.display()),
        }
        let answers = self.ask(&folder.join("best.muse"), held)?;
        let lines = answers.iter().map(serde_json::to_string);
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        write_file(&known, (lines.join("\n") + "\n").as_bytes())?;
        Ok(answers)
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

    /// What a model says of the samples at `held`.
    fn ask(&self, model: &Path, held: &[usize]) -> anyhow::Result<Vec<Held>> {
        let pool = TaggerPool::load(model, self.options.device, None)?;
        let asked = held.iter().map(|&place| Sample {
            id: place.to_string(),
            ..self.samples[place].clone()
        });
        let mut answers = Vec::new();
        pool.tag_samples(asked.collect(), false, |sample, _, tagged| {
            if let (Ok(sample), Some(sentiment)) = (sample.id.parse(), &tagged.sentiment) {
                let probabilities = sentiment.probabilities.iter();
                let probabilities = probabilities
                    .map(|(class, share)| (class.clone(), f64::from(*share)))
                    .collect();
                answers.push(Held {
                    sample,
                    probabilities,
                });
            }
        })?;
        Ok(answers)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Held>> {
    let context = || {
        format!(
            "cannot read {}; remove it to ask the model again",
            path.display()
        )
    };
    let text = std::fs::read_to_string(path).with_context(context)?;
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().with_context(context)
}

/// Scores the answers, and writes the samples with soft labels.
fn report(options: &Options, samples: &[Sample], answers: &[Option<Shares>]) -> anyhow::Result<()> {
    let mut counter = ClassCounter::default();
    let mut pairs = Vec::new();
    for (sample, answer) in samples.iter().zip(answers) {
        if let (Some(given), Some(answer)) = (sample.classes.get(&Part::Sentiment), answer) {
            if let Some((best, _)) = answer.iter().max_by(|a, b| a.1.total_cmp(b.1)) {
                counter.add(&given.label, best);
            }
            pairs.push((given.label.as_str(), answer));
        }
    }
    let temperature = soften::temperature(&pairs);
    let mut text = String::new();
    for (sample, answer) in samples.iter().zip(answers) {
        let share = f64::from(options.share);
        let sample = softened(sample, answer.as_ref(), temperature, share);
        text += &format!("{}\n", jsonl::line(&sample)?);
    }
    let path = options.out.join("soft.jsonl");
    write_file(&path, text.as_bytes())?;

    let scores = counter.scores();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "sentiment of {} held-out samples: accuracy {:.2}, weighted F1 {:.2}",
        pairs.len(),
        100.0 * scores.accuracy,
        100.0 * scores.weighted_f1
    )?;
    writeln!(
        out,
        "log-loss {:.4}, at the temperature {temperature:.2} {:.4}",
        soften::log_loss(&pairs, 1.0),
        soften::log_loss(&pairs, temperature)
    )?;
    let shown = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    writeln!(
        out,
        "soft labels: {}\nto train with them: muse train {} --set 'data.train=[{{path = {}}}]' --out ...",
        path.display(),
        options.config.display(),
        toml::Value::String(shown.to_string_lossy().into_owned())
    )?;
    Ok(out.flush()?)
}

/// A sample whose target is part label and part answer, where it has both.
fn softened(sample: &Sample, answer: Option<&Shares>, temperature: f64, share: f64) -> Sample {
    let mut sample = sample.clone();
    if let (Some(given), Some(answer)) = (sample.classes.get_mut(&Part::Sentiment), answer) {
        let answer = soften::tempered(answer, temperature);
        let own = given.shares.take();
        let own = own.unwrap_or_else(|| [(given.label.clone(), 1.0)].into());
        given.shares = Some(soften::mixed(&own, &answer, share));
    }
    sample
}
