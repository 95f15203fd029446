//! What a tagged caption is told as.

use serde::Serialize;

use super::Exchange;
use crate::text::splitter::Word;

/// An entity of a caption.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entity {
    /// The type, for instance `PER`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its text, as in the caption.
    pub text: String,
    /// First character, in Unicode scalars from the caption's beginning.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// First word.
    pub first_word: usize,
    /// Last word, itself included.
    pub last_word: usize,
    /// Posterior probability that exactly this span is an entity of this type, 0 to 1.
    pub score: f32,
}

/// The sentiment of a post.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sentiment {
    /// The most probable class.
    pub label: String,
    /// Its probability.
    pub score: f32,
    /// All classes with their probabilities, in the model's order.
    pub probabilities: Vec<(String, f32)>,
}

/// A tagged caption.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tagged {
    /// The words and where they stand.
    #[serde(skip)]
    pub words: Vec<Word>,
    /// One BIO tag for each word; empty when the model has no entity head.
    #[serde(skip)]
    pub tags: Vec<String>,
    /// The entities in the order of the caption.
    pub entities: Vec<Entity>,
    /// The sentiment, when the model has that head and there is a word or a picture to judge.
    pub sentiment: Option<Sentiment>,
    /// What the exchange did, when it was asked for.
    #[serde(skip)]
    pub exchange: Option<Exchange>,
    /// Word pieces of all its windows, the special ones included.
    #[serde(skip)]
    pub pieces: usize,
    /// Windows that the caption was cut into.
    #[serde(skip)]
    pub windows: usize,
}
