//! Which words of a text are hidden, and behind what (Devlin et al. 2019, arXiv:1810.04805): whole words, so that no piece of a word
//! gives the others away.

use muse_core::pretraining::MaskedText;
use muse_core::text::tokenizer::EncodedText;
use rand::RngExt;

/// How words are hidden.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masking {
    /// Share of the words.
    pub(super) share: f64,
    /// The piece in their place.
    pub(super) mask: u32,
    /// Number of pieces.
    pub(super) vocabulary: u32,
}

impl Masking {
    /// Hides words of a text that has some, at least one. Of the pieces of hidden words 80 % become the mask and 10 % any other; the
    /// rest stay, as the words do when the encoder is used.
    pub(super) fn hide(&self, text: &EncodedText, rng: &mut impl RngExt) -> MaskedText {
        let mut pieces = text.pieces.clone();
        let mut hidden = Vec::new();
        let count = text.first_pieces.len();
        let mut chosen: Vec<bool> = (0..count).map(|_| rng.random_bool(self.share)).collect();
        if !chosen.contains(&true) && count > 0 {
            chosen[rng.random_range(0..count)] = true;
        }
        // The last word ends before [SEP].
        let ends = text.first_pieces.iter().skip(1).copied();
        let ends = ends.chain([pieces.len() - 1]);
        let words = text.first_pieces.iter().zip(ends).zip(chosen);
        for ((&first, end), _) in words.filter(|(_, chosen)| *chosen) {
            for (place, piece) in pieces.iter_mut().enumerate().take(end).skip(first) {
                hidden.push((place, *piece));
                match rng.random_range(0..10) {
                    0..8 => *piece = self.mask,
                    8 => *piece = rng.random_range(0..self.vocabulary),
                    _ => {}
                }
            }
        }
        let words = text.first_pieces.iter();
        MaskedText {
            pieces,
            hidden,
            words: words.map(|&first| (first, text.shapes[first])).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const MASKING: Masking = Masking {
        share: 0.15,
        mask: 4,
        vocabulary: 1000,
    };

    /// Words of one, two and three pieces, each of which is a number from 100 on; `[CLS]` is 2, `[SEP]` 3.
    fn text(words: usize) -> EncodedText {
        let (mut pieces, mut shapes, mut first_pieces) = (vec![2], vec![0], Vec::new());
        for word in 0..words {
            first_pieces.push(pieces.len());
            for _ in 0..=word % 3 {
                pieces.push(100 + pieces.len() as u32);
                shapes.push(1 + word % 15);
            }
        }
        pieces.push(3);
        shapes.push(0);
        EncodedText {
            pieces,
            shapes,
            first_pieces,
        }
    }

    fn hide(words: usize, seed: u64) -> MaskedText {
        MASKING.hide(&text(words), &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn shares_are_berts() {
        let (mut all, mut hidden, mut masked, mut kept) = (0, 0, 0, 0);
        for seed in 0..400 {
            let (text, masking) = (text(60), hide(60, seed));
            all += text.pieces.len() - 2;
            hidden += masking.hidden.len();
            for &(place, piece) in &masking.hidden {
                assert_eq!(piece, text.pieces[place]);
                masked += usize::from(masking.pieces[place] == MASKING.mask);
                kept += usize::from(masking.pieces[place] == piece);
            }
            let changed = (0..text.pieces.len())
                .filter(|&place| masking.pieces[place] != text.pieces[place])
                .collect::<Vec<_>>();
            let places = masking.hidden.iter().map(|(place, _)| *place);
            let places: Vec<usize> = places.collect();
            assert!(changed.iter().all(|place| places.contains(place)));
            // Whatever is hidden, each word's shape is asked for.
            let words = text.first_pieces.iter().map(|&at| (at, text.shapes[at]));
            assert!(masking.words.iter().copied().eq(words));
        }
        let share = |part: usize, whole: usize| part as f64 / whole as f64;
        assert!((share(hidden, all) - 0.15).abs() < 0.01, "{hidden}, {all}");
        assert!((share(masked, hidden) - 0.8).abs() < 0.02, "{masked}");
        assert!((share(kept, hidden) - 0.1).abs() < 0.02, "{kept}");
    }

    #[test]
    fn words_are_hidden_whole() {
        for seed in 0..100 {
            let masking = hide(30, seed);
            let hidden = |place: &usize| masking.hidden.iter().any(|(at, _)| at == place);
            let text = text(30);
            for (word, &first) in text.first_pieces.iter().enumerate() {
                let pieces: Vec<usize> = (first..=first + word % 3).collect();
                let count = pieces.iter().filter(|place| hidden(place)).count();
                assert!(count == 0 || count == pieces.len(), "word {word}: {count}");
            }
            assert!(!hidden(&0) && !hidden(&(text.pieces.len() - 1)));
        }
    }

    #[test]
    fn the_seed_alone_decides_and_something_is_always_hidden() {
        assert_eq!(hide(30, 7), hide(30, 7));
        assert_ne!(hide(30, 7), hide(30, 8));
        for seed in 0..50 {
            assert!(!hide(1, seed).hidden.is_empty());
        }
    }
}
