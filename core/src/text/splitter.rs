//! The one splitter of captions into words, with offsets into the original string.
//!
//! It writes words the way the training tweets do (Twitter-2017's form, as far as Twitter-2015 agrees), so that
//! what a user types looks to the model like what it was trained on. A caption is cut into `units` (grapheme
//! clusters without white space), these into chunks at white space, and each chunk, from left to right, into the
//! first of these that fits:
//!
//! | word | examples | |
//! |---|---|---|
//! | link | `https://t.co/x`, `www.a.org`, `MLB.com`, `bit.ly/x`, `me@a.org`, `htt…` | whole, without the punctuation that follows; cut off by `…`, with it |
//! | mention | `@nba_fan`, `@a.b`, `@a@b.social` | whole |
//! | character entity | `&amp;`, `&amp` | whole |
//! | smiley | `:)`, `;-)`, `:D` | whole, where no letter or digit touches it |
//! | run of letters, digits and `_` | `Eileen`, `1st`, `Trump2016`, `10,000`, `13.5`, `9/11`, `T-Mobile` | inner hyphens join; `.`, `,` and `/` join digits |
//! | one character of a script without spaces | `東`, `の`, `ก็` | each alone (ideographs, Hiragana, Thai, Lao, Khmer, Burmese) |
//! | anything else | `#`, `'`, `.`, `$`, `🇺🇸`, `👩🏽‍🚀` | each grapheme cluster alone |
//!
//! So `#NBA` is `#` `NBA`, `can't` is `can` `'` `t`, `U.S.` is `U` `.` `S` `.`, and `7:30` is `7` `:` `30`, as in
//! both data sets. They disagree over `same-sex`, `1st` and `9/11` (2017 cuts there, 2015 does not); these stay
//! whole, since what is never cut survives being joined by spaces and split again.
//!
//! Every character but white space belongs to exactly one word. Characters that show nothing (joiners, variation
//! selectors, byte-order marks, zero-width spaces ...) belong to the grapheme before them, else to the one after
//! them, and are a word of their own only between white space; a zero-width space ends the word it belongs to.
//! Unicode's own word boundaries (UAX 29) were no base for this: they keep contractions and `a.b` together, and
//! cut links, mentions and hyphens. The time taken is linear in the length of the caption.

mod link;
pub(crate) mod units;

use serde::Serialize;

use link::Links;
use units::{Class, Unit};

/// A word of a caption.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Word {
    /// The characters of the word, as they stand in the caption; whoever reads the JSON has that.
    #[serde(skip)]
    pub text: String,
    /// Where the word starts, in Unicode scalars of the caption.
    pub start: usize,
    /// Where the word ends (exclusive), in Unicode scalars of the caption.
    pub end: usize,
}

/// Splits a caption into words; see the [module](self) for the rules.
///
/// The words are in order, do not overlap, and hold every scalar that is not white space.
/// Splitting the words once more, joined by single spaces, gives the same words.
pub fn split(caption: &str) -> Vec<Word> {
    let units = units::units(caption);
    let mut words = Vec::new();
    for chunk in units.chunk_by(|_, next| !next.after_gap) {
        let mut links = Links::new(chunk);
        let mut start = 0;
        while start < chunk.len() {
            let end = word_end(chunk, start, &mut links);
            let (first, last) = (&chunk[start], &chunk[end - 1]);
            words.push(Word {
                text: caption[first.bytes.start..last.bytes.end].to_owned(),
                start: first.scalars.start,
                end: last.scalars.end,
            });
            start = end;
        }
    }
    words
}

/// Whether the whole word is a link or an address, as the splitter sees it.
pub(crate) fn is_link(word: &str) -> bool {
    let units = units::units(word);
    Links::new(&units).end(0) == Some(units.len())
}

/// Where the word ends that starts at `chunk[start]`; always beyond `start`.
fn word_end(chunk: &[Unit], start: usize, links: &mut Links<'_>) -> usize {
    links
        .end(start)
        .or_else(|| links.mention_end(start))
        .or_else(|| entity_end(chunk, start))
        .or_else(|| smiley_end(chunk, start))
        .or_else(|| run_end(chunk, start))
        .unwrap_or(start + 1)
}

/// A run of letters and digits, with the connectors that stay inside a word.
fn run_end(chunk: &[Unit], start: usize) -> Option<usize> {
    if !chunk[start].is_alphanumeric() {
        return None;
    }
    let mut end = start + 1;
    while let Some(unit) = chunk.get(end) {
        let joined = unit.is_alphanumeric()
            || chunk.get(end + 1).is_some_and(|next| {
                let digits = chunk[end - 1].class == Class::Digit && next.class == Class::Digit;
                match unit.base {
                    '-' | '\u{2010}' | '\u{2011}' => {
                        chunk[end - 1].is_alphanumeric() && next.is_alphanumeric()
                    }
                    '.' | ',' | '/' => digits,
                    _ => false,
                }
            });
        if !joined {
            break;
        }
        end += 1;
    }
    Some(end)
}

/// The character entities that the interface of Twitter wrote into its texts.
const ENTITIES: [&str; 6] = ["amp", "lt", "gt", "quot", "apos", "nbsp"];

/// `&amp;` and its like, also without the semicolon.
fn entity_end(chunk: &[Unit], start: usize) -> Option<usize> {
    if chunk[start].base != '&' {
        return None;
    }
    let rest = &chunk[start + 1..];
    let name = ENTITIES
        .iter()
        .find(|name| units::starts_with(rest, name))?;
    match rest.get(name.len()) {
        Some(next) if next.base == ';' => Some(start + name.len() + 2),
        Some(next) if next.is_alphanumeric() => None,
        _ => Some(start + name.len() + 1),
    }
}

/// `:)`, `;-)`, `=D` ...: eyes, perhaps a nose, a mouth.
fn smiley_end(chunk: &[Unit], start: usize) -> Option<usize> {
    let touches = |unit: Option<&Unit>| unit.is_some_and(|unit| unit.class != Class::Symbol);
    if !matches!(chunk[start].base, ':' | ';' | '=') || touches(chunk[..start].last()) {
        return None;
    }
    let mouth = match chunk.get(start + 1)?.base {
        '-' | '\'' => start + 2,
        _ => start + 1,
    };
    let smiles = matches!(
        chunk.get(mouth)?.base,
        ')' | '(' | 'D' | 'P' | 'p' | 'O' | 'o'
    );
    (smiles && !touches(chunk.get(mouth + 1))).then_some(mouth + 1)
}

#[cfg(test)]
mod tests;
