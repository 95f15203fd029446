//! What a text encoder is taught by plain text: hidden words (Devlin et al. 2019, arXiv:1810.04805), and each word's shape, which an
//! uncased encoder cannot see and has to tell from what the other words say.

#[cfg(test)]
mod tests;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use muse_kernels::Activation;

use crate::encoders::text::TextEncoder;
use crate::layers::learn;
use crate::layers::linear::Linear;
use crate::layers::norm::LayerNorm;
use crate::text::shape::WORD_SHAPES;

/// A text encoder with the heads that teach it.
#[derive(Module, Debug)]
pub struct Pretraining {
    /// The encoder.
    pub text: TextEncoder,
    dense: Linear,
    norm: LayerNorm,
    /// Added to each word piece's score, `[V]`. The scores are products with the encoder's own embeddings of the pieces.
    bias: Param<Tensor<1>>,
    /// To the scores of the word shapes.
    shapes: Linear,
}

/// A text of which some words are hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedText {
    /// What the encoder reads, `[CLS]` and `[SEP]` included.
    pub pieces: Vec<u32>,
    /// Places in `pieces` with what is to be said of them.
    pub hidden: Vec<(usize, u32)>,
    /// For each word the place of its first piece, and its shape's class.
    pub words: Vec<(usize, usize)>,
}

/// The tensors of one step. B texts, N pieces.
#[derive(Clone, Debug)]
pub struct PretrainingBatch {
    pieces: Tensor<2, Int>,
    /// `[B, N]`; `None` when nothing is padded.
    mask: Option<Tensor<2>>,
    hidden: Targets,
    words: Targets,
}

/// Rows of the flattened texts, with what is to be said of each.
#[derive(Clone, Debug)]
struct Targets {
    rows: Tensor<1, Int>,
    classes: Vec<usize>,
}

/// The parts of the objective, each `[1]`: mean cross-entropies, in nats.
pub struct PretrainingLosses {
    /// Of a hidden piece.
    pub pieces: Tensor<1>,
    /// Of a word's shape.
    pub shapes: Tensor<1>,
}

/// What a model knows of texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PretrainingScores {
    /// Cross-entropy of all hidden pieces together, in nats.
    pub nats: f64,
    /// How many are hidden.
    pub hidden: usize,
    /// Words whose shape is told.
    pub told: usize,
    /// All words.
    pub words: usize,
}

impl PretrainingBatch {
    /// Pads `texts` to a common length, by the piece `pad`. There is at least one with a hidden piece.
    pub fn new(texts: &[MaskedText], pad: u32, device: &Device) -> Self {
        let length = |text: &MaskedText| text.pieces.len();
        let size = [
            texts.len(),
            texts.iter().map(length).max().unwrap_or_default(),
        ];
        let mut pieces = vec![pad as i32; size[0] * size[1]];
        let mut mask = vec![0f32; size[0] * size[1]];
        for (row, text) in texts.iter().enumerate() {
            for (column, &piece) in text.pieces.iter().enumerate() {
                pieces[row * size[1] + column] = piece as i32;
                mask[row * size[1] + column] = 1.0;
            }
        }
        let places = |of: &dyn Fn(&MaskedText) -> Vec<(usize, usize)>| {
            let texts = texts.iter().enumerate();
            let places = texts.flat_map(|(row, text)| {
                let places = of(text).into_iter();
                places.map(move |(place, class)| ((row * size[1] + place) as i32, class))
            });
            let (rows, classes): (Vec<_>, Vec<_>) = places.unzip();
            Targets {
                rows: Tensor::from_data(rows.as_slice(), device),
                classes,
            }
        };
        let is_padded = texts.iter().any(|text| length(text) < size[1]);
        Self {
            pieces: Tensor::from_data(TensorData::new(pieces, size), device),
            mask: is_padded.then(|| Tensor::from_data(TensorData::new(mask, size), device)),
            hidden: places(&|text| {
                let hidden = text.hidden.iter();
                hidden.map(|&(at, piece)| (at, piece as usize)).collect()
            }),
            words: places(&|text| text.words.clone()),
        }
    }
}

