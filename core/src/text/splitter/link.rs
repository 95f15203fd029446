//! Links, addresses and mentions inside a chunk.

use super::units::{Class, Unit, starts_with};

/// Top-level domains that make a link of a name without a path (`MLB.com`). Only such as are not also English
/// words: a caption may lack the space after a full stop.
const TOP_LEVEL: [&str; 17] = [
    "com", "org", "net", "edu", "gov", "info", "io", "tv", "ly", "uk", "eu", "de", "fr", "jp",
    "ca", "au", "br",
];

/// Finds links and mentions in one chunk.
///
/// Remembers how far names were already looked at, so that `a.a.a.a ...` is not read anew from every letter.
pub(super) struct Links<'a> {
    chunk: &'a [Unit],
    /// The last run of labels looked at: where it was read from, where it ends, and where its last label starts.
    name: Option<(usize, usize, usize)>,
    /// The last run of the characters of an address's local part: where it ended.
    local: usize,
}

impl<'a> Links<'a> {
    pub(super) fn new(chunk: &'a [Unit]) -> Self {
        Self {
            chunk,
            name: None,
            local: 0,
        }
    }

    /// The end of the link or address that starts here.
    pub(super) fn end(&mut self, start: usize) -> Option<usize> {
        if !self.chunk[start].is_alphanumeric() {
            return None;
        }
        self.with_scheme(start)
            .or_else(|| self.without_scheme(start))
            .or_else(|| self.address(start))
    }

    /// The end of the `@mention` that starts here: letters, digits and `_`; a dot where a small letter or a digit
    /// follows (Instagram, Bluesky); a server (Mastodon).
    pub(super) fn mention_end(&mut self, start: usize) -> Option<usize> {
        if !matches!(self.chunk[start].base, '@' | '\u{ff20}') {
            return None;
        }
        let mut end = start + 1;
        while let Some(unit) = self.chunk.get(end) {
            let dot = unit.base == '.'
                && self.chunk[end - 1].is_alphanumeric()
                && self.chunk.get(end + 1).is_some_and(|next| {
                    let small = next.base.is_lowercase() || next.base.is_ascii_digit();
                    // A keycap's base is a digit, too, but it ends the mention.
                    next.is_alphanumeric() && (small || next.base == '_')
                });
            if !unit.is_alphanumeric() && !dot {
                break;
            }
            end += 1;
        }
        if end == start + 1 {
            return None;
        }
        let server = self
            .chunk
            .get(end)
            .filter(|unit| unit.base == '@')
            .and_then(|_| self.host(end + 1));
        Some(server.map_or(end, |(end, _)| end))
    }

    /// `http://...`, `https://...`, and both cut off anywhere by an ellipsis.
    fn with_scheme(&self, start: usize) -> Option<usize> {
        for scheme in ["https://", "http://"] {
            let matched = (self.chunk[start..].iter().zip(scheme.chars()))
                .take_while(|(unit, wanted)| unit.base.to_ascii_lowercase() == *wanted)
                .count();
            if matched == scheme.len() {
                return Some(self.tail_end(start + matched));
            }
            if matched > 0
                && self
                    .chunk
                    .get(start + matched)
                    .is_some_and(|unit| unit.base == '…')
            {
                return Some(start + matched + 1);
            }
        }
        None
    }

    /// `www.a.org/x`, `a.com`, `a.b/x`.
    fn without_scheme(&mut self, start: usize) -> Option<usize> {
        let (end, top_level) = self.host(start)?;
        let path = self.chunk.get(end).is_some_and(|unit| unit.base == '/')
            && self.chunk.get(end + 1).is_some_and(Unit::is_alphanumeric);
        let small = top_level.iter().all(|unit| unit.base.is_ascii_lowercase());
        let known = TOP_LEVEL.iter().any(|name| {
            name.len() == top_level.len()
                && top_level
                    .iter()
                    .zip(name.chars())
                    .all(|(unit, c)| unit.base.to_ascii_lowercase() == c)
        });
        let www =
            starts_with(&self.chunk[start..], "www.") || starts_with(&self.chunk[start..], "WWW.");
        if path && (small || known || www) {
            Some(self.tail_end(end))
        } else {
            (known || www).then_some(end)
        }
    }

    /// `name@a.org`.
    fn address(&mut self, start: usize) -> Option<usize> {
        if start < self.local {
            return None;
        }
        let in_local = |unit: &Unit| unit.is_alphanumeric() || matches!(unit.base, '.' | '+' | '-');
        let length = self.chunk[start..]
            .iter()
            .take_while(|unit| in_local(unit))
            .count();
        self.local = start + length;
        self.chunk.get(self.local).filter(|unit| unit.base == '@')?;
        self.host(self.local + 1).map(|(end, _)| end)
    }

    /// Labels joined by dots, two at least, the last of two letters at least: the end, and the last label.
    fn host(&mut self, start: usize) -> Option<(usize, &'a [Unit])> {
        let chunk = self.chunk;
        let known = self
            .name
            .filter(|&(from, end, _)| (from..end).contains(&start));
        let (_, end, last_label) = known.unwrap_or_else(|| {
            let (mut end, mut last_label) = (start, start);
            while let Some(unit) = chunk.get(end) {
                let next = chunk.get(end + 1).is_some_and(Unit::is_alphanumeric);
                if unit.base == '.' && end > start && next {
                    last_label = end + 1;
                } else if !(unit.is_alphanumeric() || (unit.base == '-' && end > start && next)) {
                    break;
                }
                end += 1;
            }
            *self.name.insert((start, end, last_label))
        });
        let top_level = &chunk[last_label..end];
        let letters = top_level.iter().all(|unit| unit.class == Class::Letter);
        (last_label > start && top_level.len() >= 2 && letters).then_some((end, top_level))
    }

    /// Where a link ends whose scheme or name ends at `start`: at what cannot be part of one, then back over
    /// closing punctuation; an ellipsis that cuts it off belongs to it.
    fn tail_end(&self, start: usize) -> usize {
        let (mut end, mut open, mut closed) = (start, 0_usize, 0_usize);
        while let Some(unit) = self.chunk.get(end) {
            match unit.base {
                '…' => return end + 1,
                '(' => open += 1,
                ')' => closed += 1,
                '"' | '<' | '>' | '`' | '{' | '}' | '|' | '^' | '\\' => break,
                c if unit.is_alphanumeric() || c.is_ascii_punctuation() => {}
                _ => break,
            }
            end += 1;
        }
        while end > start {
            match self.chunk[end - 1].base {
                '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | ']' => {}
                '(' => open -= 1,
                ')' if closed > open => closed -= 1,
                _ => break,
            }
            end -= 1;
        }
        end
    }
}
