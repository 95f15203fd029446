//! What the splitter sees of a caption: grapheme clusters without white space, and their kind.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// What a unit can be part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A letter, or `_`: of a run.
    Letter,
    /// A digit or another numeral: of a run.
    Digit,
    /// A character of a script that is written without spaces: always alone.
    Single,
    /// Anything else that can be seen: alone.
    Symbol,
    /// Nothing that can be seen, with no neighbour to belong to.
    Unseen,
}

/// A grapheme cluster (with the unseen characters that belong to it).
#[derive(Debug)]
pub(crate) struct Unit {
    /// Its place in the caption, in bytes.
    pub(crate) bytes: Range<usize>,
    /// Its place in the caption, in Unicode scalars.
    pub(crate) scalars: Range<usize>,
    /// The character that decides what it is.
    pub(crate) base: char,
    /// What it can be part of.
    pub(crate) class: Class,
    /// Whether no word can reach over from the unit before: white space or a zero-width space stands between.
    pub(crate) after_gap: bool,
}

impl Unit {
    /// Whether it can be part of a run of letters and digits.
    pub(crate) fn is_alphanumeric(&self) -> bool {
        matches!(self.class, Class::Letter | Class::Digit)
    }
}

/// Whether the units' characters start with this text.
pub(crate) fn starts_with(units: &[Unit], text: &str) -> bool {
    let mut bases = units.iter().map(|unit| unit.base);
    text.chars().all(|wanted| bases.next() == Some(wanted))
}

/// The units of a caption, in order; between them they hold all that is not white space.
pub(crate) fn units(caption: &str) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut scalar = 0;
    let mut after_gap = false;
    for (byte, cluster) in caption.grapheme_indices(true) {
        // A cluster can hold white space: "\r\n", or a space and a lone mark, or an Arabic number sign and a space.
        let mut offset = 0;
        for piece in cluster.split_inclusive(char::is_whitespace) {
            let visible = piece.trim_end();
            if !visible.is_empty() {
                let length = visible.chars().count();
                let start = byte + offset;
                let unit = Unit {
                    bytes: start..start + visible.len(),
                    scalars: scalar..scalar + length,
                    base: base(visible),
                    class: class(visible),
                    after_gap,
                };
                after_gap = push(&mut units, unit);
            }
            after_gap |= visible.len() < piece.len();
            offset += piece.len();
            scalar += piece.chars().count();
        }
    }
    units
}

/// Adds a unit, or joins it with the one before where they touch and one of the two is unseen.
/// Returns whether a word must end here.
fn push(units: &mut Vec<Unit>, unit: Unit) -> bool {
    let zero_width_space = unit.base == '\u{200b}';
    let Some(last) = units.last_mut() else {
        units.push(unit);
        return false;
    };
    let touching = last.bytes.end == unit.bytes.start;
    if touching && unit.class == Class::Unseen {
        last.bytes.end = unit.bytes.end;
        last.scalars.end = unit.scalars.end;
        unit.after_gap || (zero_width_space && last.class != Class::Unseen)
    } else if touching && last.class == Class::Unseen {
        last.bytes.end = unit.bytes.end;
        last.scalars.end = unit.scalars.end;
        last.base = unit.base;
        last.class = unit.class;
        false
    } else {
        units.push(unit);
        false
    }
}

fn base(cluster: &str) -> char {
    let mut chars = cluster.chars();
    let first = chars.next().unwrap_or_default();
    if is_unseen(first) {
        chars.find(|&c| !is_unseen(c)).unwrap_or(first)
    } else {
        first
    }
}

fn class(cluster: &str) -> Class {
    let base = base(cluster);
    if is_unseen(base) || (is_mark(base) && !is_skin_tone(base)) {
        Class::Unseen
    } else if is_emoji_form(base, cluster) {
        Class::Symbol
    } else if is_written_without_spaces(base) {
        Class::Single
    } else if base.is_numeric() {
        Class::Digit
    } else if base.is_alphabetic() || base == '_' {
        Class::Letter
    } else {
        Class::Symbol
    }
}

/// A digit on a keycap, or a letter in a box that is shown as an emoji.
fn is_emoji_form(base: char, cluster: &str) -> bool {
    cluster.contains('\u{20e3}') || (!base.is_ascii() && cluster.contains('\u{fe0f}'))
}

/// A character that only ever follows another in its grapheme cluster; seen here, it has none to follow.
fn is_mark(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    let mut buffer = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut buffer[1..]).len();
    str::from_utf8(&buffer[..length]).is_ok_and(|pair| pair.graphemes(true).count() == 1)
}

/// The modifiers of emoji are marks to Unicode, but alone they are seen, and the tweets have them as words.
fn is_skin_tone(c: char) -> bool {
    matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

/// Unicode's `Default_Ignorable_Code_Point`.
pub(crate) fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Ideographs, Hiragana, and the South-East Asian scripts that want a dictionary to find words.
fn is_written_without_spaces(c: char) -> bool {
    matches!(c,
        '\u{0e01}'..='\u{0e3a}' | '\u{0e40}'..='\u{0e4f}' | '\u{0e80}'..='\u{0ecf}' | '\u{0edc}'..='\u{0eff}'
        | '\u{1000}'..='\u{103f}' | '\u{104c}'..='\u{109f}' | '\u{1780}'..='\u{17d3}' | '\u{3005}'..='\u{3007}'
        | '\u{3021}'..='\u{3029}' | '\u{3041}'..='\u{309f}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{a9e0}'..='\u{a9ef}' | '\u{aa60}'..='\u{aa7f}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3fffd}')
}
