//! `muse eval`: a model's scores on labelled data.

mod decoders;
mod tally;

use std::collections::BTreeSet;
use std::io::{self, StdoutLock, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use muse_core::MuseConfig;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use self::tally::{Report, Tally};
use super::tag::hide_unsure;
use crate::data::{Format, Sample, Source, read_source};
use crate::device::DeviceChoice;
use crate::output::{json_line, tell};
use crate::tagger_pool::TaggerPool;
use crate::values::{count, key_value, within};

/// Endings of the files in a folder that are taken for pictures.
const PICTURES: [&str; 5] = ["jpg", "jpeg", "png", "webp", "gif"];

/// What to score on, and how.
#[derive(Debug, Args)]
pub struct Options {
    /// Model file
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Labelled data, CoNLL (.txt, .conll), JSON lines (.jsonl) or captioned photos (.csv); several are scored one by one
    /// and pooled
    #[arg(long, value_name = "FILE", required = true)]
    pub data: Vec<PathBuf>,
    /// Folder of the pictures that the IMGID lines of CoNLL name
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Read an entity type of the data as another; may be given several times
    #[arg(long, value_name = "TYPE=TYPE", value_parser = key_value)]
    pub rename: Vec<(String, String)>,
    /// Split #word into # and word, as in Twitter-2017
    #[arg(long)]
    pub split_hashtags: bool,
    /// Give the model the captions alone
    #[arg(long, conflicts_with_all = ["images", "random_images"])]
    pub no_images: bool,
    /// Give each caption a random picture of this folder or JSON lines file instead of its own
    #[arg(long, value_name = "DIR|JSONL")]
    pub random_images: Option<PathBuf>,
    /// Seed of the random pictures
    #[arg(long, default_value_t = 0, requires = "random_images")]
    pub seed: u64,
    /// Annotate entities in this style; `muse info` lists the model's
    #[arg(long, value_name = "NAME", conflicts_with = "decoders")]
    pub style: Option<String>,
    /// Leave out entities whose confidence is lower [default: 0.4 of a calibrated model, else 0]
    #[arg(long, value_name = "0..1", value_parser = within(0.0_f32..=1.0), conflicts_with = "decoders")]
    pub threshold: Option<f32>,
    /// Join the words by single spaces, split them anew, and score character spans
    #[arg(long)]
    pub resplit: bool,
    /// Pass over so many samples of each file, from the top
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: usize,
    /// Take only so many samples of each file, after those passed over
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// The files' form, where their endings do not tell it
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Score the decoders on the captions that come with a photo: what they gain from the other modality
    #[arg(long, conflicts_with_all = ["no_images", "random_images", "resplit", "batch_size"])]
    pub decoders: bool,
    /// Compare with a model that was trained with train.blind_decoders
    #[arg(long, value_name = "MODEL", requires = "decoders")]
    pub control: Option<PathBuf>,
    /// Print JSON; percentages become fractions
    #[arg(long)]
    pub json: bool,
    /// Captions tagged at a time [default: 4 on the CPU, 32 on a GPU]
    #[arg(long, value_name = "N", value_parser = count(1..=4096))]
    pub batch_size: Option<usize>,
    /// Where to run
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub device: DeviceChoice,
}

/// A data file.
struct Set {
    title: String,
    samples: Vec<Sample>,
}

/// Runs the command.
///
/// # Errors
///
/// When the model or the data cannot be read, or the data has no label that the model could be scored on. A picture that
/// cannot be decoded is counted and named, and its caption tagged without.
pub fn run(options: Options) -> anyhow::Result<()> {
    if options.decoders {
        return decoders::run(&options);
    }
    let mut sets = options
        .data
        .iter()
        .map(|path| read_set(path, &options))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(from) = &options.random_images {
        shuffle_in(&mut sets, &pictures_of(from)?, options.seed);
    }
    let mut pool = TaggerPool::load(&options.model, options.device, options.batch_size)?;
    pool.set_style(options.style.as_deref())?;
    let config = pool.tagger().config();
    for set in &sets {
        warn_of_strangers(config, &set.title, &set.samples);
    }

    let mut pooled = Tally::default();
    let mut reports = Vec::new();
    for Set { title, samples } in sets {
        let tally = score(&pool, samples, &options)?;
        pooled.merge(&tally);
        reports.push(tally.report(title, options.resplit));
    }
    let known = config.names.lists();
    let known = known.map(|(setting, names)| format!("{} {setting}", names.len()));
    ensure!(
        pooled.is_scored(),
        "the data has no label that {} could be scored on (it has {})",
        options.model.display(),
        known.join(" and ")
    );
    let pooled = pooled.report("pooled".into(), options.resplit);
    print(&reports, &pooled, options.json, Report::write)
}

/// The report of each set and, where there are several, the pooled one.
fn print<R: Serialize>(
    reports: &[R],
    pooled: &R,
    json: bool,
    write: impl Fn(&R, &mut StdoutLock<'static>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let value = serde_json::json!({ "sets": reports, "pooled": pooled });
        writeln!(out, "{}", json_line(&value))?;
    } else {
        let pooled = (reports.len() > 1).then_some(pooled);
        for (place, report) in reports.iter().chain(pooled).enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            write(report, &mut out)?;
        }
    }
    Ok(out.flush()?)
}

