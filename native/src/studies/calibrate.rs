//! `muse calibrate`: makes a model as sure as it is right.
//!
//! On data that the model was not trained on, entities get a straight line through the logits of their confidences, and classes a
//! temperature: those with which the log-loss is least. What they are measured on must not have chosen them, so that both are also
//! fitted on four fifths of the posts and measured on the fifth, in turn.

mod fit;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use muse_core::file::recalibrated;
use muse_core::heads::calibration::{Calibration, Scaling};
use muse_core::heads::{Classes, Names};
use muse_core::objective::Part;

use self::fit::{Set, Study};
use super::answer::shares;
use super::crossfit::{folds, soften};
use crate::commands::eval::warn_of_strangers;
use crate::data::{Format, Sample, Shares, Source, read_source};
use crate::device::DeviceChoice;
use crate::output::{check_place, plain, write_file};
use crate::reliability::judged;
use crate::tagger_pool::TaggerPool;
use crate::values::{count, key_value};

/// Into how many parts the posts are cut.
const FOLDS: usize = 5;

/// What `muse calibrate` was asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
Tags and classes stay as they are, and so do the weights. What the data have no labels for stays as it was, so that a
model of several styles is calibrated by one command for each of them.")]
pub struct Options {
    /// Model file
    pub model: PathBuf,
    /// Labelled data that the model was not trained on, CoNLL (.txt, .conll) or JSON lines (.jsonl); may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub data: Vec<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Folder of the pictures that the IMGID lines of CoNLL name
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Read an entity type of the data as another; may be given several times
    #[arg(long, value_name = "TYPE=TYPE", value_parser = key_value)]
    pub rename: Vec<(String, String)>,
    /// Split #word into # and word, as in Twitter-2017
    #[arg(long)]
    pub split_hashtags: bool,
    /// The style in which the data are annotated; only its confidences change
    #[arg(long, value_name = "NAME")]
    pub style: Option<String>,
    /// The files' form, where their endings do not tell it
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Captions tagged at a time [default: 4 on the CPU, 32 on a GPU]
    #[arg(long, value_name = "N", value_parser = count(1..=4096))]
    pub batch_size: Option<usize>,
    /// Where to run
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
}

/// What the model says, uncalibrated, of a post's labels.
#[derive(Clone, Debug, Default)]
struct Said {
    /// The logit of each entity's confidence, and whether the entity is right; none where the post's entities are not marked.
    entities: Vec<(f64, bool)>,
    /// The post's classes, and the model's answers.
    classes: Classes<(String, Shares)>,
}

/// Runs the command.
///
/// # Errors
///
/// When the model or the data cannot be read, the data have nothing that the model could be calibrated by, or the file cannot be
/// written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    check_place(&options.out)?;
    let model = &options.model;
    let bytes = std::fs::read(model).with_context(|| format!("cannot read {}", model.display()))?;
    let unusable = || format!("cannot use {} as a model", model.display());
    let raw = recalibrated(&bytes, |own| *own = Calibration::default()).with_context(unusable)?;
    let (mut samples, mut sets) = (Vec::new(), Vec::new());
    for path in &options.data {
        let source = source(path, options);
        let first = samples.len();
        samples.extend(read_source(&source, Path::new(""))?);
        sets.push(Set {
            title: source.title(),
            posts: first..samples.len(),
        });
    }
    let mut pool = TaggerPool::from_bytes(&raw, model, options.device, options.batch_size)?;
    pool.set_style(options.style.as_deref())?;
    let config = pool.tagger().config();
    for set in &sets {
        warn_of_strangers(config, &set.title, &samples[set.posts.clone()]);
    }
    let names = &config.names;
    let folds = folds::split(&samples, FOLDS, 0)?;
    let said = ask(&pool, names, &samples)?;
    ensure!(
        said.iter()
            .any(|said| !said.entities.is_empty() || !said.classes.is_empty()),
        "there is nothing that {} could be calibrated by: no entity that it found in captions with marked entities, and no \
         class of its heads",
        plain(&model.to_string_lossy())
    );

    let mut report = Vec::new();
    let mut scaling = None;
    let entities: Vec<_> = said.iter().map(|said| said.entities.clone()).collect();
    if let Some(study) = Study::new(&entities, &sets, &folds, fit::scaling, fit::found) {
        let Scaling { slope, offset } = study.fitted;
        let fitted = format!("slope {slope:.3}, offset {offset:.3}");
        study.write(&mut report, Part::Entities, &fitted)?;
        scaling = Some(study.fitted);
    }
    let mut temperatures = Classes::new();
    for head in names.classifiers().into_keys() {
        let answers = said.iter().map(|said| said.classes.get(&head));
        let answers = answers.map(|one| one.map(|(label, answer)| (label.as_str(), answer)));
        let answers: Vec<Vec<_>> = answers.map(|one| one.into_iter().collect()).collect();
        if let Some(study) = Study::new(&answers, &sets, &folds, soften::temperature, fit::answered)
        {
            let fitted = format!("temperature {:.3}", study.fitted);
            study.write(&mut report, head, &fitted)?;
            temperatures.insert(head, study.fitted);
        }
    }

    let place = names.styles.place(options.style.as_deref())?;
    let calibrated = recalibrated(&bytes, |own| {
        own.temperatures.extend(temperatures);
        if let Some(scaling) = scaling {
            let styles = names.styles.names.len().max(1);
            own.entities.resize(styles, Scaling::default());
            own.entities[place] = scaling;
        }
    });
    write_file(&options.out, &calibrated.with_context(unusable)?)?;
    let mut out = io::stdout().lock();
    out.write_all(&report)?;
    Ok(out.flush()?)
}

fn source(path: &Path, options: &Options) -> Source {
    Source {
        images: options.images.clone(),
        rename: options.rename.iter().cloned().collect(),
        split_hashtags: options.split_hashtags,
        format: options.format,
        ..Source::new(path)
    }
}

/// What the model says of the samples, in their order.
fn ask(pool: &TaggerPool, names: &Names, samples: &[Sample]) -> anyhow::Result<Vec<Said>> {
    let asked = (0..)
        .zip(samples)
        .map(|(place, sample): (usize, _)| Sample {
            id: place.to_string(),
            ..sample.clone()
        });
    let mut all = vec![Said::default(); samples.len()];
    pool.tag_samples(asked.collect(), false, |sample, _, tagged| {
        let mut said = Said::default();
        if let Some(gold) = sample.tags.as_ref().filter(|_| !names.tags.is_empty()) {
            let found = judged(tagged, gold).into_iter();
            said.entities = found
                .map(|(confidence, right)| (Scaling::logit(confidence), right))
                .collect();
        }
        for (head, class) in tagged.classes() {
            if let Some(given) = sample.classes.get(&head) {
                let pair = (given.label.clone(), shares(class));
                said.classes.insert(head, pair);
            }
        }
        if let Some(place) = sample.id.parse().ok().and_then(|at: usize| all.get_mut(at)) {
            *place = said;
        }
    })?;
    Ok(all)
}
