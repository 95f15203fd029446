//! The captioner's tokens: four of its own, and the word pieces that the training captions use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Fills the batch where a caption has ended.
pub const PAD: u32 = 0;
/// Stands before every caption.
pub const START: u32 = 1;
/// Stands behind every caption.
pub const END: u32 = 2;
/// Stands for a piece that is not in the vocabulary.
pub const UNKNOWN: u32 = 3;

/// Tokens that are no piece.
const OWN: usize = 4;

/// Which of the tokenizer's word pieces the captioner can say. Tokens are [`PAD`], [`START`], [`END`], [`UNKNOWN`], and
/// from 4 on the pieces in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct Vocabulary {
    pieces: Vec<u32>,
}

/// Why a list is no vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// The pieces are not in order, or one is there twice.
    #[error(
        "the captioner's pieces must ascend, but piece {next} (at place {place}) follows {before}"
    )]
    Order {
        /// Where in the list.
        place: usize,
        /// The piece before.
        before: u32,
        /// The piece there.
        next: u32,
    },
}

impl Vocabulary {
    /// The pieces that are seen at least `least` times in `captions`, each the ids of its pieces.
    pub fn new(captions: impl IntoIterator<Item = impl AsRef<[u32]>>, least: usize) -> Self {
        let mut seen = BTreeMap::<u32, usize>::new();
        for caption in captions {
            for &piece in caption.as_ref() {
                *seen.entry(piece).or_default() += 1;
            }
        }
        seen.retain(|_, count| *count >= least);
        Self {
            pieces: seen.into_keys().collect(),
        }
    }

    /// A vocabulary of these pieces.
    ///
    /// # Errors
    ///
    /// When their ids do not ascend.
    pub fn from_pieces(pieces: Vec<u32>) -> Result<Self, VocabularyError> {
        let pairs = pieces.windows(2).zip(1..);
        for (pair, place) in pairs {
            let (before, next) = (pair[0], pair[1]);
            if before >= next {
                return Err(VocabularyError::Order {
                    place,
                    before,
                    next,
                });
            }
        }
        Ok(Self { pieces })
    }

    /// A vocabulary of `tokens` tokens, whatever they are: to count the weights of a captioner whose data is not at hand.
    pub fn of_size(tokens: usize) -> Self {
        let pieces = tokens.saturating_sub(OWN) as u32;
        Self {
            pieces: (0..pieces).collect(),
        }
    }

    /// Ids of the pieces, ascending.
    pub fn pieces(&self) -> &[u32] {
        &self.pieces
    }

    /// The number of tokens V: the pieces and the four tokens of the captioner's own.
    #[expect(
        clippy::len_without_is_empty,
        reason = "there are four tokens at least"
    )]
    pub fn len(&self) -> usize {
        OWN + self.pieces.len()
    }

    /// A caption's tokens, from [`START`] to [`END`].
    pub fn encode(&self, pieces: &[u32]) -> Vec<u32> {
        let token = |piece| match self.pieces.binary_search(piece) {
            Ok(place) => (OWN + place) as u32,
            Err(_) => UNKNOWN,
        };
        let inner = pieces.iter().map(token);
        std::iter::once(START).chain(inner).chain([END]).collect()
    }

    /// The pieces of a caption's tokens: up to the first [`END`], less what is no piece.
    pub fn decode(&self, tokens: &[u32]) -> Vec<u32> {
        tokens
            .iter()
            .take_while(|&&token| token != END)
            .filter_map(|&token| self.pieces.get((token as usize).checked_sub(OWN)?).copied())
            .collect()
    }
}

impl TryFrom<Vec<u32>> for Vocabulary {
    type Error = VocabularyError;

    fn try_from(pieces: Vec<u32>) -> Result<Self, VocabularyError> {
        Self::from_pieces(pieces)
    }
}

impl From<Vocabulary> for Vec<u32> {
    fn from(vocabulary: Vocabulary) -> Self {
        vocabulary.pieces
    }
}
