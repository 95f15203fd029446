//! Word pieces back into text.
//!
//! A BERT's tokenizer cuts off every punctuation mark and forgets the spaces. Its own decoder puts back those before the
//! commonest marks and leaves `# tag`, `@ name` and `t - shirt` apart; posts are full of these, so that the rules here
//! know more marks, and they are the same whichever decoder a `tokenizer.json` names.

use std::ops::Range;

/// A word put together from its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedWord {
    /// The word, or a punctuation mark.
    pub text: String,
    /// Which pieces it was.
    pub pieces: Range<usize>,
}

/// What a piece begins with that goes on with a word.
const FURTHER: &str = "##";

/// The words of a run of pieces: each piece `##...` is joined to the one before.
pub fn words<S: AsRef<str>>(pieces: &[S]) -> Vec<JoinedWord> {
    let mut words = Vec::<JoinedWord>::new();
    for (place, piece) in pieces.iter().enumerate() {
        let piece = piece.as_ref();
        let rest = piece.strip_prefix(FURTHER).filter(|rest| !rest.is_empty());
        match (rest, words.last_mut()) {
            (Some(rest), Some(word)) => {
                word.text.push_str(rest);
                word.pieces.end = place + 1;
            }
            _ => words.push(JoinedWord {
                text: rest.unwrap_or(piece).to_owned(),
                pieces: place..place + 1,
            }),
        }
    }
    words
}

/// The words as a person would write them: no space before a comma, none after `#`, none within `don't`.
pub fn sentence<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut quoted = false;
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let quote = word == "\"";
        let apart = match text.chars().next_back() {
            None => false,
            // An opening quote holds on to what follows, a closing one to what precedes.
            Some('"') if quoted => false,
            Some(_) if quote && quoted => false,
            Some(_) => is_apart(&text, word, words.peek().copied()),
        };
        if apart {
            text.push(' ');
        }
        text.push_str(word);
        quoted ^= quote;
    }
    text
}

/// Whether a space stands between the `text` so far and a `word`; `next` is the one after.
fn is_apart(text: &str, word: &str, next: Option<&str>) -> bool {
    let mut back = text.chars().rev();
    let (last, second) = (back.next(), back.next());
    let begins = |word: &str| word.chars().next();
    let is = |c: Option<char>, test: fn(char) -> bool| c.is_some_and(test);
    match begins(word) {
        Some('.' | ',' | '!' | '?' | ';' | ':' | ')' | ']' | '}' | '%' | '…' | '/' | '_')
        | None => return false,
        Some('\'' | '’' | '-') => {
            let inside =
                is(last, char::is_alphanumeric) && is(next.and_then(begins), char::is_alphanumeric);
            return !inside;
        }
        Some(_) => {}
    }
    match last {
        Some('(' | '[' | '{' | '#' | '@' | '$' | '£' | '€' | '¿' | '¡' | '/' | '_') => false,
        Some('\'' | '’' | '-') => {
            !(is(second, char::is_alphanumeric) && is(begins(word), char::is_alphanumeric))
        }
        // 3.5, 1,000, 10:30
        Some('.' | ',' | ':') => {
            let digit = |c: char| c.is_ascii_digit();
            !(is(second, digit) && is(begins(word), digit))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_words() {
        let joined = words(&["un", "##believ", "##able", "!", "##s", "##"]);
        let texts: Vec<_> = joined.iter().map(|w| w.text.as_str()).collect();
        assert_eq!(texts, ["unbelievable", "!s", "##"]);
        assert_eq!(joined[0].pieces, 0..3);
        assert_eq!(joined[1].pieces, 3..5);
        // A caption may begin in the middle of a word.
        assert_eq!(words(&["##able"])[0].text, "able");
        assert!(words::<&str>(&[]).is_empty());
    }

    #[test]
    fn spaces_stand_where_a_person_puts_them() {
        for (words, expected) in [
            (
                "the cat , the dog . really ? !",
                "the cat, the dog. really?!",
            ),
            ("# sunset with @ ann _ b", "#sunset with @ann_b"),
            ("i don ' t like t - shirts", "i don't like t-shirts"),
            ("he said \" hello \" to me", "he said \"hello\" to me"),
            ("( see p . 3 ) 50 % off", "(see p. 3) 50% off"),
            ("at 10 : 30 for $ 3 . 5", "at 10:30 for $3.5"),
            ("a - b", "a-b"),
            ("rt : what a day . . .", "rt: what a day..."),
            ("- what ' s that ' ?", "- what's that '?"),
            ("", ""),
        ] {
            assert_eq!(
                sentence(words.split(' ').filter(|w| !w.is_empty())),
                expected
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_spaces_is_added(words in proptest::collection::vec("[a-z0-9'\"#@.,:()/-]{1,4}", 0..12)) {
            let text = sentence(words.iter().map(String::as_str));
            proptest::prop_assert_eq!(text.replace(' ', ""), words.concat());
            proptest::prop_assert!(!text.contains("  ") && text.trim() == text);
        }
    }
}
