//! Samples made ready for the model: words in pieces and windows, labels as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use muse_core::config::MuseConfig;
use muse_core::heads::Labels;
use muse_core::heads::sentiment::Label;
use muse_core::text::tokenizer::{TextTokenizer, Window};

use super::config::LossWeights;
use crate::data::Sample;

/// A caption in windows, with its labels and its picture's file.
#[derive(Clone, Debug)]
pub struct Post {
    /// The text windows; at least one.
    pub windows: Vec<Window>,
    /// What is known of it.
    pub labels: Labels,
    /// The picture.
    pub image: Option<PathBuf>,
    /// What the captioner is to say of the picture: the first window's pieces in its vocabulary, start to end. `None`
    /// without a captioner, a picture or a word.
    pub tokens: Option<Vec<u32>>,
}

impl Post {
    /// Whether the decoders can learn from it: it has a picture, and words to go with it.
    pub fn is_pair(&self) -> bool {
        self.image.is_some() && !self.windows[0].words.is_empty()
    }
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
                (Some(class), false) => {
                    let class = known(&classes, class, "class")?;
                    let mut target = vec![0.0; classes.len()];
                    match &sample.shares {
                        None => target[class] = 1.0,
                        Some(shares) => {
                            for (class, share) in shares.iter().filter(|(_, share)| **share > 0.0) {
                                target[known(&classes, class, "class")?] = *share as f32;
                            }
                        }
                    }
                    Some(Label { class, target })
                }
                _ => None,
            };
            let captioner = config.decoders.as_ref().and_then(|d| d.captioner.as_ref());
            let mut post = Post {
                windows,
                labels: Labels {
                    entities: tags,
                    sentiment,
                },
                image: sample.image,
                tokens: None,
            };
            post.tokens = captioner.filter(|_| post.is_pair()).map(|captioner| {
                let pieces = &post.windows[0].encoded.pieces;
                captioner.vocabulary.encode(&pieces[1..pieces.len() - 1])
            });
            Ok(post)
        })
        .collect()
}

/// Every picture that occurs, once, in a fixed order.
pub fn pictures<'a>(posts: impl IntoIterator<Item = &'a Post>) -> Vec<PathBuf> {
    let distinct: BTreeSet<_> = posts.into_iter().filter_map(|p| p.image.clone()).collect();
    distinct.into_iter().collect()
}

/// Checks that training data can teach something that has a weight in the objective.
///
/// # Errors
///
/// When there is no sample, or none with a label that counts, or decoders have nothing to learn from.
pub fn check_labels<'a>(
    mut samples: impl Iterator<Item = &'a Sample> + Clone,
    weights: &LossWeights,
) -> anyhow::Result<()> {
    ensure!(
        samples.clone().next().is_some(),
        "there is no training data; list at least one source under [[data.train]]"
    );
    if weights.captioning + weights.generation > 0.0 {
        ensure!(
            samples
                .clone()
                .any(|s| s.image.is_some() && !s.words.is_empty()),
            "the decoders learn from captions with their pictures, but no training sample has both; add a source with \
             photos, or set train.weights.captioning and train.weights.generation to 0"
        );
        return Ok(());
    }
    let (entities, sentiment) = (weights.entities > 0.0, weights.sentiment > 0.0);
    ensure!(
        samples.any(|s| entities && s.tags.is_some() || sentiment && s.sentiment.is_some()),
        "no training sample carries a label that counts: entities or tags (train.weights.entities is {}), or sentiment \
         (train.weights.sentiment is {})",
        weights.entities,
        weights.sentiment
    );
    Ok(())
}
