//! A stream of JSON lines as batches of captions, read ahead of the model.
//!
//! A thread of its own reads, parses and decodes pictures. The model takes what is there when it is free, up to a full
//! batch, and never waits for more: a slow producer has its answers at once, a fast one fills the batches. What is read
//! ahead is bounded in number and in bytes.

use std::io::{self, BufRead};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};
use muse_core::text::splitter::Word;
use muse_core::{Caption, Request, Tagged};
use serde_json::{Map, Value};

use super::read_picture;
use crate::data::jsonl::located;

/// Longer lines are answered by an error, without being kept.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Longer captions are refused: this is a book, not a caption, and would hold up all that follow.
pub const MAX_CAPTION_CHARS: usize = 100_000;

/// Captions of one batch have about so many characters at most.
const MAX_BATCH_CHARS: usize = 50_000;

/// Decoded pictures that are kept at a time, in bytes; a larger one is kept alone.
const MAX_PICTURE_BYTES: usize = 256 << 20;

/// A line of the stream.
#[derive(Debug)]
pub struct Item {
    /// Its number, from 1.
    pub line: usize,
    /// What it holds.
    pub post: Result<Post, Failure>,
}

/// A line that can be tagged.
#[derive(Debug)]
pub struct Post {
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

/// Bytes of pictures between the reader and the end of their batch.
#[derive(Debug, Default)]
struct Budget {
    held: Mutex<usize>,
    freed: Condvar,
}

impl Budget {
    /// Waits until `bytes` more may be held; anything may when nothing is.
    fn take(&self, bytes: usize) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self
            .freed
            .wait_while(held, |held| *held > 0 && *held + bytes > MAX_PICTURE_BYTES)
            .unwrap_or_else(PoisonError::into_inner);
        *held += bytes;
    }

    fn give_back(&self, bytes: usize) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
        self.freed.notify_all();
    }
}

/// The batches of a stream.
#[derive(Debug)]
pub struct Batches {
    items: Receiver<io::Result<Item>>,
    size: usize,
    budget: Arc<Budget>,
    /// Picture bytes of the batch that was handed out last.
    held: usize,
    /// Comes after the batch that it cut short.
    error: Option<io::Error>,
}

/// Starts to read a stream in batches of at most `size`, its images relative to `folder`.
pub fn read(input: impl BufRead + Send + 'static, folder: PathBuf, size: usize) -> Batches {
    let (sender, items) = sync_channel(size);
    let budget = Arc::new(Budget::default());
    let shared = Arc::clone(&budget);
    // Never joined: it may wait for a producer that has no more to say when the program is done.
    thread::spawn(move || read_items(input, &folder, &sender, &shared));
    Batches {
        items,
        size,
        budget,
        held: 0,
        error: None,
    }
}

