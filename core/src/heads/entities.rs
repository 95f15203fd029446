//! The entity head: a tag for each word, by a CRF over the rows of the words' first pieces (section 3.4 of
//! arXiv:2309.02190).

pub mod crf;
mod score;
pub mod style;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use libm::exp;
use serde::Serialize;

use self::crf::{Crf, Decoder};
pub use self::score::{EntityCounter, EntityScores, Span, spans};
pub use self::style::{Styles, UnknownStyle};
use super::calibration::Scaling;
use super::json::probability;
use super::{Labels, Names};
use crate::exchange::Crossed;
use crate::layers::dropout;
use crate::layers::linear::Linear;
use crate::layers::readback::{Host, Numbers, Readback, Ticket};
use crate::load::Packing;
use crate::text::splitter::Word;
use crate::text::tokenizer::{EncodedText, Window};
use crate::validate::ConfigError;

/// The tag `O`, which [`validate_tags`] has be the first.
const OUTSIDE: usize = 0;

/// Fused rows of the words → emissions → CRF.
#[derive(Module, Debug)]
pub struct EntityHead {
    fusion: Linear,
    dropout: Dropout,
    /// To `[(1 + S)·K]`: the emissions of K tags, then what each of S styles adds to them.
    emissions: Linear,
    /// The CRF over the words.
    pub crf: Crf,
}

impl EntityHead {
    /// A head of `tags` tags in so many `styles` on streams of width `d`, randomly initialised; at first all styles are alike.
    pub(super) fn new(tags: usize, styles: usize, d: usize, dropout: f64, device: &Device) -> Self {
        let emissions = Linear::new(d, (1 + styles) * tags, device);
        Self {
            fusion: Linear::new(2 * d, d, device),
            dropout: DropoutConfig::new(dropout).init(),
            emissions: match styles {
                0 => emissions,
                _ => emissions.zero_init_from(tags, device),
            },
            crf: Crf::new(tags, device),
        }
    }

    /// Takes weights from a model file, as it has them.
    pub(super) fn pack(&mut self, path: &str, weights: &mut Packing) {
        self.fusion.pack(&format!("{path}.fusion"), weights);
        self.emissions.pack(&format!("{path}.emissions"), weights);
    }

    /// Emissions and shifts `[B, W, (1 + S)·K]` from the rows of each word's first piece and of the region with the same index.
    pub(super) fn forward(&self, crossed: &Crossed, words: &Words) -> Tensor<3> {
        let pairs = crossed.pairs(&words.text_rows, &words.region_rows); // [B·W, 2d]
        let fused = dropout::drop(&self.dropout, self.fusion.forward(pairs));
        let emissions = self.emissions.forward(fused);
        let outputs = emissions.dims()[1];
        let [size, width] = words.mask.dims();
        emissions.reshape([size, width, outputs])
    }

    /// CRF negative log-likelihood of a sentence, `[1]`, on average over those that have tags.
    pub(super) fn loss(&self, emissions: Tensor<3>, targets: &Targets, words: &Words) -> Tensor<1> {
        let (tags, mut mask) = (targets.tags.clone(), words.mask.clone());
        let mut emissions = targets.shifted(emissions);
        if let Some(samples) = &targets.samples {
            emissions = emissions.select(0, samples.clone());
            mask = mask.select(0, samples.clone());
        }
        let likelihood = match targets.partial {
            false => self.crf.log_likelihood(emissions, tags, mask),
            true => self.crf.marginal_log_likelihood(emissions, tags, mask),
        };
        (likelihood * targets.shares.clone()).sum().neg() / targets.count as f32
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

/// The tags of a batch, on the device: of R readings, one for each sample or more.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    /// `[R, W, K]`, 1 at each tag that the word may have; all 0 where there is no word, or no label.
    tags: Tensor<3>,
    /// Whether some word may have several.
    partial: bool,
    /// `[B, 1, 1 + S, 1]`: 1 for the emissions, and for the shift of the sample's style; `None` without styles.
    styles: Option<Tensor<4>>,
    /// `[R]`: whose readings they are; `None` where each sample has one.
    samples: Option<Tensor<1, Int>>,
    /// `[R]`: how much of its sample's label a reading is; 0 where the sample has none.
    shares: Tensor<1>,
    /// How many samples have labels.
    count: usize,
}

impl Targets {
    /// Of samples' labels, with `kinds` tags; `None` when no sample has any of a word.
    pub(super) fn new(
        labels: &[&Labels],
        words: &Words,
        kinds: usize,
        device: &Device,
    ) -> Option<Self> {
        let width = words.mask.dims()[1];
        let mut readings = Readings {
            width,
            kinds,
            ..Readings::default()
        };
        let tags = |label: &&Labels| label.entities.as_ref().is_some_and(|tags| !tags.is_empty());
        let count = labels.iter().copied().filter(tags).count();
        if count == 0 {
            return None;
        }
        for (sample, label) in labels.iter().enumerate() {
            match &label.entities {
                Some(tags) if !tags.is_empty() && label.readings.is_empty() => {
                    readings.push(sample, 1.0, tags, &label.hidden);
                }
                Some(tags) if !tags.is_empty() => (label.readings.iter())
                    .for_each(|(share, tags)| readings.push(sample, *share, tags, &[])),
                _ => readings.push(sample, 0.0, &[], &[]),
            }
        }
        let rows = readings.samples.len();
        let samples =
            (rows > labels.len()).then(|| Tensor::from_data(readings.samples.as_slice(), device));
        Some(Self {
            tags: Tensor::from_data(TensorData::new(readings.tags, [rows, width, kinds]), device),
            partial: readings.partial,
            styles: None,
            samples,
            shares: Tensor::from_data(readings.shares.as_slice(), device),
            count,
        })
    }

