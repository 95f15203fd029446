//! What the exchange did, told in a caption's words and a picture's regions.

use serde::Serialize;

use crate::model::TraceRow;
use crate::text::tokenizer::Window;

/// What the exchange saw and did in each of the shared layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exchange {
    /// The layers, from the first.
    pub layers: Vec<ExchangedLayer>,
}

/// One shared layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExchangedLayer {
    /// Whether this layer exchanges at all.
    pub exchanges: bool,
    /// The caption's words. `exchanged` is the share of a word's pieces that took the picture's mean, `attention` is
    /// summed over them.
    pub words: Vec<ExchangedToken>,
    /// The picture's 64 regions, row by row; empty without a picture. Of a caption in several windows both figures are
    /// means over them.
    pub regions: Vec<ExchangedToken>,
    /// How clear the choice was.
    pub margins: Margins,
}

/// A word or a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ExchangedToken {
    /// The attention that its stream's cls row pays to it, 0 to 1: the tokens with the least are exchanged.
    pub attention: f32,
    /// How much of it took the other stream's mean, 0 to 1.
    pub exchanged: f32,
}

/// The distance between the greatest score that was exchanged and the least that was not; `None` where either is missing.
/// A margin near 0 is a choice that rounding could have turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Margins {
    /// Of the word pieces.
    pub words: Option<f32>,
    /// Of the regions.
    pub regions: Option<f32>,
}

impl Exchange {
    /// From the trace of each window of a caption of `words` words.
    pub(super) fn new(
        words: usize,
        windows: &[Window],
        trace: &[Vec<[TraceRow; 2]>],
        pictured: bool,
    ) -> Self {
        let layers = trace.first().map_or(0, Vec::len);
        let layers = (0..layers)
            .map(|layer| {
                let rows: Vec<&[TraceRow; 2]> = trace.iter().map(|window| &window[layer]).collect();
                ExchangedLayer::new(words, windows, &rows, pictured)
            })
            .collect();
        Self { layers }
    }
}

impl ExchangedLayer {
    fn new(words: usize, windows: &[Window], rows: &[&[TraceRow; 2]], pictured: bool) -> Self {
        let mut layer = Self {
            exchanges: false,
            words: vec![ExchangedToken::default(); words],
            regions: Vec::new(),
            margins: Margins::default(),
        };
        for (window, [text, image]) in windows.iter().zip(rows) {
            layer.exchanges |= text.chosen.is_some();
            let pieces = window.encoded.pieces.len();
            layer.add_words(window, text);
            least(&mut layer.margins.words, margin(text, pieces));
            if pictured {
                let regions = image.scores.len() - 1;
                layer.regions.resize(regions, ExchangedToken::default());
                for (region, sum) in layer.regions.iter_mut().enumerate() {
                    let token = token(image, region);
                    sum.attention += token.attention / windows.len() as f32;
                    sum.exchanged += token.exchanged / windows.len() as f32;
                }
                least(&mut layer.margins.regions, margin(image, regions));
            }
        }
        layer
    }

    /// The words that this window decides.
    fn add_words(&mut self, window: &Window, text: &TraceRow) {
        let encoded = &window.encoded;
        for word in window.keep.clone() {
            let index = word - window.words.start;
            let first = encoded.first_pieces[index];
            let end = match encoded.first_pieces.get(index + 1) {
                Some(&next) => next,
                None => encoded.pieces.len() - 1, // [SEP] belongs to no word
            };
            let pieces = (first..end).map(|piece| token(text, piece));
            let sum = &mut self.words[word];
            for piece in pieces {
                sum.attention += piece.attention;
                sum.exchanged += piece.exchanged / (end - first) as f32;
            }
        }
    }
}

/// A token by its place behind the cls row.
fn token(row: &TraceRow, index: usize) -> ExchangedToken {
    ExchangedToken {
        attention: row.scores[1 + index],
        exchanged: row.chosen.as_ref().map_or(0.0, |chosen| chosen[1 + index]),
    }
}

fn margin(row: &TraceRow, tokens: usize) -> Option<f32> {
    let mut below = f32::NEG_INFINITY;
    let mut above = f32::INFINITY;
    for token in (0..tokens).map(|index| token(row, index)) {
        match token.exchanged > 0.0 {
            true => below = below.max(token.attention),
            false => above = above.min(token.attention),
        }
    }
    let margin = above - below;
    margin.is_finite().then_some(margin)
}

fn least(all: &mut Option<f32>, next: Option<f32>) {
    *all = match (*all, next) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokenizer::EncodedText;

    fn row(scores: &[f32], chosen: &[f32]) -> TraceRow {
        TraceRow {
            scores: scores.to_vec(),
            chosen: Some(chosen.to_vec()),
        }
    }

    fn window(
        first_pieces: &[usize],
        pieces: usize,
        start: usize,
        keep: std::ops::Range<usize>,
    ) -> Window {
        Window {
            encoded: EncodedText {
                pieces: vec![0; pieces],
                shapes: vec![0; pieces],
                first_pieces: first_pieces.to_vec(),
            },
            words: start..start + first_pieces.len(),
            keep,
        }
    }

    #[test]
    fn pieces_are_told_as_words_and_padding_not_at_all() {
        // [CLS] a b1 b2 [SEP], then padding; the first number is the cls row's own.
        let text = row(
            &[0.3, 0.1, 0.2, 0.05, 0.15, 0.2, 0.9],
            &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        );
        let image = row(&[0.5, 0.4, 0.1], &[0.0, 0.0, 1.0]);
        let windows = [window(&[1, 2], 5, 0, 0..2)];
        let exchange = Exchange::new(2, &windows, &[vec![[text, image]]], true);
        let layer = &exchange.layers[0];
        assert!(layer.exchanges);
        let token = |attention, exchanged| ExchangedToken {
            attention,
            exchanged,
        };
        assert_eq!(layer.words, [token(0.2, 0.0), token(0.2, 0.5)]);
        assert_eq!(layer.regions, [token(0.4, 0.0), token(0.1, 1.0)]);
        let close = |a: Option<f32>, b: f32| (a.expect("a margin") - b).abs() < 1e-6;
        assert!(close(layer.margins.words, 0.1 - 0.05));
        assert!(close(layer.margins.regions, 0.3));
    }

    #[test]
    fn each_word_is_told_by_the_window_that_keeps_it() {
        let first = row(&[0.0, 0.0, 0.1, 0.2, 0.0], &[0.0; 5]);
        let second = row(&[0.0, 0.0, 0.3, 0.4, 0.0], &[0.0, 0.0, 0.0, 1.0, 0.0]);
        let none = TraceRow::default();
        let windows = [window(&[1, 2], 4, 0, 0..1), window(&[1, 2], 4, 1, 1..3)];
        let trace = [vec![[first, none.clone()]], vec![[second, none]]];
        let exchange = Exchange::new(3, &windows, &trace, false);
        let words: Vec<_> = exchange.layers[0]
            .words
            .iter()
            .map(|w| (w.attention, w.exchanged))
            .collect();
        assert_eq!(words, [(0.1, 0.0), (0.3, 0.0), (0.4, 1.0)]);
        assert!(exchange.layers[0].regions.is_empty());
    }
}
