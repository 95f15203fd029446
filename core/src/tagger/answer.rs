//! What a tagged caption is told as.

use serde::Serialize;

use super::Exchange;
use crate::heads::entities::Entity;
use crate::heads::sentiment::Sentiment;
use crate::text::splitter::Word;

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
