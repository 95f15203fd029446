//! The heads: what the model answers. All about a head (module, loss, what becomes of its predictions, scores) is in its own
//! file; here the heads are put together. A further one is a file, and a field in each of these types.

pub mod entities;
mod json;
pub mod score;
pub mod sentiment;

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, ExecutionError, Tensor};
use serde::{Deserialize, Serialize};

use self::entities::{Entity, EntityCounter, EntityHead, EntityReader, EntityScores, Words};
use self::score::{Metrics, Table};
use self::sentiment::{
    Sentiment, SentimentCounter, SentimentHead, SentimentReader, SentimentScores,
};
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
    /// The sentiment, one of [`Names::classes`].
    pub sentiment: Option<sentiment::Label>,
}

/// The labels of a batch, on the device.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    entities: Option<entities::Targets>,
    sentiment: Option<sentiment::Targets>,
}

/// What the heads give. B samples, W words, K tags.
pub struct Outputs {
    /// Emissions `[B, W, K]`; `None` without an entity head or without any word.
    pub entities: Option<Tensor<3>>,
    /// Logits `[B, classes]`; `None` without a sentiment head.
    pub sentiment: Option<Tensor<2>>,
}

/// Parts of the objective, `[1]` each. Those of L_task are of each head that the batch has labels for.
pub type Losses = Vec<(Part, Tensor<1>)>;

/// What the heads gave, read back to the host; a row for each sample.
#[derive(Clone, Debug, Default)]
pub struct Logits {
    /// Emissions, row-major `[words, K]`; empty without an entity head.
    entities: Vec<Vec<f32>>,
    /// Of the classes; empty without a sentiment head.
    sentiment: Vec<Vec<f32>>,
}

/// What the heads answer, as indices into the configuration's lists.
#[derive(Clone, Debug, Default)]
pub struct Predicted {
    /// A tag for each word.
    pub entities: Vec<usize>,
    /// A probability for each class.
    pub sentiment: Vec<f32>,
}

/// What the heads answer, in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) tags: Vec<String>,
    pub(crate) entities: Vec<Entity>,
    pub(crate) sentiment: Option<Sentiment>,
}

impl Names {
    /// Each list, by the name of its setting.
    pub fn lists(&self) -> [(&'static str, &[String]); 2] {
        let Self { tags, classes } = self;
        [("tags", tags), ("classes", classes)]
    }

    /// The lists of the heads that give a class.
    pub fn classifiers(&self) -> Classes<&[String]> {
        let Self { tags: _, classes } = self;
        [(Part::Sentiment, classes.as_slice())].into()
    }

    /// [`Self::classifiers`], to be filled.
    pub fn classifiers_mut(&mut self) -> Classes<&mut Vec<String>> {
        let Self { tags: _, classes } = self;
        [(Part::Sentiment, classes)].into()
    }

    /// Whether there is no head at all.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, names)| names.is_empty())
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let Self { tags, classes } = self;
        entities::validate_tags(tags)?;
        sentiment::validate_classes(classes)
    }
}

