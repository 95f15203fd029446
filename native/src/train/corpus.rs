//! Samples made ready for the model: words in pieces and windows, labels as numbers.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use muse_core::config::MuseConfig;
use muse_core::heads::classifier::Label;
use muse_core::heads::{Classes, Labels};
use muse_core::objective::Part;
use muse_core::text::tokenizer::{EncodedText, TextTokenizer, Window};

use super::config::{LossWeights, TrainConfig, TrainSection};
use crate::data::views::View;
use crate::data::{Given, Sample, read_source, readings};

/// A caption in windows, with its labels and its picture's file.
#[derive(Clone, Debug)]
pub struct Post {
    /// The text windows; at least one.
    pub windows: Vec<Window>,
    /// Each window in small letters, and in capitals; none where the captions are shown as they are.
    pub recased: Vec<[EncodedText; 2]>,
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

/// The samples that a configuration names, by their sources.
pub struct Samples {
    /// What is trained on.
    pub train: Vec<(String, Vec<Sample>)>,
    /// What is scored after each epoch.
    pub valid: Vec<(String, Vec<Sample>)>,
}

impl Samples {
    /// Reads all sources.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or the training data have nothing to teach.
    pub fn read(config: &TrainConfig) -> anyhow::Result<Self> {
        let valid = config.data.valid.iter();
        let valid =
            valid.map(|source| Ok((source.title(), read_source(source, &config.data_folder())?)));
        let samples = Self {
            train: config.training_samples()?,
            valid: valid.collect::<anyhow::Result<_>>()?,
        };
        let partly = config
            .data
            .valid
            .iter()
            .find(|source| source.labels.is_some());
        if let Some(source) = partly {
            bail!(
                "the validation source {} has labels: what it does not mark cannot be scored; leave labels out, or the source",
                source.title()
            );
        }
        check_labels(samples.training().into_iter(), &config.train.weights)?;
        Ok(samples)
    }

    /// All that is trained on.
    pub fn training(&self) -> Vec<&Sample> {
        self.train.iter().flat_map(|(_, samples)| samples).collect()
    }
}

/// A validation set: its name and its posts among all.
#[derive(Clone, Debug)]
pub struct ValidSet {
    /// What reports call it.
    pub title: String,
    /// Its posts.
    pub posts: Range<usize>,
}

/// All posts of a run.
pub struct Corpus {
    /// What is trained on.
    pub train: Vec<Post>,
    /// What is scored after each epoch, all sets one after the other.
    pub valid: Vec<Post>,
    /// Which of these are which set's.
    pub sets: Vec<ValidSet>,
}

impl Corpus {
    /// Prepares samples for a model.
    ///
    /// # Errors
    ///
    /// When a label is not among those of `model`, as can happen in validation data or with `--init`, or photos are to be shown
    /// where they do not belong and there is none.
    pub fn prepare(
        samples: Samples,
        train: &TrainSection,
        model: &MuseConfig,
        tokenizer: &TextTokenizer,
    ) -> anyhow::Result<Self> {
        let mut corpus = Self {
            train: Vec::new(),
            valid: Vec::new(),
            sets: Vec::new(),
        };
        for (title, samples) in samples.train {
            let preparation = Preparation {
                recased: train.recased > 0.0,
                ..Preparation::new(&title, model, tokenizer)
            };
            corpus.train.extend(preparation.posts(samples)?);
        }
        for (title, samples) in samples.valid {
            let preparation = Preparation::new(&title, model, tokenizer);
            let first = corpus.valid.len();
            corpus.valid.extend(preparation.posts(samples)?);
            let posts = first..corpus.valid.len();
            corpus.sets.push(ValidSet { title, posts });
        }
        ensure!(
            train.stray_photos == 0.0 || corpus.train.iter().any(|post| post.image.is_some()),
            "train.stray_photos is {}, but the training data has no photo; set it to 0 or add a source with photos",
            train.stray_photos
        );
        Ok(corpus)
    }

    /// Every picture in every view that it is shown in; `views` are those of a training photo.
    pub fn pictures(&self, views: u32) -> Vec<(PathBuf, View)> {
        let crops = pictures(&self.train).into_iter();
        let crops = crops.flat_map(|path| (1..views).map(move |view| (path.clone(), View(view))));
        let whole = pictures(self.train.iter().chain(&self.valid)).into_iter();
        crops.chain(whole.map(|path| (path, View::WHOLE))).collect()
    }
}

/// How the samples of a source become posts.
struct Preparation<'a> {
    /// What errors call the source.
    title: &'a str,
    config: &'a MuseConfig,
    tokenizer: &'a TextTokenizer,
    /// Whether windows are prepared in other cases too.
    recased: bool,
}

impl<'a> Preparation<'a> {
    fn new(title: &'a str, config: &'a MuseConfig, tokenizer: &'a TextTokenizer) -> Self {
        Self {
            title,
            config,
            tokenizer,
            recased: false,
        }
    }

    fn posts(&self, samples: Vec<Sample>) -> anyhow::Result<Vec<Post>> {
        let posts = samples.into_iter().map(|sample| self.post(sample));
        posts.collect()
    }

    fn post(&self, sample: Sample) -> anyhow::Result<Post> {
        let windows = self
            .tokenizer
            .windows(&sample.words, self.config.max_pieces);
        let recased = match self.recased {
            true => self.recased(&sample.words, &windows),
            false => Vec::new(),
        };
        let mut post = Post {
            windows,
            recased,
            labels: Labels {
                entities: self.tags(&sample)?,
                readings: self.readings(&sample)?,
                style: self.style(&sample)?,
                hidden: self.hidden(&sample)?,
                classes: self.classes(&sample)?,
            },
            image: sample.image,
            tokens: None,
        };
        let decoders = self.config.decoders.as_ref();
        let captioner = decoders.and_then(|decoders| decoders.captioner.as_ref());
        post.tokens = captioner.filter(|_| post.is_pair()).map(|captioner| {
            let pieces = &post.windows[0].encoded.pieces;
            captioner.vocabulary.encode(&pieces[1..pieces.len() - 1])
        });
        Ok(post)
    }

