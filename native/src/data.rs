//! Training and validation data: files of posts, read into [`Sample`]s; batches, prepared ahead of the
//! step; and what a frozen CNN sees in a picture, kept on disk.
//!
//! `conll`, `jsonl`, `captions`, `lines` → `Sample` → [`loader::plan_epoch`] → [`loader::ordered`] (with [`cache`]) → the
//! trainer's batches.

pub mod blocklist;
pub mod cache;
pub mod captions;
pub mod conll;
pub mod jsonl;
pub mod lines;
pub mod loader;
pub mod picture;
pub mod readings;
pub mod sample;
pub mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use sample::{Given, Sample, Shares, names_of};

/// The form of a data file: [`conll`], [`jsonl`], [`captions`] or [`lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Words and their tags, line by line
    Conll,
    /// JSON lines
    Jsonl,
    /// Captioned pictures, in CSV
    Captions,
    /// Plain text, one text a line
    Text,
}

impl Format {
    /// A sample as it stands in a file.
    fn example(self) -> &'static str {
        match self {
            Self::Conll => "IMGID:1234\nEileen\tB-PER\nCollins\tI-PER\nsmiles\tO\n(an empty line)",
            Self::Jsonl => {
                r#"{"text": "Eileen Collins smiles", "image": "images/16.jpg", "entities": [[0, 14, "PER"]], "sentiment": "positive"}"#
            }
            Self::Captions => "image,caption\n1234.jpg,An astronaut smiles.",
            Self::Text => "An astronaut smiles.",
        }
    }
}

/// One file of data and how it is to be read, as a configuration lists it. Paths are relative to the
/// configuration's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What reports call it; see [`Source::title`] for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its form; by default that of its ending: `.jsonl` and `.ndjson`, or `.txt`, `.conll` and `.bio`, or `.csv`
    /// (captioned pictures). Plain text has to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The folder of its pictures. CoNLL has none without it; JSON lines name paths below it, or below the
    /// file's own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// Other names for entity types, such as `OTHER = "MISC"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// How its entities are annotated: sources of one style agree. The model learns to tell styles apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<String>,
    /// The types of entity that it marks, where it does not mark all: what it does not mark may still be one of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Split words like `#NBA` into `#` and `NBA`, as Twitter-2017 has them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub split_hashtags: bool,
    /// Leave the pictures out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_images: bool,
    /// Leave the words out: every caption is empty, and no word is tagged.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_text: bool,
    /// Pass over so many samples, from the top.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: usize,
    /// Take only so many samples, after those passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Take only so many of these, drawn at random but the same in every run, in the file's order. (A file that is sorted
    /// by class has to be reduced in this way.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<usize>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