impl Batches {
    /// The next batch: at least one line, waiting for it if need be, and what has come since. `None` at the end.
    ///
    /// # Errors
    ///
    /// When the stream cannot be read further.
    pub fn next_batch(&mut self) -> Option<anyhow::Result<Vec<Item>>> {
        self.budget.give_back(std::mem::take(&mut self.held));
        if let Some(error) = self.error.take() {
            return Some(Err(broken(error)));
        }
        let mut batch = Vec::new();
        let mut chars = 0;
        while batch.len() < self.size && chars < MAX_BATCH_CHARS {
            let received = match batch.is_empty() {
                true => self.items.recv().map_err(|_| TryRecvError::Disconnected),
                false => self.items.try_recv(),
            };
            match received {
                Ok(Ok(item)) => {
                    chars += item.chars();
                    self.held += item.picture_bytes();
                    batch.push(item);
                }
                Ok(Err(error)) if batch.is_empty() => return Some(Err(broken(error))),
                Ok(Err(error)) => {
                    self.error = Some(error);
                    break;
                }
                Err(_) => break,
            }
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

fn broken(error: io::Error) -> anyhow::Error {
    anyhow::Error::from(error).context("cannot read the stream")
}

impl Item {
    fn chars(&self) -> usize {
        match &self.post {
            Ok(post) => length(&post.request.caption),
            Err(_) => 0,
        }
    }

    fn picture_bytes(&self) -> usize {
        let picture = self
            .post
            .as_ref()
            .ok()
            .and_then(|post| post.request.picture.as_ref());
        picture.map_or(0, |pixels| pixels.rgb.len())
    }
}

/// Characters of a caption.
fn length(caption: &Caption) -> usize {
    match caption {
        Caption::Text(text) => text.chars().count(),
        Caption::Words(words) => words.iter().map(|word| word.chars().count() + 1).sum(),
    }
}

fn read_items(
    mut input: impl BufRead,
    folder: &Path,
    items: &SyncSender<io::Result<Item>>,
    budget: &Budget,
) {
    let mut buffer = Vec::new();
    for line in 1.. {
        let message = match next_line(&mut input, &mut buffer) {
            Ok(Line::End) => return,
            Err(error) => Err(error),
            Ok(Line::TooLong) => Ok(Item {
                line,
                post: Err(Failure {
                    id: None,
                    message: format!("the line is over {} MiB", MAX_LINE_BYTES >> 20),
                }),
            }),
            Ok(Line::Whole) => {
                let bytes = match line {
                    1 => buffer
                        .strip_prefix("\u{feff}".as_bytes())
                        .unwrap_or(&buffer),
                    _ => &buffer,
                };
                if bytes.trim_ascii().is_empty() {
                    continue;
                }
                Ok(Item {
                    line,
                    post: parse(bytes, folder),
                })
            }
        };
        if let Ok(item) = &message {
            budget.take(item.picture_bytes());
        }
        let last = message.is_err();
        if items.send(message).is_err() || last {
            return;
        }
    }
}

enum Line {
    /// In the buffer, without its line feed.
    Whole,
    TooLong,
    End,
}

/// As `read_until`, but a line over the limit is skipped instead of kept.
fn next_line(input: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<Line> {
    buffer.clear();
    let (mut any, mut too_long) = (false, false);
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let used = end.map_or(part.len(), |end| end + 1);
        any |= used > 0;
        too_long |= buffer.len() + part.len() > MAX_LINE_BYTES;
        if too_long {
            *buffer = Vec::new();
        } else {
            buffer.extend_from_slice(part);
        }
        input.consume(used);
        if end.is_some() || used == 0 {
            return Ok(match (any, too_long) {
                (false, _) => Line::End,
                (true, true) => Line::TooLong,
                (true, false) => Line::Whole,
            });
        }
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

fn parse(bytes: &[u8], folder: &Path) -> Result<Post, Failure> {
    let object = parse_object(bytes).map_err(|error| Failure {
        id: None,
        message: format!("{error:#}"),
    })?;
    let id = object.get("id").filter(|id| !id.is_null()).cloned();
    // A decoder of pictures meets whatever the stream names: should it panic, that is this line's fault only.
    let request = catch_unwind(AssertUnwindSafe(|| request(&object, folder)))
        .unwrap_or_else(|_| Err(anyhow!("the line cannot be read")));
    match request {
        Ok((request, places)) => Ok(Post {
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
    let (caption, places) = match (text, words) {
        (None, None) => bail!("the field \"text\" (or \"words\") is missing"),
        (Some(text), None) => (Caption::Text(text.into()), None),
        (None, Some(words)) => (Caption::Words(words), None),
        (Some(text), Some(words)) => {
            let places = Places {
                words: located(&words, text)?,
                text: text.chars().collect(),
            };
            (Caption::Words(words), Some(places))
        }
    };
    check_length(&caption)?;
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
        "the caption has {length} characters; at most {MAX_CAPTION_CHARS} are tagged"
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
    use std::io::{Cursor, Read};
    use std::sync::mpsc::channel;

    use super::*;

    fn all(input: impl Into<Vec<u8>>) -> Vec<Item> {
        let mut batches = read(Cursor::new(input.into()), PathBuf::new(), 3);
        let mut items = Vec::new();
        while let Some(batch) = batches.next_batch() {
            let batch = batch.expect("stream");
            assert!((1..=3).contains(&batch.len()));
            items.extend(batch);
        }
        items
    }

    fn fault(line: &str) -> Failure {
        let mut items = all(line);
        assert_eq!(items.len(), 1, "{line}");
        items.remove(0).post.expect_err(line)
    }

    #[test]
    fn lines_keep_order_and_numbers() {
        let input = "\u{feff}{\"text\":\"a\"}\r\n\n  \nnonsense\n{\"words\":[\"b\",\"c\"],\"text\":null}\n{\"text\":\"\"}";
        let items = all(input);
        let lines: Vec<_> = items
            .iter()
            .map(|item| (item.line, item.post.is_ok()))
            .collect();
        assert_eq!(lines, [(1, true), (4, false), (5, true), (6, true)]);
        let caption = |i: usize| {
            items[i]
                .post
                .as_ref()
                .map(|post| post.request.caption.clone())
                .ok()
        };
        assert_eq!(caption(0), Some(Caption::Text("a".into())));
        assert_eq!(
            caption(2),
            Some(Caption::Words(vec!["b".into(), "c".into()]))
        );
        assert_eq!(caption(3), Some(Caption::Text(String::new())));
        assert!(all("").is_empty());
        assert!(all("\n\n").is_empty());
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
        let message = all(b"{\"text\":\"\xff\"}".to_vec())
            .remove(0)
            .post
            .expect_err("bytes")
            .message;
        assert_eq!(message, "not UTF-8 from byte 9 of the line");
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
    fn a_huge_line_is_skipped_not_kept() {
        let huge = Cursor::new(b"{\"text\":\"".to_vec())
            .chain(io::repeat(b'x').take(3 * MAX_LINE_BYTES as u64))
            .chain(Cursor::new(b"\"}\n{\"text\":\"after\"}".to_vec()));
        let mut input = io::BufReader::new(huge);
        let mut buffer = Vec::new();
        assert!(matches!(
            next_line(&mut input, &mut buffer),
            Ok(Line::TooLong)
        ));
        assert!(buffer.capacity() <= 2 * MAX_LINE_BYTES);
        assert!(matches!(
            next_line(&mut input, &mut buffer),
            Ok(Line::Whole)
        ));
        assert_eq!(buffer, b"{\"text\":\"after\"}");
        assert!(matches!(next_line(&mut input, &mut buffer), Ok(Line::End)));
    }

    #[test]
    fn a_slow_producer_is_not_waited_for() {
        /// Gives what is sent to it, and ends when the sender is gone.
        struct Slow(std::sync::mpsc::Receiver<Vec<u8>>);
        impl Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let bytes = self.0.recv().unwrap_or_default();
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
        }
        let (producer, receiver) = channel();
        let mut batches = read(io::BufReader::new(Slow(receiver)), PathBuf::new(), 32);
        for i in 0..3 {
            producer.send(b"{\"text\":\"a\"}\n".to_vec()).expect("send");
            // Nothing more comes until this one is answered.
            let batch = batches.next_batch().expect("batch").expect("stream");
            assert_eq!(
                batch.iter().map(|item| item.line).collect::<Vec<_>>(),
                [i + 1]
            );
        }
        drop(producer);
        assert!(batches.next_batch().is_none());
    }

    #[test]
    fn a_broken_stream_ends_in_an_error_after_its_lines() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Cursor::new(b"{\"text\":\"a\"}\n").read(buffer),
                    _ => Err(io::Error::other("unplugged")),
                }
            }
        }
        let mut batches = read(io::BufReader::new(Broken(0)), PathBuf::new(), 8);
        assert_eq!(
            batches.next_batch().expect("batch").expect("first").len(),
            1
        );
        let error = batches.next_batch().expect("error").expect_err("second");
        assert_eq!(format!("{error:#}"), "cannot read the stream: unplugged");
        assert!(batches.next_batch().is_none());
    }

    #[test]
    fn given_words_keep_their_places_in_the_text() {
        let post = all("{\"text\":\"😀 Zoë  Ray!\",\"words\":[\"😀\",\"Zoë\",\"Ray\",\"!\"]}")
            .remove(0)
            .post
            .expect("post");
        let mut tagged = Tagged {
            words: Vec::new(),
            tags: Vec::new(),
            entities: vec![muse_core::Entity {
                kind: "PER".into(),
                text: "Zoë Ray".into(),
                start: 2,
                end: 9,
                first_word: 1,
                last_word: 2,
                score: 1.0,
            }],
            sentiment: None,
        };
        post.places.expect("places").put(&mut tagged);
        let entity = &tagged.entities[0];
        assert_eq!(
            (entity.start, entity.end, entity.text.as_str()),
            (2, 10, "Zoë  Ray")
        );
    }

    #[test]
    fn pictures_wait_for_room() {
        let budget = Arc::new(Budget::default());
        budget.take(MAX_PICTURE_BYTES * 2);
        let waiting = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || budget.take(1))
        };
        assert!(!waiting.is_finished());
        budget.give_back(MAX_PICTURE_BYTES * 2);
        waiting.join().expect("taken");
        assert_eq!(*budget.held.lock().expect("lock"), 1);
    }
}
