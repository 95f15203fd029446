//! The heads: what the model answers. All about a head (module, loss, what becomes of its predictions, scores) is in its own
//! file, or in [`classifier`] where it gives a class; here the heads are put together. One more that gives a class is a field in
//! [`Names`] and [`Heads`]; one that gives anything else is a field in each of these types.

pub mod calibration;
pub mod classifier;
mod counters;
pub mod entities;
mod json;
pub mod score;
pub mod sentiment;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, ExecutionError, Tensor};
use serde::{Deserialize, Serialize};

pub use self::calibration::Calibration;
use self::classifier::Class;
pub use self::counters::{Counters, Scores};
use self::entities::{Entity, EntityHead, EntityReader, Styles, Words};
use self::sentiment::SentimentHead;
use crate::config::MuseConfig;
use crate::exchange::Crossed;
use crate::layers::readback::{Numbers, Readback, Ticket};
use crate::load::Packing;
use crate::objective::Part;
use crate::text::splitter::Word;
use crate::text::tokenizer::Window;
use crate::validate::ConfigError;

/// Something of each head that gives a class.
pub type Classes<T> = BTreeMap<Part, T>;

/// What the heads choose from. A head that has nothing to choose from is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Names {
    /// The BIO tags, `O` first; the entity head's.
    pub tags: Vec<String>,
    /// The sentiment classes.
    pub classes: Vec<String>,
    /// How the entities may be annotated.
    #[serde(default, skip_serializing_if = "Styles::is_empty")]
    pub styles: Styles,
}

/// The heads that a model has.
#[derive(Module, Debug)]
pub struct Heads {
    /// The entity head.
    pub entities: Option<EntityHead>,
    /// The sentiment head.
    pub sentiment: Option<SentimentHead>,
}

/// What is known of a caption, or of a window of one: what the heads learn from and are scored by.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Tag of each word, as an index into [`Names::tags`].
    pub entities: Option<Vec<usize>>,
    /// Where these are not certain: what they may be all in all, and the share of each; the head then learns these. They sum to 1.
    pub readings: Vec<(f32, Vec<usize>)>,
    /// How they are annotated, as an index into the names of [`Names::styles`]; `None` as where nobody asks for a style.
    pub style: Option<usize>,
    /// Tags of types that were not looked for: an `O` may stand for any of them.
    pub hidden: Arc<[usize]>,
    /// The classes, of those in [`Names::classifiers`].
    pub classes: Classes<classifier::Label>,
}

/// The labels of a batch, on the device.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    entities: Option<entities::Targets>,
    classes: Classes<classifier::Targets>,
}

/// What the heads give. B samples, W words, K tags.
pub struct Outputs {
    /// Emissions, and what each of the S styles adds to them, `[B, W, (1 + S)·K]`; `None` without an entity head or without any word.
    pub entities: Option<Tensor<3>>,
    /// Logits `[B, classes]` of each head that there is.
    pub classes: Classes<Tensor<2>>,
}

/// Parts of the objective, `[1]` each. Those of L_task are of each head that the batch has labels for.
pub type Losses = Vec<(Part, Tensor<1>)>;

/// What the heads gave, read back to the host; a row for each sample.
#[derive(Clone, Debug, Default)]
pub struct Logits {
    /// Emissions and their shifts, row-major `[words, (1 + S)·K]`; empty without an entity head.
    entities: Vec<Vec<f32>>,
    /// Of the classes.
    classes: Classes<Vec<Vec<f32>>>,
}

/// What the heads answer, as indices into [`Names`].
#[derive(Clone, Debug, Default)]
pub struct Predicted {
    /// A tag for each word.
    pub entities: Vec<usize>,
    /// A probability for each class.
    pub classes: Classes<Vec<f32>>,
}

impl Names {
    /// Each list, by the name of its setting.
    pub fn lists(&self) -> [(&'static str, &[String]); 2] {
        let Self { tags, classes, .. } = self;
        [("tags", tags), ("classes", classes)]
    }

    /// The lists of the heads that give a class.
    pub fn classifiers(&self) -> Classes<&[String]> {
        let Self { classes, .. } = self;
        [(Part::Sentiment, classes.as_slice())].into()
    }

    /// [`Self::classifiers`], to be filled.
    pub fn classifiers_mut(&mut self) -> Classes<&mut Vec<String>> {
        let Self { classes, .. } = self;
        [(Part::Sentiment, classes)].into()
    }

    /// Whether there is no head at all.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, names)| names.is_empty())
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let Self {
            tags,
            classes,
            styles,
        } = self;
        entities::validate_tags(tags)?;
        styles.validate()?;
        classifier::validate_classes("classes", classes)
    }
}