impl Source {
    /// A source with nothing set but its path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// The name, or else the file's name without its ending, after the folder's if the path has one:
    /// `twitter2017/valid` for `../data/twitter2017/valid.txt`.
    pub fn title(&self) -> String {
        let stem = || {
            self.path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let folder = || {
            Some(
                self.path
                    .parent()?
                    .file_name()?
                    .to_string_lossy()
                    .into_owned(),
            )
        };
        self.name.clone().unwrap_or_else(|| match folder() {
            Some(folder) => format!("{folder}/{}", stem()),
            None => stem(),
        })
    }

    fn format(&self) -> anyhow::Result<Format> {
        let ending = self
            .path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        match (self.format, ending.as_str()) {
            (Some(format), _) => Ok(format),
            (None, "jsonl" | "ndjson") => Ok(Format::Jsonl),
            (None, "txt" | "conll" | "bio") => Ok(Format::Conll),
            (None, "csv") => Ok(Format::Captions),
            _ => bail!(
                "cannot tell the form of {}: its ending is none of .jsonl, .ndjson, .txt, .conll, .bio and .csv; \
                 set format to \"jsonl\", \"conll\", \"captions\" or \"text\"",
                self.path.display()
            ),
        }
    }
}

/// Reads a source; its paths are relative to `base`.
///
/// # Errors
/// See [`conll::read`], [`jsonl::read`], [`captions::read`] and [`lines::read`]; and when the form cannot be told, a new name of an entity type
/// is empty, there is not one sample, or one has a type that is not among its source's `labels`.
pub fn read_source(source: &Source, base: &Path) -> anyhow::Result<Vec<Sample>> {
    let samples = read_file(source, base)?;
    let mut samples = chosen(source, samples, &base.join(&source.path))?;
    if let Some(labels) = &source.labels {
        let marked: Arc<[String]> = labels.as_slice().into();
        for sample in &mut samples {
            check_marked(sample, labels).with_context(|| source.title())?;
            sample.marked = Some(Arc::clone(&marked));
        }
    }
    if let Some(style) = &source.style {
        let style: Arc<str> = style.as_str().into();
        for sample in &mut samples {
            // Its own comes first.
            sample.style.get_or_insert_with(|| Arc::clone(&style));
        }
    }
    if source.no_text {
        for sample in &mut samples {
            sample.words.clear();
            sample.tags = None;
            sample.readings = None;
        }
    }
    Ok(samples)
}

/// Checks that a sample has no other types than its source says.
fn check_marked(sample: &Sample, labels: &[String]) -> anyhow::Result<()> {
    let kinds = (sample.tags.iter().flatten()).filter_map(|tag| Some(tag.split_once('-')?.1));
    if let Some(kind) = kinds
        .into_iter()
        .find(|kind| !labels.iter().any(|label| label == kind))
    {
        bail!(
            "sample {} has the type {kind}, but labels names only {}; add it there, or leave labels out",
            sample.id,
            labels.join(", ")
        );
    }
    Ok(())
}

/// All samples of a source's file.
fn read_file(source: &Source, base: &Path) -> anyhow::Result<Vec<Sample>> {
    let path = base.join(&source.path);
    let images = source.images.as_ref().map(|folder| base.join(folder));
    let images = images.as_deref().filter(|_| !source.no_images);
    let mut renamed = source.rename.iter();
    if let Some((kind, name)) = renamed.find(|(_, name)| name.trim().is_empty()) {
        bail!(
            "rename gives {kind:?} the name {name:?} in the source {}; a type must have a name",
            source.title()
        );
    }
    let format = source.format()?;
    ensure!(
        path.exists(),
        "cannot read the data file {}: there is none. Twitter-2015, Twitter-2017, MVSA-Single and Flickr8k come from \
         their authors, as docs/training.md says under Data; for data of your own, write it in this form, line by line:\n{}",
        path.display(),
        format.example()
    );
    match format {
        Format::Conll => conll::read(&path, images, &source.rename, source.split_hashtags),
        Format::Jsonl => {
            let options = jsonl::Options {
                images,
                no_images: source.no_images,
                rename: &source.rename,
                hashtags_apart: source.split_hashtags,
            };
            jsonl::read(&path, options)
        }
        Format::Captions => captions::read(&path, images, source.no_images),
        Format::Text => lines::read(&path),
    }
}

/// Those samples of a file that a source takes.
fn chosen(source: &Source, mut samples: Vec<Sample>, path: &Path) -> anyhow::Result<Vec<Sample>> {
    ensure!(
        !samples.is_empty(),
        "there is not one sample in {}",
        path.display()
    );
    ensure!(
        source.skip < samples.len() && source.limit != Some(0),
        "skip and limit leave nothing of the {} samples in {}",
        samples.len(),
        path.display()
    );
    samples.drain(..source.skip);
    samples.truncate(source.limit.unwrap_or(usize::MAX));
    let Some(amount) = source.sample else {
        return Ok(samples);
    };
    ensure!(
        amount > 0,
        "sample is 0 in the source {}; leave it out to take all",
        source.title()
    );
    Ok(draw(samples, amount))
}

/// Draws `amount` samples; they stay in order. Not by the run's seed: what is compared over seeds shares its data.
fn draw(samples: Vec<Sample>, amount: usize) -> Vec<Sample> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let drawn = rand::seq::index::sample(&mut rng, samples.len(), amount.min(samples.len()));
    let drawn: BTreeSet<usize> = drawn.into_iter().collect();
    let numbered = samples.into_iter().enumerate();
    numbered
        .filter(|(at, _)| drawn.contains(at))
        .map(|(_, sample)| sample)
        .collect()
}

/// The text of a file without its byte order mark.
fn read_text(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the data file {}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        anyhow::anyhow!(
            "{}, line {line}: not UTF-8; convert the file first",
            path.display()
        )
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// An error at a line, counted from 1; the caller adds the file.
fn at_line(number: usize, what: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("line {number}: {what}")
}

#[cfg(test)]
mod tests;
