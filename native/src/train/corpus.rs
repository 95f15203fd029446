//! Samples made ready for the model: words in pieces and windows, labels as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use muse_core::config::MuseConfig;
use muse_core::text::tokenizer::{TextTokenizer, Window};

use crate::data::Sample;

/// A caption in windows, with its labels and its picture's file.
#[derive(Clone, Debug)]
pub struct Post {
    /// The text windows; at least one.
    pub windows: Vec<Window>,
    /// Index of each word's tag.
    pub tags: Option<Vec<usize>>,
    /// Index of the sentiment class.
    pub sentiment: Option<usize>,
    /// The picture.
    pub image: Option<PathBuf>,
}

/// Prepares samples; `title` names their source in errors.
///
/// # Errors
///
/// When a label is not among those of `config`, as can happen in validation data or with `--init`.
pub fn prepare(
    samples: Vec<Sample>,
    title: &str,
    config: &MuseConfig,
    tokenizer: &TextTokenizer,
) -> anyhow::Result<Vec<Post>> {
    let index =
        |names: &[String]| -> BTreeMap<String, usize> { names.iter().cloned().zip(0..).collect() };
    let (tags, classes) = (index(&config.tags), index(&config.classes));
    samples
        .into_iter()
        .map(|sample| {
            let windows = tokenizer.windows(&sample.words, config.max_pieces);
            let known = |names: &BTreeMap<String, usize>, name: &str, what: &str| {
                names.get(name).copied().with_context(|| {
                    format!(
                        "{title}, sample {}: the {what} {name:?} is not one that the model knows ({}); \
                         rename it in the source, or add training data that has it",
                        sample.id,
                        names.keys().cloned().collect::<Vec<_>>().join(", ")
                    )
                })
            };
            // A model without a head ignores that head's labels.
            let tags = match (&sample.tags, config.tags.is_empty()) {
                (Some(own), false) => Some(
                    own.iter()
                        .map(|tag| known(&tags, tag, "tag"))
                        .collect::<anyhow::Result<Vec<_>>>()?,
                ),
                _ => None,
            };
            let sentiment = match (&sample.sentiment, config.classes.is_empty()) {
                (Some(class), false) => Some(known(&classes, class, "class")?),
                _ => None,
            };
            Ok(Post {
                windows,
                tags,
                sentiment,
                image: sample.image,
            })
        })
        .collect()
}

/// Every picture that occurs, once, in a fixed order.
pub fn pictures<'a>(posts: impl IntoIterator<Item = &'a Post>) -> Vec<PathBuf> {
    let distinct: BTreeSet<_> = posts.into_iter().filter_map(|p| p.image.clone()).collect();
    distinct.into_iter().collect()
}

/// Checks that training data can teach something.
///
/// # Errors
///
/// When there is no sample, or none with a label.
pub fn check_labels<'a>(
    mut samples: impl Iterator<Item = &'a Sample> + Clone,
) -> anyhow::Result<()> {
    ensure!(
        samples.clone().next().is_some(),
        "there is no training data; list at least one source under [[data.train]]"
    );
    ensure!(
        samples.any(|s| s.tags.is_some() || s.sentiment.is_some()),
        "no training sample carries a label: entities, tags or sentiment"
    );
    Ok(())
}