impl Heads {
    /// The heads that `config` names, randomly initialised.
    pub(crate) fn new(config: &MuseConfig, device: &Device) -> Self {
        let (d, dropout) = (config.text.width(), config.fusion_dropout);
        let (tags, classes) = (config.names.tags.len(), config.names.classes.len());
        let styles = config.names.styles.names.len();
        Self {
            entities: (tags > 0).then(|| EntityHead::new(tags, styles, d, dropout, device)),
            sentiment: (classes > 0).then(|| SentimentHead::new(classes, d, dropout, device)),
        }
    }

    /// Takes weights from a model file, as it has them.
    pub(crate) fn pack(&mut self, weights: &mut Packing) {
        if let Some(head) = &mut self.entities {
            head.pack("entities", weights);
        }
        if let Some(head) = &mut self.sentiment {
            head.pack("sentiment", weights);
        }
    }

    pub(crate) fn forward(&self, crossed: &Crossed, words: Option<&Words>) -> Outputs {
        let Self {
            entities,
            sentiment,
        } = self;
        let entities = entities.as_ref().zip(words);
        let sentiment = sentiment
            .iter()
            .map(|head| (Part::Sentiment, head.forward(crossed)));
        Outputs {
            entities: entities.map(|(head, words)| head.forward(crossed, words)),
            classes: sentiment.collect(),
        }
    }

    pub(crate) fn losses(
        &self,
        outputs: &Outputs,
        targets: &Targets,
        words: Option<&Words>,
    ) -> Losses {
        let mut losses = Losses::new();
        if let (Some(head), Some(emissions), Some(targets), Some(words)) =
            (&self.entities, &outputs.entities, &targets.entities, words)
        {
            let loss = head.loss(emissions.clone(), targets, words);
            losses.push((Part::Entities, loss));
        }
        for (head, targets) in &targets.classes {
            if let Some(logits) = outputs.classes.get(head) {
                losses.push((*head, targets.loss(logits.clone())));
            }
        }
        losses
    }
}

impl Labels {
    /// Those of a window: the words at these places.
    pub fn of_window(&self, words: Range<usize>) -> Self {
        Self {
            entities: (self.entities.as_ref()).map(|tags| tags[words.clone()].to_vec()),
            readings: (self.readings.iter())
                .map(|(share, tags)| (*share, tags[words.clone()].to_vec()))
                .collect(),
            style: self.style,
            hidden: Arc::clone(&self.hidden),
            classes: self.classes.clone(),
        }
    }
}

impl Targets {
    pub(crate) fn new(
        labels: &[&Labels],
        words: Option<&Words>,
        config: &MuseConfig,
        device: &Device,
    ) -> Self {
        let (kinds, styles) = (config.names.tags.len(), &config.names.styles);
        let entities = words.and_then(|words| {
            let targets = entities::Targets::new(labels, words, kinds, device)?;
            let asked: Vec<_> = labels.iter().map(|label| label.style).collect();
            Some(targets.with_styles(&asked, styles, device))
        });
        let classes = config.names.classifiers().into_iter();
        let classes = classes.filter_map(|(head, names)| {
            let labels: Vec<_> = labels.iter().map(|l| l.classes.get(&head)).collect();
            let targets = classifier::Targets::new(&labels, names.len(), device);
            Some((head, targets?))
        });
        Self {
            entities,
            classes: classes.collect(),
        }
    }

    /// The parts of the objective that there are labels for.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        let Self { entities, classes } = self;
        let entities = entities.iter().map(|_| Part::Entities);
        entities.chain(classes.keys().copied())
    }
}

/// Outputs on their way to the host.
pub(crate) struct Pending {
    entities: Option<Ticket>,
    classes: Classes<Ticket>,
}

impl Outputs {
    pub(crate) fn register(self, readback: &mut Readback) -> Pending {
        Pending {
            entities: self.entities.map(|emissions| readback.push(emissions)),
            classes: each(self.classes, |logits| readback.push(logits)),
        }
    }
}

impl Pending {
    /// The logits of `size` samples.
    pub(crate) fn take(self, numbers: &mut Numbers, words: Option<&Words>, size: usize) -> Logits {
        let entities = (self.entities.zip(words))
            .map(|(ticket, words)| entities::of_words(&numbers.take(ticket), words));
        Logits {
            entities: entities.unwrap_or_else(|| vec![Vec::new(); size]),
            classes: each(self.classes, |ticket| {
                let logits = numbers.take(ticket);
                logits.rows().map(<[f32]>::to_vec).collect()
            }),
        }
    }
}

impl Logits {
    /// Number of samples.
    pub(crate) fn len(&self) -> usize {
        self.entities.len()
    }

    /// Adds the samples that follow.
    pub(crate) fn append(&mut self, next: Self) {
        let Self { entities, classes } = next;
        self.entities.extend(entities);
        for (head, logits) in classes {
            self.classes.entry(head).or_default().extend(logits);
        }
    }

