//! Words into the text encoder's word pieces, and long captions into overlapping windows.

use std::ops::Range;

use tokenizers::{InputSequence, Tokenizer};

use super::shape::word_shape;

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The bytes are not a `tokenizer.json`.
    #[error("not a tokenizer.json of Hugging Face's tokenizers: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// One of BERT's special pieces is not in the vocabulary.
    #[error("the tokenizer has no piece {piece}: a BERT's needs [CLS], [SEP], [PAD] and [UNK]")]
    MissingPiece {
        /// The piece that is missing.
        piece: &'static str,
    },
    /// The tokenizer fails on plain text.
    #[error("the tokenizer cannot cut a word into pieces: {reason}")]
    Unusable {
        /// What it says.
        reason: String,
    },
}

/// The tokenizer of a BERT, as its `tokenizer.json` has it, but for truncation and padding (which that file may have
/// switched on) and the special pieces: a caption that says `[SEP]` means the letters.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    json: String,
    cls: u32,
    sep: u32,
    pad: u32,
    unk: u32,
}

/// What the text encoder is given of a caption, or of a window of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedText {
    /// The pieces, with `[CLS]` in front and `[SEP]` behind.
    pub pieces: Vec<u32>,
    /// One for each piece: the class of its word's [shape](word_shape), 0 for the two special pieces.
    pub shapes: Vec<usize>,
    /// One for each word: where its first piece stands in `pieces`. Strictly increasing.
    pub first_pieces: Vec<usize>,
}

/// A run of a caption's words that fits into the text encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The words of the window, encoded.
    pub encoded: EncodedText,
    /// Which words of the caption these are.
    pub words: Range<usize>,
    /// The words (of the caption, among `words`) that are tagged by this window and no other.
    pub keep: Range<usize>,
}

