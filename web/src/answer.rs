//! What JavaScript is told, as JSON.

use muse_core::heads::Names;
use muse_core::{MuseConfig, Tagged};
use serde::Serialize;

/// What a model is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Description {
    tags: Vec<String>,
    classes: Vec<String>,
    styles: Vec<String>,
    style: Option<String>,
    max_pieces: usize,
    layers: usize,
    exchange_layers: [usize; 2],
    theta: f64,
    image_size: usize,
    weights: usize,
}

impl Description {
    pub(crate) fn new(config: &MuseConfig, weights: usize) -> Self {
        let Names {
            tags,
            classes,
            styles,
        } = config.names.clone();
        Self {
            tags,
            classes,
            style: styles.default.or_else(|| styles.names.first().cloned()),
            styles: styles.names,
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

/// A caption's answer and the time that its call took.
#[derive(Serialize)]
pub(crate) struct Answer {
    #[serde(flatten)]
    tagged: Tagged,
    timings: Timings,
}

/// The answers to `captions`, in their order, with offsets in UTF-16 units.
pub(crate) fn answers(captions: &[String], tagged: Vec<Tagged>, timings: Timings) -> Vec<Answer> {
    let answer = |(caption, mut tagged): (&String, Tagged)| {
        count_utf16(caption, &mut tagged);
        Answer { tagged, timings }
    };
    captions.iter().zip(tagged).map(answer).collect()
}

/// Moves all offsets into `caption` from Unicode scalars to UTF-16 units.
fn count_utf16(caption: &str, tagged: &mut Tagged) {
    let units = utf16_offsets(caption);
    let words = tagged
        .words
        .iter_mut()
        .map(|word| (&mut word.start, &mut word.end));
    let entities = tagged
        .entities
        .iter_mut()
        .map(|entity| (&mut entity.start, &mut entity.end));
    for (start, end) in words.chain(entities) {
        (*start, *end) = (units[*start], units[*end]);
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
    use muse_core::Entity;
    use muse_core::text::splitter::split;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn offsets_count_utf_16_units() {
        let caption = "🚀 Ada in 𝒳";
        let entity = |kind: &str, start, end| Entity {
            kind: kind.into(),
            text: String::new(),
            start,
            end,
            first_word: 0,
            last_word: 0,
            score: 0.5,
        };
        let tagged = Tagged {
            words: split(caption),
            entities: vec![entity("PER", 2, 5), entity("LOC", 9, 10)],
            ..Tagged::default()
        };
        let answers = answers(&[caption.to_owned()], vec![tagged], Timings::default());
        let value: Value = serde_json::from_str(&json(&answers)).expect("JSON");
        let units: Vec<u16> = caption.encode_utf16().collect();
        let texts = |list: &Value| -> Vec<String> {
            let at = |span: &Value, name: &str| span[name].as_u64().expect("an offset") as usize;
            let spans = list.as_array().expect("spans").iter();
            spans
                .map(|span| String::from_utf16_lossy(&units[at(span, "start")..at(span, "end")]))
                .collect()
        };
        assert_eq!(texts(&value[0]["words"]), ["🚀", "Ada", "in", "𝒳"]);
        assert_eq!(texts(&value[0]["entities"]), ["Ada", "𝒳"]);
        let none = json!({ "picture": 0.0, "model": 0.0, "decode": 0.0 });
        assert_eq!(value[0]["timings"], none);
    }
}