    /// In the style of each sample, or else in that which answers where none is asked for.
    pub(super) fn with_styles(
        mut self,
        asked: &[Option<usize>],
        styles: &Styles,
        device: &Device,
    ) -> Self {
        let count = styles.names.len();
        if count > 0 {
            let usual = styles.place(None).unwrap_or_default();
            let mut counts = vec![0f32; asked.len() * (1 + count)];
            for (counts, asked) in counts.chunks_exact_mut(1 + count).zip(asked) {
                counts[0] = 1.0;
                counts[1 + asked.unwrap_or(usual)] = 1.0;
            }
            let counts = TensorData::new(counts, [asked.len(), 1, 1 + count, 1]);
            self.styles = Some(Tensor::from_data(counts, device));
        }
        self
    }

    /// Of emissions and shifts `[B, W, (1 + S)·K]` the emissions in each sample's style `[B, W, K]`.
    fn shifted(&self, emissions: Tensor<3>) -> Tensor<3> {
        let Some(styles) = &self.styles else {
            return emissions;
        };
        let ([size, words, outputs], count) = (emissions.dims(), styles.dims()[2]);
        let parts = emissions.reshape([size, words, count, outputs / count]);
        (parts * styles.clone()).sum_dim(2).squeeze_dim::<3>(2)
    }
}

/// The rows of [`Targets`], on the host.
#[derive(Default)]
struct Readings {
    width: usize,
    kinds: usize,
    tags: Vec<f32>,
    partial: bool,
    samples: Vec<i32>,
    shares: Vec<f32>,
}

impl Readings {
    /// `O` may stand for any of the `hidden` tags.
    fn push(&mut self, sample: usize, share: f32, tags: &[usize], hidden: &[usize]) {
        self.samples.push(sample as i32);
        self.shares.push(share);
        let at = self.tags.len();
        self.tags.resize(at + self.width * self.kinds, 0.0);
        for (own, &tag) in self.tags[at..].chunks_exact_mut(self.kinds).zip(tags) {
            own[tag] = 1.0;
            if tag == OUTSIDE {
                hidden.iter().for_each(|&tag| own[tag] = 1.0);
                self.partial |= !hidden.is_empty();
            }
        }
    }
}

/// Of emissions and shifts `[B, W, (1 + S)·K]` those of each sample's own words, row-major.
pub(super) fn of_words(emissions: &Host, words: &Words) -> Vec<Vec<f32>> {
    let outputs = emissions.shape[2];
    (emissions.rows().zip(&words.counts))
        .map(|(row, count)| row[..count * outputs].to_vec())
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
    /// Probability that exactly this span is an entity of this type, 0 to 1: the model's posterior, calibrated where it is.
    #[serde(serialize_with = "probability")]
    pub score: f32,
}

/// From emissions to tags and entities.
#[derive(Clone, Debug)]
pub(super) struct EntityReader {
    decoder: Decoder,
    tags: Vec<String>,
    styles: Styles,
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

    pub(super) fn new(tickets: [Ticket; 3], numbers: &mut Numbers, names: &Names) -> Self {
        let [start, end, transitions] = tickets.map(|ticket| numbers.take(ticket).data);
        Self {
            decoder: Decoder::new(&start, &end, &transitions).forbid_illegal(&names.tags),
            tags: names.tags.clone(),
            styles: names.styles.clone(),
        }
    }

    /// The place of a style, or of that which answers where none is asked for.
    pub(super) fn place(&self, style: Option<usize>) -> usize {
        style.unwrap_or_else(|| self.styles.place(None).unwrap_or_default())
    }

    /// Emissions of a caption's words in a style, row-major `[words, K]`, each from the window that decides it. A style is a place in
    /// the list of styles.
    pub(super) fn join(
        &self,
        windows: &[Window],
        emissions: &[Vec<f32>],
        style: Option<usize>,
    ) -> Vec<f32> {
        let (kinds, styles) = (self.tags.len(), self.styles.names.len());
        let style = self.place(style);
        let outputs = (1 + styles) * kinds;
        let mut joined = Vec::new();
        for (window, values) in windows.iter().zip(emissions) {
            let first = window.keep.start - window.words.start;
            let last = window.keep.end - window.words.start;
            for word in values[first * outputs..last * outputs].chunks_exact(outputs) {
                let (own, shifts) = word.split_at(kinds);
                match shifts.chunks_exact(kinds).nth(style) {
                    Some(shift) => joined.extend(own.iter().zip(shift).map(|(a, b)| a + b)),
                    None => joined.extend_from_slice(own),
                }
            }
        }
        joined
    }

    /// The best tag of each word.
    pub(super) fn tags(&self, emissions: &[f32]) -> Vec<usize> {
        self.decoder.viterbi(emissions).0
    }

    /// The `count` likeliest sequences of tags, as names, and their probabilities.
    pub(super) fn readings(&self, emissions: &[f32], count: usize) -> Vec<(Vec<String>, f64)> {
        let partition = self.decoder.posterior(emissions).log_partition;
        let best = self.decoder.best(emissions, count).into_iter();
        best.map(|(path, score)| {
            let tags = path.iter().map(|&tag| self.tags[tag].clone());
            (tags.collect(), exp(score - partition))
        })
        .collect()
    }

    /// The tags' names and the entities that they make of the `words` of a caption, as sure as the `scaling` has them.
    pub(super) fn entities(
        &self,
        emissions: &[f32],
        caption: &str,
        words: &[Word],
        scaling: Scaling,
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
                    score: scaling.apply(posterior.span(span.first, own, continues)) as f32,
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

#[cfg(test)]
mod tests;
