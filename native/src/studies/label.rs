//! `muse label`: what several models say of text, for another to learn from (Hinton et al. 2015, arXiv:1503.02531).

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use muse_core::objective::Part;
use sha2::{Digest, Sha256};

use super::answer::{Answer, ask};
use super::id;
use crate::data::{Format, Given, Sample, Shares, Source, jsonl, read_source, readings};
use crate::device::DeviceChoice;
use crate::output::{tell, write_file};
use crate::train::folder::lock;
use crate::values::{count, within};

/// Smaller shares are left out of the file.
const LEAST: f64 = 1e-3;

/// What `muse label` was asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
Each sample gets the labels that it lacks: the mean of the models' answers, with their probabilities, in DIR/labelled.jsonl,
which muse train reads. The labels that it has stay. An interrupted run goes on with the same command.")]
pub struct Options {
    /// Model file; several are asked one by one, and their answers' mean counts
    #[arg(long = "model", value_name = "MODEL", required = true)]
    pub models: Vec<PathBuf>,
    /// Texts: JSON lines (.jsonl), CoNLL (.txt, .conll), captioned photos (.csv)
    #[arg(long, value_name = "FILE", required = true)]
    pub data: Vec<PathBuf>,
    /// Folder of the models' answers and of the labels
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Annotate entities in this style, where a sample has none of its own; `muse info` lists a model's
    #[arg(long, value_name = "NAME")]
    pub style: Option<String>,
    /// Give no tags that are all together less likely than this, and leave out samples that have no other label
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = within(0.0_f64..=1.0))]
    pub least: f64,
    /// Show the models the captions alone; the pictures go with the labels all the same
    #[arg(long)]
    pub no_images: bool,
    /// Split #word into # and word, as in Twitter-2017
    #[arg(long)]
    pub split_hashtags: bool,
    /// The files' form, where their endings do not tell it
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Take only so many samples of each file, drawn at random
    #[arg(long, value_name = "N", value_parser = count(1..))]
    pub sample: Option<usize>,
    /// Where to run
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
}

/// Runs the command.
///
/// # Errors
///
/// When a model or the data cannot be read, a model lacks the style, or the folder cannot be written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let samples = read_samples(options)?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
    let _claim = lock(&options.out)?;

    let mut answers: Vec<Vec<Answer>> = vec![Vec::new(); samples.len()];
    for (place, answer) in said(options, &samples)? {
        answers[place].push(answer);
    }
    let mut text = String::new();
    let (mut kept, mut words) = (0, 0);
    for (sample, answers) in samples.into_iter().zip(answers) {
        if let Some(sample) = labelled(sample, Answer::mean(answers), options.least) {
            (kept, words) = (kept + 1, words + sample.words.len());
            text += &format!("{}\n", jsonl::line(&sample)?);
        }
    }
    let path = options.out.join("labelled.jsonl");
    write_file(&path, text.as_bytes())?;
    tell(format_args!(
        "{kept} samples of {words} words are labelled in {}",
        path.display()
    ));
    Ok(())
}

fn read_samples(options: &Options) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for path in &options.data {
        let source = Source {
            format: options.format,
            sample: options.sample,
            split_hashtags: options.split_hashtags,
            style: options.style.clone(),
            ..Source::new(path)
        };
        samples.extend(read_source(&source, Path::new(""))?);
    }
    Ok(samples)
}

/// What each model says of each sample, by the sample's place.
fn said(options: &Options, samples: &[Sample]) -> anyhow::Result<Vec<(usize, Answer)>> {
    let shown = samples.iter().cloned().map(|sample| Sample {
        image: sample.image.filter(|_| !options.no_images),
        ..sample
    });
    let shown: Vec<Sample> = shown.collect();
    let lines = shown.iter().map(jsonl::line);
    let lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
    let asked = lines.iter().map(ToString::to_string).collect::<String>();
    let places: Vec<usize> = (0..shown.len()).collect();
    let mut all = Vec::new();
    for model in &options.models {
        let bytes = std::fs::read(model)
            .with_context(|| format!("cannot read the model {}", model.display()))?;
        // Its name says which model was asked what.
        let name = id(&format!("{:x?}\n{asked}", Sha256::digest(&bytes)));
        let file = options.out.join(format!("answers-{name}.jsonl"));
        tell(format_args!(
            "{} is asked about {} samples",
            model.display(),
            places.len()
        ));
        all.extend(ask(model, options.device, &shown, &places, &file)?);
    }
    Ok(all)
}

/// The sample with the labels that it lacks, without tags where these are too uncertain; `None` where it then would have had no label
/// of its own.
fn labelled(mut sample: Sample, answer: Answer, least: f64) -> Option<Sample> {
    if let (None, Some(shares)) = (&sample.tags, answer.readings) {
        let shares = pruned(shares);
        let (reading, share) = readings::likeliest(&shares)?;
        if share >= least {
            sample.tags = Some(readings::apart(reading));
            sample.readings = (shares.len() > 1).then_some(shares);
            // All types were looked for.
            sample.marked = None;
        } else if sample.classes.is_empty() {
            return None;
        }
    }
    if let Some(shares) = answer.probabilities {
        let shares = pruned(shares);
        let label = readings::likeliest(&shares)?.0.clone();
        let classes = &mut sample.classes;
        classes.entry(Part::Sentiment).or_insert(Given {
            label,
            shares: Some(shares),
        });
    }
    Some(sample)
}

/// Without what is hardly likely; the rest sums to 1.
fn pruned(mut shares: Shares) -> Shares {
    shares.retain(|_, share| *share >= LEAST);
    let sum: f64 = shares.values().sum();
    shares.values_mut().for_each(|share| *share /= sum);
    shares
}
