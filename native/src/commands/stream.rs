//! A stream of lines, worked on by several threads, the answers in the order of the lines.
//!
//! A thread of its own reads the lines. Each worker takes what is there when it is free, up to a batch, and never waits for more: a
//! slow producer has its answers at once, a fast one keeps all workers busy. How many lines are under way is bounded.

use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;

/// Longer lines are answered by an error, without being kept.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// A line of the stream, without its end.
#[derive(Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// What it holds; `None` where that is too much.
    pub bytes: Option<Vec<u8>>,
}

/// A line, and who waits for its answer.
type Job<T> = (Line, Sender<T>);

/// The answers to a stream.
#[derive(Debug)]
pub struct Answers<T> {
    /// The answer to each line, or why there are no more lines.
    order: Receiver<io::Result<Receiver<T>>>,
    /// The one that is waited for.
    next: Option<Receiver<T>>,
}

/// Has so many workers take lines, at most `batch` of them at a time, and answer each by `work`, which is made for each worker in its
/// own thread.
///
/// # Errors
///
/// When a thread cannot be started.
pub fn answer<T, W>(
    input: impl BufRead + Send + 'static,
    workers: usize,
    batch: usize,
    work: impl Fn() -> W + Clone + Send + 'static,
) -> anyhow::Result<Answers<T>>
where
    T: Send + 'static,
    W: FnMut(Vec<Line>) -> Vec<T>,
{
    let (sender, jobs) = channel::<Job<T>>();
    let jobs = Arc::new(Mutex::new(jobs));
    for worker in 0..workers {
        let (jobs, work) = (Arc::clone(&jobs), work.clone());
        // Never joined, as the reader: it may wait for a producer that has no more to say when the program is done.
        thread::Builder::new()
            .name(format!("worker-{worker}"))
            .spawn(move || {
                let mut work = work();
                while let Some(some) = take(&jobs, batch) {
                    let (lines, waiting): (Vec<_>, Vec<_>) = some.into_iter().unzip();
                    for (sender, answer) in waiting.iter().zip(work(lines)) {
                        // At the end nobody may wait for it.
                        let _ = sender.send(answer);
                    }
                }
            })
            .context("cannot start a worker")?;
    }
    // So many that each worker finds another batch when it is done with one.
    let (ordered, order) = sync_channel(2 * workers * batch);
    thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || read(input, &ordered, &sender))
        .context("cannot start the reader")?;
    Ok(Answers { order, next: None })
}

