//! What a tagged caption is told as, and its JSON: the one that programs get natively and in a browser.

use std::ops::Range;

use serde::Serialize;

use super::{Exchange, PreparedCaption};
use crate::heads::Labeller;
use crate::heads::classifier::Class;
use crate::heads::entities::Entity;
use crate::model::Predictions;
use crate::objective::Part;
use crate::text::splitter::Word;

/// A tagged caption.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tagged {
    /// The words and where they stand.
    pub words: Vec<Word>,
    /// One BIO tag for each word; empty when the model has no entity head. The JSON has the entities that they spell.
    #[serde(skip)]
    pub tags: Vec<String>,
    /// What else the tags might be, as [`Tagger::set_readings`](super::Tagger::set_readings) says, the likeliest first, with their
    /// probabilities.
    #[serde(skip)]
    pub readings: Vec<(Vec<String>, f64)>,
    /// The entities in the order of the caption.
    pub entities: Vec<Entity>,
    /// The sentiment, when the model has that head and there is a word or a picture to judge.
    pub sentiment: Option<Class>,
    /// Word pieces of all its windows, the special ones included.
    pub pieces: usize,
    /// Windows that the caption was cut into.
    pub windows: usize,
    /// What the exchange did, when it was asked for.
    pub exchange: Option<Exchange>,
}

impl Tagged {
    /// What was predicted of a caption, whose windows have these `rows`.
    pub(super) fn new(
        caption: PreparedCaption,
        labeller: &Labeller,
        predictions: &Predictions,
        rows: Range<usize>,
        style: Option<usize>,
        readings: usize,
    ) -> Self {
        let (words, windows) = (caption.words, caption.windows);
        let (logits, trace) = (&predictions.logits, predictions.trace.get(rows.clone()));
        let (tags, entities) =
            labeller.entities(&windows, logits, rows.clone(), &caption.text, &words, style);
        let readings = match readings {
            0 => Vec::new(),
            count => labeller.readings(&windows, logits, rows.clone(), style, count),
        };
        let mut classes = labeller.classes(logits, rows);
        let something = caption.pictured || !words.is_empty();
        Self {
            tags,
            readings,
            entities,
            // Of nothing there is no sentiment.
            sentiment: classes.remove(&Part::Sentiment).filter(|_| something),
            pieces: windows.iter().map(|w| w.encoded.pieces.len()).sum(),
            windows: windows.len(),
            exchange: trace.map(|t| Exchange::new(words.len(), &windows, t, caption.pictured)),
            words,
        }
    }

    /// The classes that there are, and the heads that gave them.
    pub fn classes(&self) -> impl Iterator<Item = (Part, &Class)> {
        Part::HEADS.into_iter().filter_map(|head| {
            let class = match head {
                Part::Sentiment => self.sentiment.as_ref(),
                Part::Entities | Part::Captioning | Part::Generation => None,
            };
            Some((head, class?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_documented_shape() {
        let tagged = Tagged {
            words: crate::text::splitter::split("In Köln"),
            tags: vec!["O".into(), "B-LOC".into()],
            readings: Vec::new(),
            entities: vec![Entity {
                kind: "LOC".into(),
                text: "Köln".into(),
                start: 3,
                end: 7,
                first_word: 1,
                last_word: 1,
                score: 0.1,
            }],
            sentiment: Some(Class {
                label: "positive".into(),
                score: 2.0 / 3.0,
                probabilities: vec![
                    ("positive".into(), 2.0 / 3.0),
                    ("neutral".into(), 1.0 / 3.0),
                ],
            }),
            pieces: 5,
            windows: 1,
            exchange: None,
        };
        let expected = concat!(
            r#"{"words":[{"start":0,"end":2},{"start":3,"end":7}],"#,
            r#""entities":[{"type":"LOC","text":"Köln","start":3,"end":7,"first_word":1,"last_word":1,"score":0.1}],"#,
            r#""sentiment":{"label":"positive","score":0.666667,"probabilities":{"positive":0.666667,"neutral":0.333333}},"#,
            r#""pieces":5,"windows":1,"exchange":null}"#
        );
        assert_eq!(serde_json::to_string(&tagged).expect("JSON"), expected);
    }
}
