//! The sentiment head: a class for a post, of both streams' cls rows (section 3.4 of arXiv:2309.02190).

mod score;

use std::collections::BTreeSet;
use std::ops::Range;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;

pub use self::score::{SentimentCounter, SentimentScores};
use super::json::{by_class, probability};
use crate::exchange::Crossed;
use crate::layers::linear::Linear;
use crate::load::Packing;
use crate::validate::ConfigError;

/// Both cls rows → classes.
#[derive(Module, Debug)]
pub struct SentimentHead {
    fusion: Linear,
    dropout: Dropout,
    classes: Linear,
}

impl SentimentHead {
    /// A head of `classes` classes on streams of width `d`, randomly initialised.
    pub(super) fn new(classes: usize, d: usize, dropout: f64, device: &Device) -> Self {
        Self {
            fusion: Linear::new(2 * d, d, device),
            dropout: DropoutConfig::new(dropout).init(),
            classes: Linear::new(d, classes, device),
        }
    }

    /// Takes weights from a model file, as it has them.
    pub(super) fn pack(&mut self, path: &str, weights: &mut Packing) {
        self.fusion.pack(&format!("{path}.fusion"), weights);
        self.classes.pack(&format!("{path}.classes"), weights);
    }

    /// Logits `[B, classes]`.
    pub(super) fn forward(&self, crossed: &Crossed) -> Tensor<2> {
        let cls = |stream: &Tensor<3>| stream.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
        let pair = Tensor::cat(vec![cls(&crossed.text), cls(&crossed.image)], 1);
        let fused = self.dropout.forward(self.fusion.forward(pair));
        self.classes.forward(fused)
    }

    /// Cross-entropy of a post, `[1]`, on average over those that have a label.
    pub(super) fn loss(&self, logits: Tensor<2>, targets: &Targets) -> Tensor<1> {
        let likelihood = log_softmax(logits, 1) * targets.classes.clone();
        likelihood.sum().neg() / targets.count as f32
    }
}

/// A post's sentiment, as it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Index of the class.
    pub class: usize,
    /// What the head is to answer, a weight for each class: 1 at the label and 0 elsewhere where there is nothing but a label.
    pub target: Vec<f32>,
}

/// The labels of a batch, on the device.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    /// `[B, classes]`; all 0 where a sample has no label.
    classes: Tensor<2>,
    /// How many samples have one.
    count: usize,
}

impl Targets {
    /// Of each sample's label; `None` when no sample has one.
    pub(super) fn new(labels: &[Option<&Label>], classes: usize, device: &Device) -> Option<Self> {
        let size = labels.len();
        let mut targets = vec![0f32; size * classes];
        for (row, label) in labels.iter().enumerate() {
            if let Some(label) = label {
                targets[row * classes..(row + 1) * classes].copy_from_slice(&label.target);
            }
        }
        let count = labels.iter().flatten().count();
        (count > 0).then(|| Self {
            classes: Tensor::from_data(TensorData::new(targets, [size, classes]), device),
            count,
        })
    }
}

/// The sentiment of a post.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sentiment {
    /// The most probable class.
    pub label: String,
    /// Its probability.
    #[serde(serialize_with = "probability")]
    pub score: f32,
    /// All classes with their probabilities, in the model's order; in JSON an object.
    #[serde(serialize_with = "by_class")]
    pub probabilities: Vec<(String, f32)>,
}

/// From logits to a sentiment.
#[derive(Clone, Debug)]
pub(super) struct SentimentReader {
    classes: Vec<String>,
}

impl SentimentReader {
    pub(super) fn new(classes: &[String]) -> Self {
        Self {
            classes: classes.to_vec(),
        }
    }

    /// A probability for each class, of the mean of the logits of a post's windows.
    pub(super) fn probabilities(&self, logits: &[Vec<f32>], rows: Range<usize>) -> Vec<f32> {
        let mut mean = vec![0.0; self.classes.len()];
        for values in &logits[rows.clone()] {
            for (sum, value) in mean.iter_mut().zip(values) {
                *sum += value / rows.len() as f32;
            }
        }
        softmax(&mean)
    }

    pub(super) fn sentiment(&self, probabilities: Vec<f32>) -> Option<Sentiment> {
        let best = likeliest(&probabilities)?;
        Some(Sentiment {
            label: self.classes[best].clone(),
            score: probabilities[best],
            probabilities: self.classes.iter().cloned().zip(probabilities).collect(),
        })
    }
}

/// The class with the greatest probability.
pub(super) fn likeliest(probabilities: &[f32]) -> Option<usize> {
    (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits.iter().map(|logit| (logit - peak).exp()).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

/// Checks the classes. Without any there is no sentiment head.
pub(crate) fn validate_classes(classes: &[String]) -> Result<(), ConfigError> {
    let distinct: BTreeSet<_> = classes.iter().collect();
    match distinct.len() == classes.len() && classes.len() != 1 {
        true => Ok(()),
        false => Err(ConfigError::new(
            "classes",
            "must be two or more different names",
        )),
    }
}
