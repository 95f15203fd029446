//! A line of a stream: an object with a caption, and perhaps a picture.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use muse_core::text::splitter::Word;
use muse_core::{Caption, Request, Tagged};
use serde_json::{Map, Value};

use crate::data::jsonl::located;
use crate::data::picture::read_picture;

/// Longer captions are refused: this is a book, not a caption, and would hold up all that follow.
pub const MAX_CAPTION_CHARS: usize = 100_000;

/// A line that can be tagged.
#[derive(Debug)]
pub struct Line {
    /// The object as it came, field by field.
    pub object: Map<String, Value>,
    /// Its caption and picture.
    pub request: Request,
    /// Where the words stand, when the line has both a text and its words.
    pub places: Option<Places>,
}

/// A line that cannot be tagged.
#[derive(Debug, PartialEq)]
pub struct Failure {
    /// The object's id, if it got as far as having one.
    pub id: Option<Value>,
    /// Why.
    pub message: String,
}

/// Words given together with the text they were split from: positions are then the text's.
#[derive(Debug, PartialEq, Eq)]
pub struct Places {
    text: Vec<char>,
    words: Vec<Word>,
}

impl Places {
    fn new(words: &[String], text: &str) -> anyhow::Result<Self> {
        check_length(&Caption::Text(text.to_owned()))?;
        Ok(Self {
            words: located(words, text)?,
            text: text.chars().collect(),
        })
    }

    /// Moves the entities from the joined words to the text.
    pub fn put(self, tagged: &mut Tagged) {
        for entity in &mut tagged.entities {
            entity.start = self.words[entity.first_word].start;
            entity.end = self.words[entity.last_word].end;
            entity.text = self.text[entity.start..entity.end].iter().collect();
        }
        tagged.words = self.words;
    }
}

/// Characters of a caption.
pub(super) fn length(caption: &Caption) -> usize {
    match caption {
        Caption::Text(text) => text.chars().count(),
        Caption::Words(words) => words.iter().map(|word| word.chars().count() + 1).sum(),
    }
}

/// An id as one word: strings and numbers have such a form.
pub fn id_text(id: &Value) -> Option<String> {
    match id {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Reads a line and the picture that it names, relative to `folder`.
///
/// # Errors
///
/// When the line is not an object that can be tagged, or the picture cannot be used.
pub fn parse(bytes: &[u8], folder: &Path) -> Result<Line, Failure> {
    let object = parse_object(bytes).map_err(|error| Failure {
        id: None,
        message: format!("{error:#}"),
    })?;
    let id = object.get("id").filter(|id| !id.is_null()).cloned();
    // A decoder of pictures meets whatever the stream names: should it panic, that is this line's fault only.
    let request = catch_unwind(AssertUnwindSafe(|| request(&object, folder)))
        .unwrap_or_else(|_| Err(anyhow!("the line cannot be read")));
    match request {
        Ok((request, places)) => Ok(Line {
            object,
            request,
            places,
        }),
        Err(error) => Err(Failure {
            id,
            message: format!("{error:#}"),
        }),
    }
}

fn parse_object(bytes: &[u8]) -> anyhow::Result<Map<String, Value>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| anyhow!("not UTF-8 from byte {} of the line", error.valid_up_to()))?;
    let value = serde_json::from_str(text).map_err(|error| {
        // serde_json names a line, which is always 1 here.
        let what = error.to_string();
        let what = what.split(" at line 1 column ").next().unwrap_or(&what);
        anyhow!("not JSON: {what} at column {}", error.column())
    })?;
    match value {
        Value::Object(object) => Ok(object),
        other => bail!("a JSON object is needed, not {}", form(&other)),
    }
}

