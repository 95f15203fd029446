//! The entity head: a tag for each word, by a CRF over the rows of the words' first pieces (section 3.4 of
//! arXiv:2309.02190).

pub mod crf;
mod score;

use std::ops::Range;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::Serialize;

use self::crf::{Crf, Decoder};
pub use self::score::{EntityCounter, EntityScores, Span, spans};
use super::json::probability;
use crate::exchange::Crossed;
use crate::layers::dropout;
use crate::layers::linear::Linear;
use crate::layers::readback::{Host, Numbers, Readback, Ticket};
use crate::load::Packing;
use crate::text::splitter::Word;
use crate::text::tokenizer::{EncodedText, Window};
use crate::validate::ConfigError;

/// Fused rows of the words → emissions → CRF.
#[derive(Module, Debug)]
pub struct EntityHead {
    fusion: Linear,
    dropout: Dropout,
    emissions: Linear,
    /// The CRF over the words.
    pub crf: Crf,
}

impl EntityHead {
    /// A head of `tags` tags on streams of width `d`, randomly initialised.
    pub(super) fn new(tags: usize, d: usize, dropout: f64, device: &Device) -> Self {
        Self {
            fusion: Linear::new(2 * d, d, device),
            dropout: DropoutConfig::new(dropout).init(),
            emissions: Linear::new(d, tags, device),
            crf: Crf::new(tags, device),
        }
    }

    /// Takes weights from a model file, as it has them.
    pub(super) fn pack(&mut self, path: &str, weights: &mut Packing) {
        self.fusion.pack(&format!("{path}.fusion"), weights);
        self.emissions.pack(&format!("{path}.emissions"), weights);
    }

    /// Emissions `[B, W, K]` from the rows of each word's first piece and of the region with the same index.
    pub(super) fn forward(&self, crossed: &Crossed, words: &Words) -> Tensor<3> {
        let pairs = crossed.pairs(&words.text_rows, &words.region_rows); // [B·W, 2d]
        let fused = dropout::drop(&self.dropout, self.fusion.forward(pairs));
        let emissions = self.emissions.forward(fused);
        let tags = emissions.dims()[1];
        let [size, width] = words.mask.dims();
        emissions.reshape([size, width, tags])
    }

    /// CRF negative log-likelihood of a sentence, `[1]`, on average over those that have tags.
    pub(super) fn loss(&self, emissions: Tensor<3>, targets: &Targets, words: &Words) -> Tensor<1> {
        let (tags, mask) = (targets.tags.clone(), words.mask.clone());
        let likelihood = self.crf.log_likelihood(emissions, tags, mask);
        (likelihood * targets.labelled.clone()).sum().neg() / targets.count as f32
    }
}

/// Where the words' first pieces stand in a batch of B samples with at most W words.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// `[B·W]`: rows of the flattened text stream.
    text_rows: Tensor<1, Int>,
    /// `[B·W]`: rows of the flattened image stream.
    region_rows: Tensor<1, Int>,
    /// `[B, W]`: 1 at real words.
    mask: Tensor<2>,
    /// Words of each sample.
    counts: Vec<usize>,
}

impl Words {
    /// Of texts that are padded to `length` pieces, beside `regions` regions; `None` when there is no word.
    pub(crate) fn new(
        texts: &[&EncodedText],
        length: usize,
        regions: usize,
        device: &Device,
    ) -> Option<Self> {
        let counts: Vec<usize> = texts.iter().map(|text| text.first_pieces.len()).collect();
        let width = counts.iter().copied().max().unwrap_or(0);
        if width == 0 {
            return None;
        }
        let size = texts.len();
        let mut text_rows = vec![0i32; size * width];
        let mut region_rows = vec![0i32; size * width];
        let mut mask = vec![0f32; size * width];
        for (row, text) in texts.iter().enumerate() {
            for (word, &piece) in text.first_pieces.iter().enumerate() {
                let at = row * width + word;
                text_rows[at] = (row * (1 + length) + 1 + piece) as i32;
                region_rows[at] = (row * (1 + regions) + 1 + piece.min(regions - 1)) as i32;
                mask[at] = 1.0;
            }
        }
        let rows = |data: Vec<i32>| Tensor::from_data(data.as_slice(), device);
        Some(Self {
            text_rows: rows(text_rows),
            region_rows: rows(region_rows),
            mask: Tensor::from_data(TensorData::new(mask, [size, width]), device),
            counts,
        })
    }
}

/// The tags of a batch, on the device.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    /// `[B, W, K]`, one-hot; all 0 where there is no word, or no label.
    tags: Tensor<3>,
    /// `[B]`: 1 where the sample has tags.
    labelled: Tensor<1>,
    /// How many samples have.
    count: usize,
}