impl<T> Answers<T> {
    /// The next answer, if it is there.
    ///
    /// # Errors
    ///
    /// When the stream cannot be read further, or a worker has failed.
    pub fn try_next(&mut self) -> anyhow::Result<Option<T>> {
        let Some(next) = self.begun(|order| order.try_recv().ok())? else {
            return Ok(None);
        };
        match next.try_recv() {
            Ok(answer) => {
                self.next = None;
                Ok(Some(answer))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => anyhow::bail!(FAILED),
        }
    }

    /// The next answer, which is waited for; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Self::try_next`].
    pub fn wait(&mut self) -> anyhow::Result<Option<T>> {
        let Some(next) = self.begun(|order| order.recv().ok())? else {
            return Ok(None);
        };
        let answer = next.recv().context(FAILED)?;
        self.next = None;
        Ok(Some(answer))
    }

    /// The answer that is next, or is to be as `receive` finds it.
    fn begun(
        &mut self,
        receive: impl FnOnce(&Receiver<io::Result<Receiver<T>>>) -> Option<io::Result<Receiver<T>>>,
    ) -> anyhow::Result<Option<&Receiver<T>>> {
        if self.next.is_none() {
            self.next = receive(&self.order)
                .transpose()
                .context("the stream ended early")?;
        }
        Ok(self.next.as_ref())
    }
}

const FAILED: &str = "a worker has failed";

/// The next line, waiting for it if need be, and what has come since. `None` at the end.
fn take<T>(jobs: &Mutex<Receiver<Job<T>>>, most: usize) -> Option<Vec<Job<T>>> {
    let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    let first = jobs.recv().ok()?;
    let mut some = vec![first];
    some.extend(jobs.try_iter().take(most - 1));
    Some(some)
}

fn read<T>(
    mut input: impl BufRead,
    ordered: &SyncSender<io::Result<Receiver<T>>>,
    jobs: &Sender<Job<T>>,
) {
    let mut buffer = Vec::new();
    for number in 1.. {
        let bytes = match next_line(&mut input, &mut buffer) {
            Ok(Next::End) => return,
            Err(error) => {
                let _ = ordered.send(Err(error));
                return;
            }
            Ok(Next::TooLong) => None,
            Ok(Next::Whole) => {
                let mark = "\u{feff}".as_bytes();
                let bytes = match number {
                    1 => buffer.strip_prefix(mark).unwrap_or(&buffer),
                    _ => &buffer,
                };
                if bytes.trim_ascii().is_empty() {
                    continue;
                }
                Some(bytes.to_vec())
            }
        };
        let (sender, answer) = channel();
        if ordered.send(Ok(answer)).is_err() {
            return; // Nobody waits any more.
        }
        let _ = jobs.send((Line { number, bytes }, sender));
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Each line as text after its number.
    fn told(lines: Vec<Line>) -> Vec<String> {
        let tell = |line: Line| match line.bytes {
            Some(bytes) => format!("{} {}", line.number, String::from_utf8_lossy(&bytes)),
            None => format!("{} too long", line.number),
        };
        lines.into_iter().map(tell).collect()
    }

    fn answers(input: impl Read + Send + 'static, workers: usize) -> Answers<String> {
        answer(io::BufReader::new(input), workers, 3, || told).expect("threads")
    }

    fn all(input: impl Into<Vec<u8>>, workers: usize) -> Vec<String> {
        let mut answers = answers(Cursor::new(input.into()), workers);
        std::iter::from_fn(|| answers.wait().expect("a stream")).collect()
    }

    #[test]
    fn lines_keep_order_and_numbers() {
        let input = "\u{feff}a\r\n\n  \nb\nc\nd";
        for workers in 1..4 {
            assert_eq!(all(input, workers), ["1 a\r", "4 b", "5 c", "6 d"]);
            assert!(all("", workers).is_empty());
            assert!(all("\n\n", workers).is_empty());
        }
    }

    #[test]
    fn a_slow_line_does_not_hold_up_the_others_nor_their_order() {
        let slow = || {
            |lines: Vec<Line>| {
                if lines[0].number == 1 {
                    thread::sleep(Duration::from_millis(200));
                }
                told(lines)
            }
        };
        let input: String = (1..=9).map(|i| format!("{i}\n")).collect();
        let mut answers = answer(Cursor::new(input), 2, 1, slow).expect("threads");
        let found: Vec<_> = std::iter::from_fn(|| answers.wait().expect("a stream")).collect();
        let right: Vec<_> = (1..=9).map(|i| format!("{i} {i}")).collect();
        assert_eq!(found, right);
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        struct Endless(Arc<AtomicUsize>);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.fetch_add(1, Ordering::SeqCst);
                Cursor::new(b"a\n").read(buffer)
            }
        }
        let lines = Arc::new(AtomicUsize::new(0));
        let mut answers = answers(Endless(Arc::clone(&lines)), 2);
        thread::sleep(Duration::from_millis(200));
        let read = lines.load(Ordering::SeqCst);
        assert!(read <= 2 * 2 * 3 + 2, "{read} lines");
        assert_eq!(answers.wait().expect("a stream").as_deref(), Some("1 a"));
    }

    #[test]
    fn a_huge_line_is_skipped_not_kept() {
        let huge = Cursor::new(b"{\"text\":\"".to_vec())
            .chain(io::repeat(b'x').take(3 * MAX_LINE_BYTES as u64))
            .chain(Cursor::new(b"\"}\nafter".to_vec()));
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
        assert_eq!(buffer, b"after");
        assert!(matches!(next_line(&mut input, &mut buffer), Ok(Next::End)));
        let long = vec![b'x'; MAX_LINE_BYTES + 1];
        assert_eq!(all([&long, &b"\nb"[..]].concat(), 2), ["1 too long", "2 b"]);
    }

    #[test]
    fn a_slow_producer_is_not_waited_for() {
        /// Gives what is sent to it, and ends when the sender is gone.
        struct Slow(Receiver<Vec<u8>>);
        impl Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let bytes = self.0.recv().unwrap_or_default();
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
        }
        let (producer, receiver) = channel();
        let mut answers = answers(Slow(receiver), 2);
        assert_eq!(answers.try_next().expect("a stream"), None);
        for i in 1..4 {
            producer.send(b"a\n".to_vec()).expect("send");
            // Nothing more comes until this one is answered.
            assert_eq!(answers.wait().expect("a stream"), Some(format!("{i} a")));
        }
        drop(producer);
        assert_eq!(answers.wait().expect("a stream"), None);
    }

    #[test]
    fn a_broken_stream_ends_in_an_error_after_its_lines() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Cursor::new(b"a\n").read(buffer),
                    _ => Err(io::Error::other("unplugged")),
                }
            }
        }
        let mut answers = answers(Broken(0), 2);
        assert_eq!(answers.wait().expect("first").as_deref(), Some("1 a"));
        let error = answers.wait().expect_err("second");
        assert_eq!(error.root_cause().to_string(), "unplugged");
    }

    #[test]
    fn a_worker_that_fails_is_told() {
        let failing = || |_: Vec<Line>| -> Vec<()> { panic!("on purpose") };
        let mut answers = answer(Cursor::new("a\n"), 1, 1, failing).expect("threads");
        let error = answers.wait().expect_err("no answer");
        assert_eq!(error.to_string(), FAILED);
    }
}
