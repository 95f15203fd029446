//! A stream of JSON lines as batches of captions, read ahead of the model.
//!
//! A thread of its own reads, parses and decodes pictures. The model takes what is there when it is free, up to a full
//! batch, and never waits for more: a slow producer has its answers at once, a fast one fills the batches. What is read
//! ahead is bounded in number and in bytes.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use super::line::{Failure, Line, length, parse};

/// Longer lines are answered by an error, without being kept.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Captions of one batch have about so many characters at most.
const MAX_BATCH_CHARS: usize = 50_000;

/// Decoded pictures that are kept at a time, in bytes; a larger one is kept alone.
const MAX_PICTURE_BYTES: usize = 256 << 20;

/// A line of the stream.
#[derive(Debug)]
pub struct Item {
    /// Its number, from 1.
    pub number: usize,
    /// What it holds.
    pub line: Result<Line, Failure>,
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
    pub fn next_batch(&mut self) -> Option<io::Result<Vec<Item>>> {
        self.budget.give_back(std::mem::take(&mut self.held));
        if let Some(error) = self.error.take() {
            return Some(Err(error));
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
                Ok(Err(error)) if batch.is_empty() => return Some(Err(error)),
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

impl Item {
    fn chars(&self) -> usize {
        match &self.line {
            Ok(line) => length(&line.request.caption),
            Err(_) => 0,
        }
    }

    fn picture_bytes(&self) -> usize {
        let picture = self
            .line
            .as_ref()
            .ok()
            .and_then(|line| line.request.picture.as_ref());
        picture.map_or(0, |pixels| pixels.rgb.len())
    }
}

fn read_items(
    mut input: impl BufRead,
    folder: &Path,
    items: &SyncSender<io::Result<Item>>,
    budget: &Budget,
) {
    let mut buffer = Vec::new();
    for number in 1.. {
        let message = match next_line(&mut input, &mut buffer) {
            Ok(Next::End) => return,
            Err(error) => Err(error),
            Ok(Next::TooLong) => Ok(Item {
                number,
                line: Err(Failure {
                    id: None,
                    message: format!("the line is over {} MiB", MAX_LINE_BYTES >> 20),
                }),
            }),
            Ok(Next::Whole) => {
                let bytes = match number {
                    1 => buffer
                        .strip_prefix("\u{feff}".as_bytes())
                        .unwrap_or(&buffer),
                    _ => &buffer,
                };
                if bytes.trim_ascii().is_empty() {
                    continue;
                }
                Ok(Item {
                    number,
                    line: parse(bytes, folder),
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

enum Next {
    /// In the buffer, without its line feed.
    Whole,
    TooLong,
    End,
}

/// As `read_until`, but a line over the limit is skipped instead of kept.
fn next_line(input: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<Next> {
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
                (false, _) => Next::End,
                (true, true) => Next::TooLong,
                (true, false) => Next::Whole,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};
    use std::sync::mpsc::channel;

    use muse_core::Caption;

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

    #[test]
    fn lines_keep_order_and_numbers() {
        let input = "\u{feff}{\"text\":\"a\"}\r\n\n  \nnonsense\n{\"words\":[\"b\",\"c\"],\"text\":null}\n{\"text\":\"\"}";
        let items = all(input);
        let lines: Vec<_> = items
            .iter()
            .map(|item| (item.number, item.line.is_ok()))
            .collect();
        assert_eq!(lines, [(1, true), (4, false), (5, true), (6, true)]);
        let caption = |i: usize| {
            items[i]
                .line
                .as_ref()
                .map(|line| line.request.caption.clone())
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
    fn a_huge_line_is_skipped_not_kept() {
        let huge = Cursor::new(b"{\"text\":\"".to_vec())
            .chain(io::repeat(b'x').take(3 * MAX_LINE_BYTES as u64))
            .chain(Cursor::new(b"\"}\n{\"text\":\"after\"}".to_vec()));
        let mut input = io::BufReader::new(huge);
        let mut buffer = Vec::new();
        assert!(matches!(
            next_line(&mut input, &mut buffer),
            Ok(Next::TooLong)
        ));
        assert!(buffer.capacity() <= 2 * MAX_LINE_BYTES);
        assert!(matches!(
            next_line(&mut input, &mut buffer),
            Ok(Next::Whole)
        ));
        assert_eq!(buffer, b"{\"text\":\"after\"}");
        assert!(matches!(next_line(&mut input, &mut buffer), Ok(Next::End)));
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
                batch.iter().map(|item| item.number).collect::<Vec<_>>(),
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
        assert_eq!(error.to_string(), "unplugged");
        assert!(batches.next_batch().is_none());
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