    /// Whether all of them are numbers.
    pub(crate) fn are_finite(&self) -> bool {
        let Self { entities, classes } = self;
        let rows = entities.iter().chain(classes.values().flatten());
        rows.flatten().all(|logit| logit.is_finite())
    }
}

/// From the logits of a caption's windows to its labels: a user's and a trainer's validation go through the same code.
#[derive(Clone, Debug)]
pub struct Labeller {
    entities: Option<EntityReader>,
    classes: Classes<Vec<String>>,
    calibration: Calibration,
}

impl Labeller {
    /// Reads what decoding needs from the heads of a model of `config`, and waits for it.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn new(heads: &Heads, config: &MuseConfig) -> Result<Self, ExecutionError> {
        let (readback, crf) = Self::register(heads);
        Ok(Self::assemble(config, crf, readback.execute()?))
    }

    /// [`Self::new`] without blocking.
    pub(crate) async fn new_async(
        heads: &Heads,
        config: &MuseConfig,
    ) -> Result<Self, ExecutionError> {
        let (readback, crf) = Self::register(heads);
        Ok(Self::assemble(config, crf, readback.execute_async().await?))
    }

    fn register(heads: &Heads) -> (Readback, Option<[Ticket; 3]>) {
        let mut readback = Readback::default();
        let entities = heads.entities.as_ref();
        let crf = entities.map(|head| EntityReader::register(head, &mut readback));
        (readback, crf)
    }

    fn assemble(config: &MuseConfig, crf: Option<[Ticket; 3]>, mut numbers: Numbers) -> Self {
        let names = &config.names;
        let mut classes = names.classifiers();
        classes.retain(|_, names| !names.is_empty());
        Self {
            entities: crf.map(|crf| EntityReader::new(crf, &mut numbers, names)),
            classes: each(classes, <[_]>::to_vec),
            calibration: config.calibration.clone(),
        }
    }

    /// Tag of each word, in a style, and probability of each class. `windows` are those of one caption; `rows` says where they stand in
    /// `logits`.
    pub fn label(
        &self,
        windows: &[Window],
        logits: &Logits,
        rows: Range<usize>,
        style: Option<usize>,
    ) -> Predicted {
        let tags = self.entities.as_ref().map(|reader| {
            let emissions = reader.join(windows, &logits.entities[rows.clone()], style);
            reader.tags(&emissions)
        });
        Predicted {
            entities: tags.unwrap_or_default(),
            classes: self.probabilities(logits, rows),
        }
    }

    fn probabilities(&self, logits: &Logits, rows: Range<usize>) -> Classes<Vec<f32>> {
        let answers = self.classes.iter().filter_map(|(head, names)| {
            let windows = &logits.classes.get(head)?[rows.clone()];
            let temperature = self.calibration.temperatures.get(head).copied();
            let temperature = temperature.unwrap_or(1.0);
            Some((
                *head,
                classifier::probabilities(windows, names.len(), temperature),
            ))
        });
        answers.collect()
    }

    /// [`Self::label`] for people: the tags' names, and the entities that they make of the `words` of a `caption`.
    pub(crate) fn entities(
        &self,
        windows: &[Window],
        logits: &Logits,
        rows: Range<usize>,
        caption: &str,
        words: &[Word],
        style: Option<usize>,
    ) -> (Vec<String>, Vec<Entity>) {
        let found = self.entities.as_ref().map(|reader| {
            let emissions = reader.join(windows, &logits.entities[rows], style);
            let scaling = self.calibration.entities.get(reader.place(style));
            let scaling = scaling.copied().unwrap_or_default();
            reader.entities(&emissions, caption, words, scaling)
        });
        found.unwrap_or_default()
    }

    /// The `count` likeliest sequences of tags of a caption's words, and their probabilities; none without an entity head.
    pub(crate) fn readings(
        &self,
        windows: &[Window],
        logits: &Logits,
        rows: Range<usize>,
        style: Option<usize>,
        count: usize,
    ) -> Vec<(Vec<String>, f64)> {
        let found = self.entities.as_ref().map(|reader| {
            let emissions = reader.join(windows, &logits.entities[rows], style);
            reader.readings(&emissions, count)
        });
        found.unwrap_or_default()
    }

    /// [`Self::label`] for people: the classes.
    pub(crate) fn classes(&self, logits: &Logits, rows: Range<usize>) -> Classes<Class> {
        let answers = self.probabilities(logits, rows).into_iter();
        let class = |(head, answer)| Some((head, Class::new(&self.classes[&head], answer)?));
        answers.filter_map(class).collect()
    }
}

/// `change` of each head's.
fn each<T, U>(all: Classes<T>, mut change: impl FnMut(T) -> U) -> Classes<U> {
    let all = all.into_iter();
    all.map(|(head, one)| (head, change(one))).collect()
}