impl Heads {
    /// The heads that `config` names, randomly initialised.
    pub(crate) fn new(config: &MuseConfig, device: &Device) -> Self {
        let (d, dropout) = (config.text.width(), config.fusion_dropout);
        let (tags, classes) = (config.names.tags.len(), config.names.classes.len());
        Self {
            entities: (tags > 0).then(|| EntityHead::new(tags, d, dropout, device)),
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
        let entities = self.entities.as_ref().zip(words);
        Outputs {
            entities: entities.map(|(head, words)| head.forward(crossed, words)),
            sentiment: self.sentiment.as_ref().map(|head| head.forward(crossed)),
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
        if let (Some(head), Some(logits), Some(targets)) =
            (&self.sentiment, &outputs.sentiment, &targets.sentiment)
        {
            losses.push((Part::Sentiment, head.loss(logits.clone(), targets)));
        }
        losses
    }
}

impl Labels {
    /// Those of a window: the words at these places.
    pub fn of_window(&self, words: Range<usize>) -> Self {
        Self {
            entities: self.entities.as_ref().map(|tags| tags[words].to_vec()),
            sentiment: self.sentiment.clone(),
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
        let tags: Vec<_> = labels.iter().map(|l| l.entities.as_deref()).collect();
        let classes: Vec<_> = labels.iter().map(|l| l.sentiment.as_ref()).collect();
        Self {
            entities: words.and_then(|words| {
                entities::Targets::new(&tags, words, config.names.tags.len(), device)
            }),
            sentiment: sentiment::Targets::new(&classes, config.names.classes.len(), device),
        }
    }

    /// The parts of the objective that there are labels for.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        let entities = self.entities.as_ref().map(|_| Part::Entities);
        let sentiment = self.sentiment.as_ref().map(|_| Part::Sentiment);
        entities.into_iter().chain(sentiment)
    }
}

/// Outputs on their way to the host.
pub(crate) struct Pending {
    entities: Option<Ticket>,
    sentiment: Option<Ticket>,
}

impl Outputs {
    pub(crate) fn register(self, readback: &mut Readback) -> Pending {
        Pending {
            entities: self.entities.map(|emissions| readback.push(emissions)),
            sentiment: self.sentiment.map(|logits| readback.push(logits)),
        }
    }
}

impl Pending {
    /// The logits of `size` samples.
    pub(crate) fn take(self, numbers: &mut Numbers, words: Option<&Words>, size: usize) -> Logits {
        let none = || vec![Vec::new(); size];
        let entities = self.entities.zip(words);
        Logits {
            entities: entities.map_or_else(none, |(ticket, words)| {
                entities::of_words(&numbers.take(ticket), words)
            }),
            sentiment: self.sentiment.map_or_else(none, |ticket| {
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
    pub(crate) fn append(&mut self, mut next: Self) {
        self.entities.append(&mut next.entities);
        self.sentiment.append(&mut next.sentiment);
    }

    /// Whether all of them are numbers.
    pub(crate) fn are_finite(&self) -> bool {
        let rows = self.entities.iter().chain(&self.sentiment);
        rows.flatten().all(|logit| logit.is_finite())
    }
}

/// From the logits of a caption's windows to its labels: a user's and a trainer's validation go through the same code.
#[derive(Clone, Debug)]
pub struct Labeller {
    entities: Option<EntityReader>,
    sentiment: Option<SentimentReader>,
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
        let classes = &config.names.classes;
        Self {
            entities: crf.map(|crf| EntityReader::new(crf, &mut numbers, &config.names.tags)),
            sentiment: (!classes.is_empty()).then(|| SentimentReader::new(classes)),
        }
    }

    /// Tag of each word and probability of each class. `windows` are those of one caption; `rows` says where they stand in
    /// `logits`.
    pub fn label(&self, windows: &[Window], logits: &Logits, rows: Range<usize>) -> Predicted {
        let tags = self.entities.as_ref().map(|reader| {
            let emissions = reader.join(windows, &logits.entities, rows.clone());
            reader.tags(&emissions)
        });
        let probabilities = self
            .sentiment
            .as_ref()
            .map(|reader| reader.probabilities(&logits.sentiment, rows));
        Predicted {
            entities: tags.unwrap_or_default(),
            sentiment: probabilities.unwrap_or_default(),
        }
    }

    /// [`Self::label`] for people, with confidences. `words` are those of the `caption`.
    pub(crate) fn answer(
        &self,
        windows: &[Window],
        logits: &Logits,
        rows: Range<usize>,
        caption: &str,
        words: &[Word],
    ) -> Answer {
        let found = self.entities.as_ref().map(|reader| {
            let emissions = reader.join(windows, &logits.entities, rows.clone());
            reader.entities(&emissions, caption, words)
        });
        let (tags, entities) = found.unwrap_or_default();
        Answer {
            tags,
            entities,
            sentiment: self
                .sentiment
                .as_ref()
                .and_then(|reader| reader.sentiment(reader.probabilities(&logits.sentiment, rows))),
        }
    }
}

/// Counts what was predicted against what is known; a head is counted from its first label on.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Of the entities.
    pub entities: Option<EntityCounter>,
    /// Of the sentiment.
    pub sentiment: Option<SentimentCounter>,
}

/// The heads' scores; `None` where there was no label.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scores {
    /// Of the entities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities: Option<EntityScores>,
    /// Of the sentiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<SentimentScores>,
}

impl Counters {
    /// Counts a caption.
    pub fn add(&mut self, config: &MuseConfig, gold: &Labels, predicted: &Predicted) {
        if let Some(gold) = &gold.entities {
            let names = |tags: &[usize]| -> Vec<&str> {
                tags.iter()
                    .map(|&tag| config.names.tags[tag].as_str())
                    .collect()
            };
            let counter = self.entities.get_or_insert_default();
            counter.add(&names(gold), &names(&predicted.entities));
        }
        let best = sentiment::likeliest(&predicted.sentiment);
        if let (Some(gold), Some(best)) = (&gold.sentiment, best) {
            let counter = self.sentiment.get_or_insert_default();
            counter.add(
                &config.names.classes[gold.class],
                &config.names.classes[best],
            );
        }
    }

    /// Adds what others have counted.
    pub fn merge(&mut self, other: &Self) {
        if let Some(entities) = &other.entities {
            self.entities.get_or_insert_default().merge(entities);
        }
        if let Some(sentiment) = &other.sentiment {
            self.sentiment.get_or_insert_default().merge(sentiment);
        }
    }

    /// The scores of what was counted so far.
    pub fn scores(&self) -> Scores {
        Scores {
            entities: self.entities.as_ref().map(EntityCounter::scores),
            sentiment: self.sentiment.as_ref().map(SentimentCounter::scores),
        }
    }
}

impl Scores {
    /// Those of each head, for a trainer.
    pub fn metrics(&self, config: &MuseConfig) -> Vec<Metrics> {
        let entities = self.entities.iter().map(|s| s.metrics(&config.names.tags));
        let sentiment = self.sentiment.iter().map(SentimentScores::metrics);
        entities.chain(sentiment).collect()
    }

    /// A table for each head.
    pub fn tables(&self) -> Vec<Table> {
        let entities = self.entities.iter().map(EntityScores::table);
        let sentiment = self.sentiment.iter().map(SentimentScores::table);
        entities.chain(sentiment).collect()
    }
}
