//! From a model's predictions for the windows of a caption to its labels.

use std::ops::Range;

use burn::tensor::{TensorData, Transaction};

use super::TaggerError;
use crate::config::MuseConfig;
use crate::heads::entities::crf::Decoder;
use crate::model::{Muse, Predictions};
use crate::text::tokenizer::Window;

/// Labels a caption; a user's and a trainer's validation go through the same code.
#[derive(Clone, Debug)]
pub struct Labeller {
    pub(super) decoder: Option<Decoder>,
    tags: usize,
    classes: usize,
}

impl Labeller {
    /// Reads what decoding needs from the model, and waits for it.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn new(model: &Muse, config: &MuseConfig) -> Result<Self, TaggerError> {
        Ok(Self::assemble(config, parameters(model).try_execute()?))
    }

    pub(super) fn assemble(config: &MuseConfig, data: Vec<TensorData>) -> Self {
        let floats: Vec<Vec<f32>> = data
            .into_iter()
            .map(|d| d.convert::<f32>().try_to_vec().unwrap_or_default())
            .collect();
        let decoder = match floats.as_slice() {
            [start, end, transitions] => {
                Some(Decoder::new(start, end, transitions).forbid_illegal(&config.tags))
            }
            _ => None,
        };
        Self {
            decoder,
            tags: config.tags.len(),
            classes: config.classes.len(),
        }
    }

    /// Tag of each word and probability of each class, as indices into the configuration's lists.
    ///
    /// `windows` are those of one caption; `rows` says where they stand in `predictions`.
    pub fn label(
        &self,
        windows: &[Window],
        predictions: &Predictions,
        rows: Range<usize>,
    ) -> (Vec<usize>, Vec<f32>) {
        let (emissions, logits) = self.join(windows, predictions, rows);
        let tags = match &self.decoder {
            Some(decoder) => decoder.viterbi(&emissions).0,
            None => Vec::new(),
        };
        (tags, softmax(&logits))
    }

    /// One row of emissions for each word, each from the window that decides it, and the mean of the windows' logits.
    pub(super) fn join(
        &self,
        windows: &[Window],
        predictions: &Predictions,
        rows: Range<usize>,
    ) -> (Vec<f32>, Vec<f32>) {
        let kinds = self.tags;
        let mut emissions = Vec::new();
        for (window, row) in windows.iter().zip(rows.clone()) {
            if let Some(values) = predictions.emissions.get(row) {
                let first = window.keep.start - window.words.start;
                let last = window.keep.end - window.words.start;
                emissions.extend_from_slice(&values[first * kinds..last * kinds]);
            }
        }
        let mut logits = vec![0.0; self.classes];
        for row in rows.clone() {
            if let Some(values) = predictions.sentiment.get(row) {
                for (sum, value) in logits.iter_mut().zip(values) {
                    *sum += value / rows.len() as f32;
                }
            }
        }
        (emissions, logits)
    }
}

/// The CRF's scores, to be read once.
pub(super) fn parameters(model: &Muse) -> Transaction {
    match &model.entities {
        Some(head) => {
            let (start, end, transitions) = head.crf.parameters();
            Transaction::default()
                .register(start)
                .register(end)
                .register(transitions)
        }
        None => Transaction::default(),
    }
}

/// Shares that add up to 1.
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits.iter().map(|l| (l - peak).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|s| s / sum).collect()
}