impl TextTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// When the bytes are not such a file, or it is not that of a BERT.
    pub fn from_bytes(json: &[u8]) -> Result<Self, TokenizerError> {
        let unreadable = |reason: String| TokenizerError::Json { reason };
        let text = str::from_utf8(json).map_err(|e| unreadable(e.to_string()))?;
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| unreadable(e.to_string()))?;
        tokenizer
            .with_truncation(None)
            .map_err(|e| unreadable(e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        let piece = |piece: &'static str| {
            tokenizer
                .token_to_id(piece)
                .ok_or(TokenizerError::MissingPiece { piece })
        };
        let (cls, sep, pad, unk) = (
            piece("[CLS]")?,
            piece("[SEP]")?,
            piece("[PAD]")?,
            piece("[UNK]")?,
        );
        let this = Self {
            tokenizer,
            json: text.to_owned(),
            cls,
            sep,
            pad,
            unk,
        };
        // What is no word of any vocabulary shows whether the unknown piece is found.
        this.try_encode(&["a", "\u{10ffff}"])
            .map_err(|e| TokenizerError::Unusable {
                reason: e.to_string(),
            })?;
        Ok(this)
    }

    /// The `tokenizer.json` that this was read from; [`Self::from_bytes`] reads it again.
    pub fn json(&self) -> String {
        self.json.clone()
    }

    /// The number of pieces.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The largest number that a piece has: where numbers are left out it is not below [`Self::vocab_size`].
    pub fn largest_id(&self) -> u32 {
        let ids = self.tokenizer.get_vocab(true).into_values();
        ids.max().unwrap_or_default()
    }

    /// The piece in front of every text.
    pub fn cls(&self) -> u32 {
        self.cls
    }

    /// The piece behind every text.
    pub fn sep(&self) -> u32 {
        self.sep
    }

    /// The piece that fills short texts of a batch.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The piece of what is not in the vocabulary.
    pub fn unk(&self) -> u32 {
        self.unk
    }

    /// The piece in the place of a hidden word, which the encoder itself does not need: `None` where there is none.
    pub fn mask(&self) -> Option<u32> {
        self.tokenizer.token_to_id("[MASK]")
    }

    /// How a piece is written; one that goes on with a word begins with `##`.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The pieces of each word; a word without any (a lone variation selector, say) is given one unknown piece.
    pub fn encode_words<S: AsRef<str>>(&self, words: &[S]) -> Vec<Vec<u32>> {
        // A tokenizer that `from_bytes` has let pass fails on no word; should it yet, the words are unknown.
        let mut pieces = self.try_encode(words).unwrap_or_default();
        pieces.resize(words.len(), Vec::new());
        for word in pieces.iter_mut().filter(|word| word.is_empty()) {
            word.push(self.unk);
        }
        pieces
    }

    fn try_encode<S: AsRef<str>>(&self, words: &[S]) -> tokenizers::Result<Vec<Vec<u32>>> {
        let texts: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let encoding = self.tokenizer.encode(InputSequence::from(texts), false)?;
        let mut pieces = vec![Vec::new(); words.len()];
        for (&id, word) in encoding.get_ids().iter().zip(encoding.get_word_ids()) {
            if let Some(word) = word {
                pieces[*word as usize].push(id);
            }
        }
        Ok(pieces)
    }

    /// Cuts a caption between words into windows of at most `max_pieces` pieces, `[CLS]` and `[SEP]` among them
    /// (at least three, whatever is asked for).
    ///
    /// A caption that fits is one window; so is one without words. Else neighbours share about a quarter of their
    /// words, the last window reaches as far back as it can, and each word is kept by the window in which it is
    /// farthest from a cut. A word of more pieces than a window holds loses its last ones.
    pub fn windows<S: AsRef<str>>(&self, words: &[S], max_pieces: usize) -> Vec<Window> {
        let room = max_pieces.saturating_sub(2).max(1);
        let mut pieces = self.encode_words(words);
        for word in &mut pieces {
            word.truncate(room);
        }
        let shapes: Vec<usize> = words.iter().map(|word| word_shape(word.as_ref())).collect();
        let lengths: Vec<usize> = pieces.iter().map(Vec::len).collect();
        let ranges = window_ranges(&lengths, room);
        let mut kept = 0;
        (ranges.iter().enumerate())
            .map(|(i, range)| {
                // Of the words shared with the next window the first half is farther from the cut here than there.
                let end = ranges
                    .get(i + 1)
                    .map_or(range.end, |next| (next.start + range.end).div_ceil(2));
                let keep = kept..end;
                kept = end;
                Window {
                    encoded: self.encoded(&pieces[range.clone()], &shapes[range.clone()]),
                    words: range.clone(),
                    keep,
                }
            })
            .collect()
    }

    fn encoded(&self, words: &[Vec<u32>], word_shapes: &[usize]) -> EncodedText {
        let (mut pieces, mut shapes) = (vec![self.cls], vec![0]);
        let mut first_pieces = Vec::with_capacity(words.len());
        for (word, &shape) in words.iter().zip(word_shapes) {
            first_pieces.push(pieces.len());
            pieces.extend_from_slice(word);
            shapes.resize(pieces.len(), shape);
        }
        pieces.push(self.sep);
        shapes.push(0);
        EncodedText {
            pieces,
            shapes,
            first_pieces,
        }
    }
}

/// Which words each window holds, for words of these lengths, none above `room`.
fn window_ranges(lengths: &[usize], room: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    loop {
        let (mut end, mut used) = (start, 0);
        while end < lengths.len() && used + lengths[end] <= room {
            used += lengths[end];
            end += 1;
        }
        if end == lengths.len() {
            // What precedes is context for free.
            while start > 0 && used + lengths[start - 1] <= room {
                start -= 1;
                used += lengths[start];
            }
            ranges.push(start..end);
            return ranges;
        }
        ranges.push(start..end);
        // The next window starts a quarter before this one ends, but no earlier than lets it reach the word after.
        let overlap = ((end - start) / 4).max(1);
        let mut next_used = lengths[end];
        let mut next = end;
        while next > end - overlap && next > start + 1 && next_used + lengths[next - 1] <= room {
            next -= 1;
            next_used += lengths[next];
        }
        start = next;
    }
}

#[cfg(test)]
mod tests;
