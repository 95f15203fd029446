//! The shape of a word: what an uncased text encoder cannot see of it.
//!
//! The default encoder lower-cases its input, so that `US` and `us`, or `Apple` and `apple`, are one to it. The model
//! adds a learned vector of the word's shape to each of the word's pieces.
//!
//! | class | words | examples |
//! |---|---|---|
//! | 0 | no word | `[CLS]`, `[SEP]`, padding |
//! | 1 | small letters | `photo`, `co-host` |
//! | 2 | a capital, then small letters; another capital only after a hyphen | `Eileen`, `Spider-Man`, `X-mas` |
//! | 3 | capitals, two or more | `NASA`, `T-M` |
//! | 4 | one capital | `I`, `J` |
//! | 5 | capitals and small letters otherwise | `iPhone`, `McDonald`, `NBAFinals` |
//! | 6 | digits | `2017`, `10,000`, `3-1`, `9/11` |
//! | 7 | digits and small letters | `1st`, `90s` |
//! | 8 | digits and letters, a capital among them | `X10`, `F-16s`, `Trump2016` |
//! | 9 | letters without case | `東`, `서울`, `دبي` |
//! | 10 | a mention, or `@` alone | `@nba_fan` |
//! | 11 | a link or an address of mail | `https://t.co/x`, `MLB.com` |
//! | 12 | `#` (also with its tag) | `#`, `#NBA` |
//! | 13 | sentence punctuation | `.` `,` `!` `?` `:` `;` `…` |
//! | 14 | other punctuation and signs of ASCII, quotation marks, dashes | `'` `"` `(` `-` `&` `$` `&amp;` `’` |
//! | 15 | emoji, other symbols, what cannot be seen | `🏀` `™` `€` |

use super::splitter::{is_link, units::is_unseen};

/// The number of classes of [`word_shape`].
pub const WORD_SHAPES: usize = 16;

/// The class of the word's shape, in `1..WORD_SHAPES`; 0 is left for what is no word.
pub fn word_shape(word: &str) -> usize {
    let seen: String = word.chars().filter(|&c| !is_unseen(c)).collect();
    let mut chars = seen.chars();
    match (chars.next(), chars.as_str()) {
        (None, _) => return 15,
        (Some('#' | '\u{ff03}'), _) => return 12,
        (Some('@' | '\u{ff20}'), _) => return 10,
        (Some('&'), "amp;" | "amp" | "lt;" | "lt" | "gt;" | "gt") => return 14,
        _ => {}
    }
    // No link is without one of these, and most words are.
    if seen.contains(['.', ':', '…']) && is_link(&seen) {
        return 11;
    }
    let letters = Letters::of(&seen);
    match letters {
        Letters {
            upper: 0,
            lower: 0,
            digits: 0,
            caseless: 0,
            ..
        } => sign(&seen),
        Letters {
            upper: 0,
            lower: 0,
            digits: 0,
            ..
        } => 9,
        Letters {
            upper: 0, lower: 0, ..
        } => 6,
        Letters {
            upper: 0,
            digits: 1..,
            ..
        } => 7,
        Letters { digits: 1.., .. } => 8,
        Letters { upper: 0, .. } => 1,
        Letters {
            upper: 1, lower: 0, ..
        } => 4,
        Letters { lower: 0, .. } => 3,
        Letters { title: true, .. } => 2,
        _ => 5,
    }
}

/// The class of a word without letters and digits, by its first character.
fn sign(word: &str) -> usize {
    match word.chars().next() {
        Some('.' | ',' | '!' | '?' | ':' | ';' | '…' | '¡' | '¿' | '、' | '。' | '！' | '？') => {
            if word.chars().count() > 1 && word.ends_with([')', '(']) {
                15
            } else {
                13
            }
        }
        Some(
            '\u{2010}'..='\u{201f}' | '\u{2032}'..='\u{203a}' | '\u{ab}' | '\u{bb}' | '\u{b4}',
        ) => 14,
        Some(c) if c.is_ascii_punctuation() => 14,
        _ => 15,
    }
}

/// How many of its characters are what.
struct Letters {
    upper: usize,
    lower: usize,
    digits: usize,
    caseless: usize,
    /// It starts with a capital, and any other stands after a hyphen.
    title: bool,
}

impl Letters {
    fn of(word: &str) -> Self {
        let mut letters = Self {
            upper: 0,
            lower: 0,
            digits: 0,
            caseless: 0,
            title: true,
        };
        let mut starts = true;
        for c in word.chars() {
            if c.is_uppercase() {
                letters.upper += 1;
                letters.title &= starts;
            } else if c.is_lowercase() {
                letters.title &= letters.upper > 0;
                letters.lower += 1;
            } else if c.is_numeric() {
                letters.digits += 1;
            } else if c.is_alphabetic() {
                letters.caseless += 1;
            }
            starts = matches!(c, '-' | '\u{2010}' | '\u{2011}');
        }
        letters
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_class_has_its_words() {
        let classes: [(usize, &[&str]); 15] = [
            (
                1,
                &["photo", "co-host", "café", "cafe\u{301}", "_x", "naïve"],
            ),
            (
                2,
                &[
                    "Eileen",
                    "Spider-Man",
                    "Élodie",
                    "E\u{301}lodie",
                    "X-mas",
                    "Ki-moon",
                    "At",
                    "\u{200b}Kim",
                ],
            ),
            (3, &["NASA", "T-M", "US", "ÉTÉ"]),
            (4, &["I", "J", "É"]),
            (5, &["iPhone", "McDonald", "NBAFinals", "e-Bay", "NATO-led"]),
            (6, &["2017", "10,000", "3-1", "9/11", "½", "٣"]),
            (7, &["1st", "90s", "2-day"]),
            (8, &["X10", "F-16s", "Trump2016", "3D"]),
            (9, &["東", "서울", "دبي", "の", "ก็", "क्षि"]),
            (10, &["@nba_fan", "@", "@NBA", "＠x"]),
            (
                11,
                &[
                    "https://t.co/x",
                    "http://…",
                    "htt…",
                    "MLB.com",
                    "www.a.org",
                    "me@a.org",
                    "t.co/x",
                    "http:/…",
                ],
            ),
            (12, &["#", "#NBA", "＃"]),
            (13, &[".", "...", ",", "!", "?", ":", ";", "…", "。"]),
            (
                14,
                &[
                    "'", "’", "\"", "“", "(", "-", "—", "&", "$", "&amp;", "&amp", "%", "«",
                ],
            ),
            (
                15,
                &[
                    "🏀",
                    "™",
                    "€",
                    "🇺🇸",
                    "👩🏽‍🚀",
                    "\u{fe0f}",
                    "\u{200b}",
                    "",
                    ":)",
                    "❤️",
                    "\u{fffd}",
                    "\u{92}",
                ],
            ),
        ];
        for (class, words) in classes {
            for word in words {
                assert_eq!(word_shape(word), class, "{word:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_word_has_a_class_of_its_own(word in any::<String>()) {
            prop_assert!((1..WORD_SHAPES).contains(&word_shape(&word)));
        }

        #[test]
        fn what_cannot_be_seen_does_not_count(word in "[A-Za-z0-9#@.-]{1,8}") {
            prop_assert_eq!(word_shape(&format!("\u{feff}{word}\u{200b}")), word_shape(&word));
        }
    }
}