impl Pretraining {
    /// Heads with random weights for an encoder, on its device.
    pub fn new(text: TextEncoder, device: &Device) -> Self {
        let [pieces, d] = text.pieces().dims();
        Self {
            dense: Linear::new(d, d, device),
            norm: LayerNorm::new(d, 1e-12, device),
            bias: Initializer::Zeros.init([pieces], device),
            shapes: Linear::new(d, WORD_SHAPES, device),
            text,
        }
    }

    /// The objective's parts.
    pub fn losses(&self, batch: &PretrainingBatch) -> PretrainingLosses {
        let rows = self.rows(batch);
        PretrainingLosses {
            pieces: self.piece_loss(&rows, &batch.hidden),
            shapes: nats(self.shape_scores(&rows, &batch.words), &batch.words.classes),
        }
    }

    /// What the model knows of a batch.
    pub fn score(&self, batch: &PretrainingBatch) -> PretrainingScores {
        let rows = self.rows(batch);
        let mean = f64::from(self.piece_loss(&rows, &batch.hidden).into_scalar::<f32>());
        let (hidden, words) = (batch.hidden.classes.len(), batch.words.classes.len());
        let said = self.shape_scores(&rows, &batch.words).argmax(1);
        let said = said.into_data().convert::<i64>();
        let pairs = said.iter::<i64>().zip(&batch.words.classes);
        PretrainingScores {
            nats: mean * hidden as f64,
            hidden,
            told: pairs
                .filter(|(said, class)| *said == **class as i64)
                .count(),
            words,
        }
    }

    /// The encoder's rows, `[B·N, d]`.
    fn rows(&self, batch: &PretrainingBatch) -> Tensor<2> {
        let rows = (self.text).forward(batch.pieces.clone(), batch.mask.clone(), None);
        rows.flatten(0, 1)
    }

    /// Only the rows of hidden pieces meet the vocabulary.
    fn piece_loss(&self, rows: &Tensor<2>, hidden: &Targets) -> Tensor<1> {
        let rows = rows.clone().select(0, hidden.rows.clone());
        let rows = self
            .norm
            .forward(self.dense.activated(rows, Activation::Gelu));
        let (table, bias) = (self.text.pieces(), self.bias.val());
        learn::cross_entropy(&rows, &table, &bias, &hidden.classes).unwrap_or_else(|| {
            let scores = rows.matmul(table.transpose()) + bias.unsqueeze();
            nats(scores, &hidden.classes)
        })
    }

    fn shape_scores(&self, rows: &Tensor<2>, words: &Targets) -> Tensor<2> {
        let rows = rows.clone().select(0, words.rows.clone());
        self.shapes.forward(rows)
    }
}

/// Mean cross-entropy `[1]` of `scores` `[M, classes]`.
fn nats(scores: Tensor<2>, classes: &[usize]) -> Tensor<1> {
    let numbers: Vec<i32> = classes.iter().map(|&class| class as i32).collect();
    let numbers = TensorData::new(numbers, [classes.len(), 1]);
    let numbers = Tensor::<2, Int>::from_data(numbers, &scores.device());
    log_softmax(scores, 1).gather(1, numbers).mean().neg()
}

impl PretrainingScores {
    /// Adds those of other texts.
    pub fn add(&mut self, other: &Self) {
        self.nats += other.nats;
        self.hidden += other.hidden;
        self.told += other.told;
        self.words += other.words;
    }

    /// Of a hidden piece; 1 for a model that knows them all.
    pub fn perplexity(&self) -> f64 {
        (self.nats / self.hidden.max(1) as f64).exp()
    }

    /// Share of the words whose shape is told.
    pub fn accuracy(&self) -> f64 {
        self.told as f64 / self.words.max(1) as f64
    }
}
