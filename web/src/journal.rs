//! What the libraries log, kept until JavaScript asks for it: a fault in a shader is logged and not returned.

use std::cell::RefCell;
use std::collections::VecDeque;

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;

/// Entries kept at most; the oldest go first.
const LIMIT: usize = 100;

#[derive(Serialize)]
struct Entry {
    level: &'static str,
    target: String,
    message: String,
}

thread_local! {
    static ENTRIES: RefCell<VecDeque<Entry>> = const { RefCell::new(VecDeque::new()) };
}

struct Journal;

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Error => "error",
                _ => "warn",
            };
            add(level, record.target(), record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn add(level: &'static str, target: &str, message: String) {
    ENTRIES.with_borrow_mut(|entries| {
        if entries.len() == LIMIT {
            entries.pop_front();
        }
        entries.push_back(Entry {
            level,
            target: target.to_owned(),
            message,
        });
    });
}

/// Takes over the log and the words of a panic.
pub(crate) fn install() {
    // Only a second call could fail, and then the first still holds.
    if log::set_logger(&Journal).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
    std::panic::set_hook(Box::new(|panic| add("error", "panic", panic.to_string())));
}

/// All entries since the last call, as JSON.
pub(crate) fn take() -> String {
    crate::answer::json(&ENTRIES.take())
}