    /// None where another case has other windows, as it may for an encoder that minds the case.
    fn recased(&self, words: &[String], windows: &[Window]) -> Vec<[EncodedText; 2]> {
        let in_case = |change: fn(&str) -> String| {
            let words: Vec<String> = words.iter().map(|word| change(word)).collect();
            self.tokenizer.windows(&words, self.config.max_pieces)
        };
        let [small, large] = [in_case(str::to_lowercase), in_case(str::to_uppercase)];
        let agrees = |other: &[Window]| {
            let ranges = |windows: &[Window]| -> Vec<_> {
                windows.iter().map(|window| window.words.clone()).collect()
            };
            ranges(other) == ranges(windows)
        };
        match agrees(&small) && agrees(&large) {
            true => (small.into_iter().zip(large))
                .map(|(small, large)| [small.encoded, large.encoded])
                .collect(),
            false => Vec::new(),
        }
    }

    /// A model without a head ignores that head's labels.
    fn tags(&self, sample: &Sample) -> anyhow::Result<Option<Vec<usize>>> {
        let tags = sample.tags.as_ref();
        let tags = tags.filter(|_| !self.config.names.tags.is_empty());
        tags.map(|tags| self.numbers(tags, sample)).transpose()
    }

    /// As [`Self::tags`].
    fn readings(&self, sample: &Sample) -> anyhow::Result<Vec<(f32, Vec<usize>)>> {
        let readings = sample.readings.iter().flatten();
        let readings =
            readings.filter(|(_, share)| **share > 0.0 && !self.config.names.tags.is_empty());
        let readings = readings.map(|(reading, share)| {
            let tags = self.numbers(&readings::apart(reading), sample)?;
            Ok((*share as f32, tags))
        });
        readings.collect()
    }

    fn numbers(&self, tags: &[String], sample: &Sample) -> anyhow::Result<Vec<usize>> {
        let names = &self.config.names.tags;
        let tags = tags.iter();
        tags.map(|tag| self.known(names, tag, "tag", sample))
            .collect()
    }

    /// A model that tells no styles apart ignores them.
    fn style(&self, sample: &Sample) -> anyhow::Result<Option<usize>> {
        let styles = &self.config.names.styles.names;
        let style = sample.style.as_deref().filter(|_| !styles.is_empty());
        style
            .map(|style| self.known(styles, style, "style", sample))
            .transpose()
    }

    /// The tags of types that the sample's source does not mark.
    fn hidden(&self, sample: &Sample) -> anyhow::Result<Arc<[usize]>> {
        let Some(marked) = &sample.marked else {
            return Ok(Arc::default());
        };
        let kinds = self.config.names.tags.iter().map(|tag| tag.split_once('-'));
        let kinds: Vec<Option<&str>> = kinds.map(|parts| Some(parts?.1)).collect();
        for label in marked.iter().filter(|_| !kinds.is_empty()) {
            ensure!(
                kinds.contains(&Some(label)),
                "{}: labels names the type {label:?}, which is not one that the model knows; take it out, or rename it",
                self.title
            );
        }
        let hidden = kinds.iter().enumerate().filter_map(|(tag, kind)| {
            let kind = (*kind)?;
            (!marked.iter().any(|label| label == kind)).then_some(tag)
        });
        Ok(hidden.collect())
    }

    /// As [`Self::tags`].
    fn classes(&self, sample: &Sample) -> anyhow::Result<Classes<Label>> {
        let names = self.config.names.classifiers().into_iter();
        let labels = names.filter_map(|(head, names)| {
            let given = sample.classes.get(&head).filter(|_| !names.is_empty())?;
            let label = self.class(names, given, sample);
            Some(label.map(|label| (head, label)))
        });
        labels.collect()
    }

    fn class(&self, names: &[String], given: &Given, sample: &Sample) -> anyhow::Result<Label> {
        let known = |class: &str| self.known(names, class, "class", sample);
        let class = known(&given.label)?;
        let mut target = vec![0.0; names.len()];
        match &given.shares {
            None => target[class] = 1.0,
            Some(shares) => {
                for (class, share) in shares.iter().filter(|(_, share)| **share > 0.0) {
                    target[known(class)?] = *share as f32;
                }
            }
        }
        Ok(Label { class, target })
    }

    fn known(
        &self,
        names: &[String],
        name: &str,
        what: &str,
        sample: &Sample,
    ) -> anyhow::Result<usize> {
        let number = names.iter().position(|known| known == name);
        number.with_context(|| {
            format!(
                "{}, sample {}: the {what} {name:?} is not one that the model knows ({}); \
                 rename it in the source, or add training data that has it",
                self.title,
                sample.id,
                names.join(", ")
            )
        })
    }
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
fn check_labels<'a>(
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
    let counts = |head| weights.of(head) > 0.0;
    let weight = |head: Part| format!("train.weights.{} is {}", head.name(), weights.of(head));
    ensure!(
        samples.any(|sample| counts(Part::Entities) && sample.tags.is_some()
            || sample.classes.keys().any(|head| counts(*head))),
        "no training sample carries a label that counts; {}",
        Part::HEADS.map(weight).join(", ")
    );
    Ok(())
}
