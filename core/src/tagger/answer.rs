//! What a tagged caption is told as, and its JSON: the one that programs get natively and in a browser.

use serde::{Serialize, Serializer};

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
    #[serde(serialize_with = "probability")]
    pub score: f32,
}

/// The sentiment of a post.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sentiment {
    /// The most probable class.
    pub label: String,
    /// Its probability.
    #[serde(serialize_with = "probability")]
    pub score: f32,
    /// All classes with their probabilities, in the model's order; in JSON an object.
    #[serde(serialize_with = "by_class")]
    pub probabilities: Vec<(String, f32)>,
}

/// A tagged caption.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tagged {
    /// The words and where they stand.
    pub words: Vec<Word>,
    /// One BIO tag for each word; empty when the model has no entity head. The JSON has the entities that they spell.
    #[serde(skip)]
    pub tags: Vec<String>,
    /// The entities in the order of the caption.
    pub entities: Vec<Entity>,
    /// The sentiment, when the model has that head and there is a word or a picture to judge.
    pub sentiment: Option<Sentiment>,
    /// Word pieces of all its windows, the special ones included.
    pub pieces: usize,
    /// Windows that the caption was cut into.
    pub windows: usize,
    /// What the exchange did, when it was asked for.
    pub exchange: Option<Exchange>,
}

/// Six decimals: an f32 holds no more, and its nearest f64 prints as a string of noise.
fn rounded(share: f32) -> f64 {
    (f64::from(share) * 1e6).round() / 1e6
}

fn probability<S: Serializer>(share: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*share))
}

fn by_class<S: Serializer>(shares: &[(String, f32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(shares.iter().map(|(class, share)| (class, rounded(*share))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_documented_shape() {
        let tagged = Tagged {
            words: crate::text::splitter::split("In Köln"),
            tags: vec!["O".into(), "B-LOC".into()],
            entities: vec![Entity {
                kind: "LOC".into(),
                text: "Köln".into(),
                start: 3,
                end: 7,
                first_word: 1,
                last_word: 1,
                score: 0.1,
            }],
            sentiment: Some(Sentiment {
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