impl Targets {
    /// Of each sample's tags, as numbers below `kinds`; `None` when no sample has any.
    pub(super) fn new(
        labels: &[Option<&[usize]>],
        words: &Words,
        kinds: usize,
        device: &Device,
    ) -> Option<Self> {
        let [size, width] = words.mask.dims();
        let mut one_hot = vec![0f32; size * width * kinds];
        let mut labelled = vec![0f32; size];
        for (row, tags) in labels.iter().enumerate() {
            for (word, &tag) in tags.iter().copied().flatten().enumerate() {
                labelled[row] = 1.0; // without a word there is nothing to learn
                one_hot[(row * width + word) * kinds + tag] = 1.0;
            }
        }
        let count = labelled.iter().filter(|&&labelled| labelled > 0.0).count();
        (count > 0).then(|| Self {
            tags: Tensor::from_data(TensorData::new(one_hot, [size, width, kinds]), device),
            labelled: Tensor::from_data(labelled.as_slice(), device),
            count,
        })
    }
}

/// Of emissions `[B, W, K]` those of each sample's own words, row-major `[words, K]`.
pub(super) fn of_words(emissions: &Host, words: &Words) -> Vec<Vec<f32>> {
    let tags = emissions.shape[2];
    (emissions.rows().zip(&words.counts))
        .map(|(row, count)| row[..count * tags].to_vec())
        .collect()
}

/// An entity of a caption.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entity {
    /// The type, for instance `PER`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its text, as in the caption.
    pub text: String,
    /// First character, in Unicode scalars from the caption's beginning.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// First word.
    pub first_word: usize,
    /// Last word, itself included.
    pub last_word: usize,
    /// Posterior probability that exactly this span is an entity of this type, 0 to 1.
    #[serde(serialize_with = "probability")]
    pub score: f32,
}

/// From emissions to tags and entities.
#[derive(Clone, Debug)]
pub(super) struct EntityReader {
    decoder: Decoder,
    tags: Vec<String>,
}

impl EntityReader {
    /// Asks for what decoding needs of the head; [`Self::new`] takes it.
    pub(super) fn register(head: &EntityHead, readback: &mut Readback) -> [Ticket; 3] {
        let (start, end, transitions) = head.crf.parameters();
        [
            readback.push(start),
            readback.push(end),
            readback.push(transitions),
        ]
    }

    pub(super) fn new(tickets: [Ticket; 3], numbers: &mut Numbers, tags: &[String]) -> Self {
        let [start, end, transitions] = tickets.map(|ticket| numbers.take(ticket).data);
        Self {
            decoder: Decoder::new(&start, &end, &transitions).forbid_illegal(tags),
            tags: tags.to_vec(),
        }
    }

    /// Emissions of a caption's words, row-major `[words, K]`, each from the window that decides it.
    pub(super) fn join(
        &self,
        windows: &[Window],
        emissions: &[Vec<f32>],
        rows: Range<usize>,
    ) -> Vec<f32> {
        let kinds = self.tags.len();
        let mut joined = Vec::new();
        for (window, values) in windows.iter().zip(&emissions[rows]) {
            let first = window.keep.start - window.words.start;
            let last = window.keep.end - window.words.start;
            joined.extend_from_slice(&values[first * kinds..last * kinds]);
        }
        joined
    }

    /// The best tag of each word.
    pub(super) fn tags(&self, emissions: &[f32]) -> Vec<usize> {
        self.decoder.viterbi(emissions).0
    }

    /// The tags' names and the entities that they make of the `words` of a caption.
    pub(super) fn entities(
        &self,
        emissions: &[f32],
        caption: &str,
        words: &[Word],
    ) -> (Vec<String>, Vec<Entity>) {
        let path = self.tags(emissions);
        let tags: Vec<String> = path.iter().map(|&tag| self.tags[tag].clone()).collect();
        let posterior = self.decoder.posterior(emissions);
        let scalars: Vec<char> = caption.chars().collect();
        let entities = spans(&tags)
            .into_iter()
            .map(|span| {
                let inside = format!("I-{}", span.kind);
                let continues = self.tags.iter().position(|tag| *tag == inside);
                let (start, end) = (words[span.first].start, words[span.last].end);
                let own = &path[span.first..=span.last];
                Entity {
                    score: posterior.span(span.first, own, continues) as f32,
                    text: scalars[start..end].iter().collect(),
                    start,
                    end,
                    first_word: span.first,
                    last_word: span.last,
                    kind: span.kind,
                }
            })
            .collect();
        (tags, entities)
    }
}

/// Checks BIO tags: `O` first, then each `B-type` or `I-type` once. Without any there is no entity head.
pub(crate) fn validate_tags(tags: &[String]) -> Result<(), ConfigError> {
    if tags.first().is_some_and(|tag| tag != "O") {
        return Err(ConfigError::new("tags", "the first tag must be O"));
    }
    for (index, tag) in tags.iter().enumerate().skip(1) {
        let kind = tag.strip_prefix("B-").or_else(|| tag.strip_prefix("I-"));
        if kind.is_none_or(str::is_empty) || tags[..index].contains(tag) {
            let problem = format!("{tag:?} is not a BIO tag of its own (B-type or I-type)");
            return Err(ConfigError::new("tags", problem));
        }
    }
    Ok(())
}
