//! `muse eval`: a model's scores on labelled data.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use muse_core::image::pixels::Pixels;
use muse_core::score::{
    EntityCounter, EntityScores, Prf, SentimentCounter, SentimentScores, spans,
};
use muse_core::{Caption, Request, Tagged, Tagger};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{load_tagger, read_picture};
use crate::data::{Sample, Source, loader, read_source};
use crate::device::DeviceChoice;
use crate::output::{json_line, plain};

/// Endings of the files in a folder that are taken for pictures.
const PICTURES: [&str; 5] = ["jpg", "jpeg", "png", "webp", "gif"];

/// Captions that are prepared ahead of the model. A decoded photo takes tens of megabytes.
const AHEAD: usize = 8;

/// Decoded pictures in a batch, in bytes; a batch that goes beyond is closed.
const MAX_PICTURE_BYTES: usize = 128 << 20;

/// What to score on, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model file.
    pub model: PathBuf,
    /// The labelled files.
    pub data: Vec<PathBuf>,
    /// The folder of their pictures.
    pub images: Option<PathBuf>,
    /// Other names for entity types of the data.
    pub rename: BTreeMap<String, String>,
    /// Split `#NBA` into two words.
    pub split_hashtags: bool,
    /// Which pictures the model sees.
    pub pictures: Pictures,
    /// Split the joined words anew, and score character spans.
    pub resplit: bool,
    /// Print JSON.
    pub json: bool,
    /// Captions tagged at a time.
    pub batch_size: usize,
    /// Where to run.
    pub device: DeviceChoice,
}

/// Which pictures the model sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// Each caption's own.
    Own,
    /// None.
    None,
    /// A random one, for a model that must not be misled by a wrong photo.
    Random {
        /// A folder of pictures, or a JSON lines file that names some.
        from: PathBuf,
        /// Makes the choice repeatable.
        seed: u64,
    },
}

/// A data file.
struct Set {
    title: String,
    samples: Vec<Sample>,
}

/// What was counted on one set, or on several.
#[derive(Clone, Debug, Default)]
struct Tally {
    captions: usize,
    pictures: usize,
    unreadable: usize,
    split_otherwise: usize,
    entities: EntityCounter,
    tagged: usize,
    sentiment: SentimentCounter,
    classified: usize,
}

/// The scores of a set, as they are printed.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    captions: usize,
    pictures: usize,
    #[serde(skip_serializing_if = "is_zero")]
    unreadable_pictures: usize,
    /// Captions that our splitter splits otherwise than the data, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    split_otherwise: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entities: Option<EntityScores>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentiment: Option<SentimentScores>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Runs the command.
///
/// # Errors
///
/// When the model or the data cannot be read, or the data has no label that the model could be scored on. A picture that
/// cannot be decoded is counted and named, and its caption tagged without.
pub fn run(options: Options) -> anyhow::Result<()> {
    let mut sets = options
        .data
        .iter()
        .map(|path| read_set(path, &options))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if let Pictures::Random { from, seed } = &options.pictures {
        shuffle_in(&mut sets, &pictures_of(from)?, *seed);
    }
    let chosen = options.device.open()?;
    let tagger = load_tagger(&options.model, &chosen.device)?;
    warn_of_strangers(&tagger, &sets);

    let mut pooled = Tally::default();
    let mut reports = Vec::new();
    for Set { title, samples } in sets {
        let tally = score(&tagger, samples, &options)?;
        pooled.merge(&tally);
        reports.push(tally.report(title, options.resplit));
    }
    ensure!(
        pooled.tagged + pooled.classified > 0,
        "the data has no label that {} could be scored on (it has {} tags and {} sentiment classes)",
        options.model.display(),
        tagger.config().tags.len(),
        tagger.config().classes.len()
    );
    let several = reports.len() > 1;
    let pooled = pooled.report("pooled".into(), options.resplit);
    let mut out = io::stdout().lock();
    if options.json {
        let value = serde_json::json!({ "sets": reports, "pooled": pooled });
        writeln!(out, "{}", json_line(&value))?;
    } else {
        for (place, report) in reports.iter().chain(several.then_some(&pooled)).enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            report.write(&mut out)?;
        }
    }
    Ok(out.flush()?)
}