fn read_set(path: &Path, options: &Options) -> anyhow::Result<Set> {
    let source = Source {
        images: options.images.clone(),
        rename: options.rename.iter().cloned().collect(),
        split_hashtags: options.split_hashtags,
        no_images: options.no_images || options.random_images.is_some(),
        skip: options.skip,
        limit: options.limit,
        format: options.format,
        ..Source::new(path)
    };
    let samples = read_source(&source, Path::new(""))?;
    Ok(Set {
        title: source.title(),
        samples,
    })
}

/// The pictures of a folder in the order of their names, or those that a JSON lines file names.
fn pictures_of(from: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut pictures: Vec<PathBuf> = if from.is_dir() {
        let entries =
            std::fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
        let paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.into_iter().filter(|path| is_picture(path)).collect()
    } else {
        let samples = read_source(&Source::new(from), Path::new(""))?;
        samples
            .into_iter()
            .filter_map(|sample| sample.image)
            .collect()
    };
    pictures.sort();
    ensure!(
        !pictures.is_empty(),
        "there is no picture in {}",
        from.display()
    );
    Ok(pictures)
}

fn is_picture(path: &Path) -> bool {
    let ending = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    PICTURES.contains(&ending.as_str())
}

/// Gives each caption one of the pictures.
fn shuffle_in(sets: &mut [Set], pictures: &[PathBuf], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for sample in sets.iter_mut().flat_map(|set| &mut set.samples) {
        sample.image = Some(pictures[rng.random_range(0..pictures.len())].clone());
    }
}

/// Labels that the model does not know can only count as missed, which a wrong name explains more often than a bad model.
pub(crate) fn warn_of_strangers(config: &MuseConfig, title: &str, samples: &[Sample]) {
    let tags = &config.names.tags;
    let known: BTreeSet<&str> = tags.iter().map(|tag| kind_of(tag)).collect();
    let kinds: BTreeSet<&str> = (samples.iter())
        .flat_map(|s| s.tags.iter().flatten())
        .map(|tag| kind_of(tag))
        .collect();
    if !tags.is_empty() {
        for kind in kinds.difference(&known) {
            tell(format_args!(
                "warning: {title}: the model has no entity type {kind}; --rename {kind}=... reads it as another"
            ));
        }
    }
    for (head, known) in config.names.classifiers() {
        let given = (samples.iter()).filter_map(|s| Some(&s.classes.get(&head)?.label));
        let given: BTreeSet<&String> = given.collect();
        let strange = |class: &&String| !known.is_empty() && !known.contains(class);
        for class in given.into_iter().filter(strange) {
            let head = head.name();
            tell(format_args!(
                "warning: {title}: the model has no {head} {class}"
            ));
        }
    }
}

fn kind_of(tag: &str) -> &str {
    tag.split_once('-').map_or(tag, |(_, kind)| kind)
}

fn score(pool: &TaggerPool, mut samples: Vec<Sample>, options: &Options) -> anyhow::Result<Tally> {
    let resplit = options.resplit;
    if pool.tagger().config().names.tags.is_empty() {
        samples.iter_mut().for_each(|sample| sample.tags = None);
    }
    let threshold = options.threshold.unwrap_or(pool.tagger().threshold());
    let mut tally = Tally::new(samples.len());
    pool.tag_samples(samples, resplit, |sample, request, tagged| {
        tally.pictures += usize::from(request.picture.is_some());
        tally.unreadable += usize::from(sample.image.is_some() && request.picture.is_none());
        let mut tagged = tagged.clone();
        hide_unsure(&mut tagged, threshold);
        tally.add(sample, &tagged, resplit);
    })?;
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_pictures_follow_their_seed() {
        let pictures: Vec<PathBuf> = (0..50).map(|i| format!("{i}.jpg").into()).collect();
        let draw = |seed| {
            let mut sets = [Set {
                title: String::new(),
                samples: vec![Sample::default(); 20],
            }];
            shuffle_in(&mut sets, &pictures, seed);
            sets[0]
                .samples
                .iter()
                .map(|sample| sample.image.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().collect::<BTreeSet<_>>().len() > 5);
    }
}
