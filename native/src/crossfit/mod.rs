//! `muse crossfit`: soft labels from models that did not see what they label.
//!
//! The training data are cut into folds (`folds`); for each a model is trained on all the others and asked about it. So every
//! post has an answer from a model that never saw its label, which scores the configuration on all of the data
//! (cross-validation) and, mixed with the labels (`soften`), makes targets in which a label that nothing else agrees with
//! counts less.

pub mod folds;
pub mod soften;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use muse_core::heads::sentiment::SentimentCounter;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::commands::eval::{Crew, each_tagged};
use crate::data::{Sample, classes_of, jsonl, read_source, tags_of};
use crate::device::DeviceChoice;
use crate::launch::{Ended, Launcher};
use crate::output::{tell, write_file};
use crate::train::config::TrainConfig;
use crate::train::folder::lock;

/// What `muse crossfit` was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The training configuration.
    pub config: PathBuf,
    /// The folder of the models and of the soft labels.
    pub out: PathBuf,
    /// Into how many parts the data are cut.
    pub folds: usize,
    /// How much of a target the models have; the label has the rest.
    pub share: f64,
    /// `key=value` overrides of the configuration.
    pub overrides: Vec<String>,
    /// Where to train.
    pub device: DeviceChoice,
}

/// A model's answer on a sample that it was not trained on; a line of `held-K.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
struct Held {
    /// Its place in the training data.
    sample: usize,
    /// Of each class.
    probabilities: BTreeMap<String, f64>,
}

/// Runs the command.
///
/// # Errors
///
/// When the configuration or the data cannot be used, there is no sentiment to soften, a training fails or is interrupted, or
/// the folder cannot be written.
pub fn run(options: Options) -> anyhow::Result<()> {
    let config = TrainConfig::load(&options.config, &options.overrides)?;
    let mut samples = Vec::new();
    for source in &config.data.train {
        samples.extend(read_source(source, &config.base)?);
    }
    ensure!(
        samples.iter().any(|sample| sample.sentiment.is_some()),
        "no training sample carries a sentiment, which is what is softened"
    );
    ensure!(
        config.train.weights.sentiment > 0.0,
        "train.weights.sentiment is 0: the models would learn nothing of the sentiment, which is what is softened"
    );
    let folds = folds::split(&samples, options.folds, config.seed)?;

    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let _claim = lock(&options.out)?;
    let launcher = Launcher::new(&options.config, options.device)?;
    let mut answers: Vec<Option<BTreeMap<String, f64>>> = vec![None; samples.len()];
    for (fold, held) in folds.iter().enumerate() {
        tell(format_args!(
            "fold {} of {}: {} samples are held out",
            fold + 1,
            folds.len(),
            held.len()
        ));
        for held in answer(&options, &config, &launcher, &samples, (fold, held))? {
            answers[held.sample] = Some(held.probabilities);
        }
    }
    report(&options, &samples, &answers)
}

/// A fold's answers: those of its file, or else of a model that is trained without it.
fn answer(
    options: &Options,
    config: &TrainConfig,
    launcher: &Launcher,
    samples: &[Sample],
    (fold, held): (usize, &[usize]),
) -> anyhow::Result<Vec<Held>> {
    let folder = options.out.join(format!("fold-{}", fold + 1));
    let mut seen = String::new();
    for (place, sample) in samples.iter().enumerate() {
        if held.binary_search(&place).is_err() {
            seen += &format!("{}\n", jsonl::line(sample)?);
        }
    }
    // Its name says what is in it: a resumed training whose data have changed is another configuration, and refused.
    let digest = Sha256::digest(format!("{}\n{seen}", toml::to_string(config)?));
    let id: String = digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let known = options.out.join(format!("held-{}-{id}.jsonl", fold + 1));
    if known.exists() {
        return read(&known);
    }
    let data = options.out.join(format!("seen-{}-{id}.jsonl", fold + 1));
    write_file(&data, seen.as_bytes())?;

    let path = std::path::absolute(&data)
        .with_context(|| format!("cannot tell where {} is", data.display()))?;
    let source = toml::Value::String(path.to_string_lossy().into_owned());
    // A fold may lack a label that others have.
    let labels = |given: &[String], found: Vec<String>| {
        let labels = if given.is_empty() {
            found
        } else {
            given.to_vec()
        };
        toml::Value::Array(labels.into_iter().map(toml::Value::String).collect())
    };
    let overrides = [
        options.overrides.clone(),
        vec![
            format!("data.train=[{{path = {source}}}]"),
            format!(
                "model.tags={}",
                labels(&config.model.tags, tags_of(samples))
            ),
            format!(
                "model.classes={}",
                labels(&config.model.classes, classes_of(samples))
            ),
            // The last epoch's model, which no data have chosen.
            "data.valid=[]".to_owned(),
            format!("seed={}", config.seed.wrapping_add(fold as u64)),
        ],
    ]
    .concat();
    match launcher.train(&overrides, &folder)? {
        Ended::Complete => {}
        Ended::Interrupted => bail!("interrupted; the same command goes on"),
        Ended::Failed(error) => bail!("the training of {} failed: {error}", folder.display()),
    }

    let crew = Crew::load(&folder.join("best.muse"), options.device, None)?;
    let asked = held.iter().map(|&place| Sample {
        id: place.to_string(),
        ..samples[place].clone()
    });
    let mut answers = Vec::new();
    each_tagged(&crew, asked.collect(), false, |sample, _, tagged| {
        if let (Ok(sample), Some(sentiment)) = (sample.id.parse(), &tagged.sentiment) {
            let probabilities = sentiment.probabilities.iter();
            answers.push(Held {
                sample,
                probabilities: probabilities
                    .map(|(class, share)| (class.clone(), f64::from(*share)))
                    .collect(),
            });
        }
    })?;
    let lines = answers.iter().map(serde_json::to_string);
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    write_file(&known, (lines.join("\n") + "\n").as_bytes())?;
    Ok(answers)
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
fn report(
    options: &Options,
    samples: &[Sample],
    answers: &[Option<BTreeMap<String, f64>>],
) -> anyhow::Result<()> {
    let mut counter = SentimentCounter::default();
    let mut pairs = Vec::new();
    for (sample, answer) in samples.iter().zip(answers) {
        if let (Some(label), Some(answer)) = (&sample.sentiment, answer) {
            if let Some((best, _)) = answer.iter().max_by(|a, b| a.1.total_cmp(b.1)) {
                counter.add(label, best);
            }
            pairs.push((label.as_str(), answer));
        }
    }
    let temperature = soften::temperature(&pairs);
    let mut text = String::new();
    for (sample, answer) in samples.iter().zip(answers) {
        let mut sample = sample.clone();
        if let (Some(label), Some(answer)) = (&sample.sentiment, answer) {
            let answer = soften::tempered(answer, temperature);
            let own = (sample.shares.clone()).unwrap_or_else(|| [(label.clone(), 1.0)].into());
            sample.shares = Some(soften::mixed(&own, &answer, options.share));
        }
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