fn read_set(path: &Path, options: &Options) -> anyhow::Result<Set> {
    let source = Source {
        images: options.images.clone(),
        rename: options.rename.clone(),
        split_hashtags: options.split_hashtags,
        no_images: options.pictures != Pictures::Own,
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
fn warn_of_strangers(tagger: &Tagger, sets: &[Set]) {
    let config = tagger.config();
    let known: BTreeSet<&str> = config.tags.iter().map(|tag| kind_of(tag)).collect();
    for set in sets {
        let samples = || set.samples.iter();
        let kinds: BTreeSet<&str> = samples()
            .flat_map(|s| s.tags.iter().flatten())
            .map(|tag| kind_of(tag))
            .collect();
        let classes: BTreeSet<&String> = samples().filter_map(|s| s.sentiment.as_ref()).collect();
        if !config.tags.is_empty() {
            for kind in kinds.difference(&known) {
                let (title, kind) = (plain(&set.title), plain(kind));
                eprintln!(
                    "warning: {title}: the model has no entity type {kind}; --rename {kind}=... reads it as another"
                );
            }
        }
        if !config.classes.is_empty() {
            for class in classes
                .into_iter()
                .filter(|class| !config.classes.contains(class))
            {
                eprintln!(
                    "warning: {}: the model has no sentiment {}",
                    plain(&set.title),
                    plain(class)
                );
            }
        }
    }
}

fn kind_of(tag: &str) -> &str {
    tag.split_once('-').map_or(tag, |(_, kind)| kind)
}

/// A sample whose picture has been read.
struct Prepared {
    sample: Sample,
    picture: Option<Pixels>,
}

fn score(tagger: &Tagger, mut samples: Vec<Sample>, options: &Options) -> anyhow::Result<Tally> {
    // Captions of one length do not pad each other; the order does not matter to the scores.
    samples.sort_by_key(|sample| sample.words.len());
    if tagger.config().tags.is_empty() {
        samples.iter_mut().for_each(|sample| sample.tags = None);
    }
    let mut tally = Tally {
        captions: samples.len(),
        ..Tally::default()
    };
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(4);
    let mut prepared = loader::ordered(samples, workers, AHEAD, prepare)?;
    while let Some(batch) = gather(&mut prepared, options.batch_size)? {
        let (samples, requests): (Vec<Sample>, Vec<Request>) = batch
            .into_iter()
            .map(|prepared| prepared.request(options.resplit))
            .unzip();
        for (sample, request) in samples.iter().zip(&requests) {
            tally.pictures += usize::from(request.picture.is_some());
            tally.unreadable += usize::from(sample.image.is_some() && request.picture.is_none());
        }
        for (sample, tagged) in samples.iter().zip(tagger.tag_batch(&requests)) {
            tally.add(sample, &tagged, options.resplit);
        }
    }
    Ok(tally)
}

fn prepare(sample: Sample) -> anyhow::Result<Prepared> {
    let picture = sample.image.as_ref().and_then(|path| {
        read_picture(path)
            .inspect_err(|error| eprintln!("warning: {}", plain(&format!("{error:#}"))))
            .ok()
    });
    Ok(Prepared { sample, picture })
}

impl Prepared {
    fn request(self, resplit: bool) -> (Sample, Request) {
        let caption = match resplit {
            true => Caption::Text(self.sample.words.join(" ")),
            false => Caption::Words(self.sample.words.clone()),
        };
        let request = Request {
            caption,
            picture: self.picture,
        };
        (self.sample, request)
    }
}

/// The next batch: `size` captions, or fewer with large pictures. `None` at the end.
fn gather(
    prepared: &mut impl Iterator<Item = anyhow::Result<Prepared>>,
    size: usize,
) -> anyhow::Result<Option<Vec<Prepared>>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < size && bytes < MAX_PICTURE_BYTES {
        let Some(next) = prepared.next() else { break };
        let next = next?;
        bytes += next.picture.as_ref().map_or(0, |picture| picture.rgb.len());
        batch.push(next);
    }
    Ok((!batch.is_empty()).then_some(batch))
}

/// An entity by its characters: type, first, one past the last.
type CharSpan = (String, usize, usize);

impl Tally {
    fn add(&mut self, sample: &Sample, tagged: &Tagged, resplit: bool) {
        let split_otherwise = || !tagged.words.iter().map(|word| &word.text).eq(&sample.words);
        self.split_otherwise += usize::from(resplit && split_otherwise());
        if let Some(gold) = &sample.tags {
            self.tagged += 1;
            if resplit {
                let gold = gold_spans(&sample.words, gold);
                let predicted = tagged
                    .entities
                    .iter()
                    .map(|e| (e.kind.clone(), e.start, e.end))
                    .collect::<Vec<_>>();
                self.entities.add(&char_tags(&gold), &char_tags(&predicted));
            } else {
                self.entities.add(gold, &tagged.tags);
            }
        }
        if let (Some(gold), Some(predicted)) = (&sample.sentiment, &tagged.sentiment) {
            self.classified += 1;
            self.sentiment.add(gold, &predicted.label);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.captions += other.captions;
        self.pictures += other.pictures;
        self.unreadable += other.unreadable;
        self.split_otherwise += other.split_otherwise;
        self.entities.merge(&other.entities);
        self.tagged += other.tagged;
        self.sentiment.merge(&other.sentiment);
        self.classified += other.classified;
    }

    fn report(&self, name: String, resplit: bool) -> Report {
        Report {
            name,
            captions: self.captions,
            pictures: self.pictures,
            unreadable_pictures: self.unreadable,
            split_otherwise: resplit.then_some(self.split_otherwise),
            entities: (self.tagged > 0).then(|| self.entities.scores()),
            sentiment: (self.classified > 0).then(|| self.sentiment.scores()),
        }
    }
}

/// Where the entities stand in the words joined by single spaces.
fn gold_spans(words: &[String], tags: &[String]) -> Vec<CharSpan> {
    let mut at = 0;
    let places: Vec<(usize, usize)> = words
        .iter()
        .map(|word| {
            let start = at;
            let end = start + word.chars().count();
            at = end + 1;
            (start, end)
        })
        .collect();
    spans(tags)
        .into_iter()
        .map(|span| (span.kind, places[span.first].0, places[span.last].1))
        .collect()
}

/// BIO tags over characters, so that the scorer of words scores character spans.
fn char_tags(entities: &[CharSpan]) -> Vec<String> {
    let length = entities.iter().map(|(_, _, end)| *end).max().unwrap_or(0);
    let mut tags = vec!["O".to_owned(); length];
    for (kind, start, end) in entities {
        tags[*start..*end].fill(format!("I-{kind}"));
        tags[*start] = format!("B-{kind}");
    }
    tags
}

impl Report {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let pictures = match self.pictures {
            0 => "no pictures".into(),
            count => format!("{count} with a picture"),
        };
        writeln!(
            out,
            "{}: {} captions, {pictures}",
            plain(&self.name),
            self.captions
        )?;
        if self.unreadable_pictures > 0 {
            writeln!(
                out,
                "{} pictures could not be read; their captions went without",
                self.unreadable_pictures
            )?;
        }
        if let Some(count) = self.split_otherwise {
            writeln!(out, "{count} captions are split otherwise than in the data")?;
        }
        if let Some(entities) = &self.entities {
            writeln!(out)?;
            write_entities(out, entities)?;
        }
        if let Some(sentiment) = &self.sentiment {
            writeln!(out)?;
            write_sentiment(out, sentiment)?;
        }
        Ok(())
    }
}

/// A line of a table: a name, percentages, the number of gold labels.
struct Row {
    name: String,
    /// Precision, recall, F1.
    values: [f64; 3],
    support: usize,
}

fn row(name: &str, precision: f64, recall: f64, f1: f64, support: usize) -> Row {
    Row {
        name: plain(name).into_owned(),
        values: [precision, recall, f1].map(|value| 100.0 * value),
        support,
    }
}

fn prf_row((name, prf): (&String, &Prf)) -> Row {
    row(name, prf.precision, prf.recall, prf.f1, prf.gold)
}

fn write_entities(out: &mut impl Write, scores: &EntityScores) -> io::Result<()> {
    let mut rows: Vec<Row> = scores.per_type.iter().map(prf_row).collect();
    let (micro, support) = (&scores.micro, scores.micro.gold);
    rows.push(row(
        "micro avg",
        micro.precision,
        micro.recall,
        micro.f1,
        support,
    ));
    for (name, mean) in [
        ("macro avg", &scores.macro_),
        ("weighted avg", &scores.weighted),
    ] {
        rows.push(row(name, mean.precision, mean.recall, mean.f1, support));
    }
    write_table(out, "entities", &rows)
}

fn write_sentiment(out: &mut impl Write, scores: &SentimentScores) -> io::Result<()> {
    let rows: Vec<Row> = scores.per_class.iter().map(prf_row).collect();
    write_table(out, "sentiment", &rows)?;
    writeln!(
        out,
        "accuracy {:.2}, weighted F1 {:.2}, macro F1 {:.2} on {} captions",
        100.0 * scores.accuracy,
        100.0 * scores.weighted_f1,
        100.0 * scores.macro_f1,
        scores.samples
    )
}

fn write_table(out: &mut impl Write, title: &str, rows: &[Row]) -> io::Result<()> {
    let names = rows.iter().map(|row| row.name.chars().count());
    let width = names.chain([title.len(), 12]).max().unwrap_or(0);
    writeln!(
        out,
        "{title:width$}  {:>9}  {:>9}  {:>9}  {:>9}",
        "precision", "recall", "F1", "support"
    )?;
    for Row {
        name,
        values,
        support,
    } in rows
    {
        let [precision, recall, f1] = values;
        writeln!(
            out,
            "{name:width$}  {precision:>9.2}  {recall:>9.2}  {f1:>9.2}  {support:>9}"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn gold_entities_have_characters() {
        let words = strings(&["😀", "Zoë", "Ray", "in", "Köln"]);
        let tags = strings(&["O", "B-PER", "I-PER", "O", "B-LOC"]);
        let gold = gold_spans(&words, &tags);
        assert_eq!(gold, [("PER".into(), 2, 9), ("LOC".into(), 13, 17)]);
        let chars = char_tags(&gold);
        let back = spans(&chars);
        let back: Vec<_> = back
            .into_iter()
            .map(|span| (span.kind, span.first, span.last + 1))
            .collect();
        assert_eq!(back, gold);
    }

    #[test]
    fn a_wrong_split_counts_as_an_error() {
        let sample = Sample {
            words: strings(&["Ann", "B-52s"]),
            tags: Some(strings(&["B-PER", "B-ORG"])),
            ..Sample::default()
        };
        let entity = |kind: &str, start, end| muse_core::Entity {
            kind: kind.into(),
            text: String::new(),
            start,
            end,
            first_word: 0,
            last_word: 0,
            score: 1.0,
        };
        let tagged = Tagged {
            words: Vec::new(),
            tags: strings(&["B-PER", "B-ORG", "O", "O"]),
            entities: vec![entity("PER", 0, 3), entity("ORG", 4, 5)],
            sentiment: None,
        };
        let mut tally = Tally::default();
        tally.add(&sample, &tagged, true);
        let scores = tally.entities.scores();
        assert_eq!(
            (scores.micro.tp, scores.micro.predicted, scores.micro.gold),
            (1, 2, 2)
        );
        assert_eq!(tally.split_otherwise, 1);
    }

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