fn form(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn request(
    object: &Map<String, Value>,
    folder: &Path,
) -> anyhow::Result<(Request, Option<Places>)> {
    let field = |name: &str| object.get(name).filter(|value| !value.is_null());
    let text = field("text").map(|text| string("text", text)).transpose()?;
    let words = field("words").map(words).transpose()?;
    let (caption, text) = match (text, words) {
        (None, None) => bail!("the field \"text\" (or \"words\") is missing"),
        (Some(text), None) => (Caption::Text(text.into()), None),
        (text, Some(words)) => (Caption::Words(words), text),
    };
    check_length(&caption)?;
    let places = match (&caption, text) {
        (Caption::Words(words), Some(text)) => Some(Places::new(words, text)?),
        _ => None,
    };
    let picture = match field("image") {
        None => None,
        Some(image) => Some(read_picture(&folder.join(string("image", image)?))?),
    };
    Ok((Request { caption, picture }, places))
}

/// Refuses captions over [`MAX_CAPTION_CHARS`].
///
/// # Errors
///
/// For such a caption.
pub fn check_length(caption: &Caption) -> anyhow::Result<()> {
    let length = length(caption);
    ensure!(
        length <= MAX_CAPTION_CHARS,
        "the caption has {length} characters; at most {MAX_CAPTION_CHARS} are read"
    );
    Ok(())
}

fn string<'a>(name: &str, value: &'a Value) -> anyhow::Result<&'a str> {
    value
        .as_str()
        .with_context(|| format!("the field {name:?} is {}; a string is needed", form(value)))
}

fn words(value: &Value) -> anyhow::Result<Vec<String>> {
    let list = value.as_array().with_context(|| {
        format!(
            "the field \"words\" is {}; a list of strings is needed",
            form(value)
        )
    })?;
    list.iter()
        .map(|word| match word.as_str() {
            Some("") => bail!("one of the \"words\" is empty"),
            Some(word) => Ok(word.to_owned()),
            None => bail!("one of the \"words\" is {}; strings are needed", form(word)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> Failure {
        parse(line.as_bytes(), Path::new("")).expect_err(line)
    }

    #[test]
    fn faults_say_what_is_wrong() {
        let table = [
            ("[1]", "a JSON object is needed, not a list"),
            ("{\"text\":\"a\"", "not JSON: EOF"),
            ("{}", "\"text\" (or \"words\") is missing"),
            ("{\"text\":7}", "\"text\" is a number"),
            ("{\"text\":\"\\ud800\"}", "not JSON"),
            ("{\"words\":\"a\"}", "\"words\" is a string"),
            ("{\"words\":[\"a\",1]}", "is a number"),
            ("{\"words\":[\"\"]}", "is empty"),
            (
                "{\"text\":\"a b\",\"words\":[\"b\",\"a\"]}",
                "does not follow",
            ),
            ("{\"text\":\"a\",\"image\":3}", "\"image\" is a number"),
            (
                "{\"text\":\"a\",\"image\":\"none.jpg\"}",
                "cannot use none.jpg as a picture",
            ),
            ("{\"text\":\"a\",\"image\":\"\"}", "as a picture"),
        ];
        for (line, expected) in table {
            let message = fault(line).message;
            assert!(message.contains(expected), "{line}: {message}");
        }
        assert_eq!(fault("{\"id\":\"x\"}").id, Some("x".into()));
        let bytes = parse(b"{\"text\":\"\xff\"}", Path::new("")).expect_err("bytes");
        assert_eq!(bytes.message, "not UTF-8 from byte 9 of the line");
        let deep = "[".repeat(100_000);
        assert!(fault(&deep).message.contains("recursion limit"));
        let book = format!(
            "{{\"id\":1,\"text\":\"{}\"}}",
            "a ".repeat(MAX_CAPTION_CHARS)
        );
        let failure = fault(&book);
        assert!(failure.message.contains("at most 100000"), "{failure:?}");
        assert_eq!(failure.id, Some(1.into()));
    }

    #[test]
    fn given_words_keep_their_places_in_the_text() {
        let line = "{\"text\":\"😀 Zoë  Ray!\",\"words\":[\"😀\",\"Zoë\",\"Ray\",\"!\"]}";
        let line = parse(line.as_bytes(), Path::new("")).expect("a line");
        let mut tagged = Tagged {
            entities: vec![muse_core::Entity {
                kind: "PER".into(),
                text: "Zoë Ray".into(),
                start: 2,
                end: 9,
                first_word: 1,
                last_word: 2,
                score: 1.0,
            }],
            ..Tagged::default()
        };
        line.places.expect("places").put(&mut tagged);
        let entity = &tagged.entities[0];
        assert_eq!(
            (entity.start, entity.end, entity.text.as_str()),
            (2, 10, "Zoë  Ray")
        );
    }
}
