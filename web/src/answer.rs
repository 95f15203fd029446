//! What JavaScript is told, as JSON.

use muse_core::tagger::Exchange;
use muse_core::{MuseConfig, Tagged};
use serde::Serialize;
use serde_json::{Map, Value};

/// What a model is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Description {
    tags: Vec<String>,
    classes: Vec<String>,
    max_pieces: usize,
    layers: usize,
    exchange_layers: [usize; 2],
    theta: f64,
    image_size: usize,
    weights: usize,
}

impl Description {
    pub(crate) fn new(config: &MuseConfig, weights: usize) -> Self {
        Self {
            tags: config.tags.clone(),
            classes: config.classes.clone(),
            max_pieces: config.max_pieces,
            layers: config.exchange.layers,
            exchange_layers: [config.exchange.first_layer, config.exchange.last_layer],
            theta: config.exchange.theta,
            image_size: config.image.preparation.size,
            weights,
        }
    }
}

/// Milliseconds that the steps of a call took, all its captions together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Timings {
    /// The image encoder.
    pub(crate) picture: f64,
    /// The text encoder, the exchange and the heads.
    pub(crate) model: f64,
    /// Labels, spans and confidences.
    pub(crate) decode: f64,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    words: Vec<Span>,
    entities: Vec<Entity>,
    sentiment: Option<Sentiment>,
    pieces: usize,
    windows: usize,
    exchange: Option<Exchange>,
    timings: Timings,
}

#[derive(Serialize)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    span: Span,
    first_word: usize,
    last_word: usize,
    score: f32,
}

#[derive(Serialize)]
struct Sentiment {
    label: String,
    score: f32,
    probabilities: Map<String, Value>,
}

/// The answers to `captions`, in their order, with offsets in UTF-16 units.
pub(crate) fn answers(captions: &[String], tagged: Vec<Tagged>, timings: Timings) -> Vec<Answer> {
    captions
        .iter()
        .zip(tagged)
        .map(|(caption, tagged)| Answer::new(caption, tagged, timings))
        .collect()
}

impl Answer {
    fn new(caption: &str, tagged: Tagged, timings: Timings) -> Self {
        let units = utf16_offsets(caption);
        let span = |start: usize, end: usize| Span {
            start: units[start],
            end: units[end],
        };
        Self {
            words: tagged.words.iter().map(|w| span(w.start, w.end)).collect(),
            entities: tagged
                .entities
                .into_iter()
                .map(|entity| Entity {
                    kind: entity.kind,
                    span: span(entity.start, entity.end),
                    first_word: entity.first_word,
                    last_word: entity.last_word,
                    score: entity.score,
                })
                .collect(),
            sentiment: tagged.sentiment.map(|sentiment| Sentiment {
                label: sentiment.label,
                score: sentiment.score,
                probabilities: sentiment
                    .probabilities
                    .into_iter()
                    .map(|(class, share)| (class, share.into()))
                    .collect(),
            }),
            pieces: tagged.pieces,
            windows: tagged.windows,
            exchange: tagged.exchange,
            timings,
        }
    }
}

/// Where each Unicode scalar begins in UTF-16 units, and where the last one ends.
fn utf16_offsets(text: &str) -> Vec<usize> {
    let mut at = 0;
    let mut offsets: Vec<usize> = text
        .chars()
        .map(|scalar| {
            let start = at;
            at += scalar.len_utf16();
            start
        })
        .collect();
    offsets.push(at);
    offsets
}

/// JSON of a value that always has one.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings for keys, and no type that fails to serialise")
}

#[cfg(test)]
mod tests {
    use muse_core::{Entity, Tagged};

    use super::*;

    #[test]
    fn offsets_count_utf_16_units() {
        let caption = "🚀 Ada in 𝒳";
        let tagged = Tagged {
            entities: vec![
                Entity {
                    kind: "PER".into(),
                    text: "Ada".into(),
                    start: 2,
                    end: 5,
                    first_word: 1,
                    last_word: 1,
                    score: 0.5,
                },
                Entity {
                    kind: "LOC".into(),
                    text: "𝒳".into(),
                    start: 9,
                    end: 10,
                    first_word: 3,
                    last_word: 3,
                    score: 0.5,
                },
            ],
            ..Tagged::default()
        };
        let answer = &answers(&[caption.to_owned()], vec![tagged], Timings::default())[0];
        let units: Vec<u16> = caption.encode_utf16().collect();
        let texts: Vec<String> = answer
            .entities
            .iter()
            .map(|e| String::from_utf16_lossy(&units[e.span.start..e.span.end]))
            .collect();
        assert_eq!(texts, ["Ada", "𝒳"]);
        let value: Value = serde_json::from_str(&json(answer)).expect("JSON");
        assert_eq!(value["entities"][1]["type"], "LOC");
        assert_eq!(value["entities"][1]["start"], 10);
        assert_eq!(value["entities"][1]["firstWord"], 3);
        assert_eq!(value["sentiment"], Value::Null);
    }
}
