//! What the heads have in common that give a post one of several classes: loss, read-back, scores. Their modules give the logits.

mod score;

use std::collections::BTreeSet;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use libm::expf;
use serde::Serialize;

pub use self::score::{ClassCounter, ClassScores};
use super::json::{by_class, probability};
use crate::validate::ConfigError;

/// A post's class, as it is known.
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

    /// Cross-entropy of a post with logits `[B, classes]`: `[1]`, on average over those that have a label.
    pub(super) fn loss(&self, logits: Tensor<2>) -> Tensor<1> {
        let likelihood = log_softmax(logits, 1) * self.classes.clone();
        likelihood.sum().neg() / self.count as f32
    }
}

/// The class of a post.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Class {
    /// The most probable class.
    pub label: String,
    /// Its probability.
    #[serde(serialize_with = "probability")]
    pub score: f32,
    /// All classes with their probabilities, in the model's order; in JSON an object.
    #[serde(serialize_with = "by_class")]
    pub probabilities: Vec<(String, f32)>,
}

impl Class {
    /// From the probabilities of the classes with these `names`.
    pub(super) fn new(names: &[String], probabilities: Vec<f32>) -> Option<Self> {
        let best = likeliest(&probabilities)?;
        Some(Self {
            label: names[best].clone(),
            score: probabilities[best],
            probabilities: names.iter().cloned().zip(probabilities).collect(),
        })
    }
}

/// A probability for each of so many classes, of the mean of the logits of a post's windows, divided by a temperature.
pub(super) fn probabilities(windows: &[Vec<f32>], classes: usize, temperature: f64) -> Vec<f32> {
    let mut mean = vec![0.0; classes];
    for logits in windows {
        for (sum, logit) in mean.iter_mut().zip(logits) {
            *sum += logit / windows.len() as f32;
        }
    }
    mean.iter_mut()
        .for_each(|logit| *logit /= temperature as f32);
    softmax(&mean)
}

/// The class with the greatest probability.
pub(super) fn likeliest(probabilities: &[f32]) -> Option<usize> {
    (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
}

// libm's functions give the same digits on every machine, the standard library's those of the machine's C.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits.iter().map(|logit| expf(logit - peak)).collect();
    let sum: f32 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

/// Checks the classes of a head, which the `setting` has. Without any there is no such head.
pub(super) fn validate_classes(setting: &str, classes: &[String]) -> Result<(), ConfigError> {
    let distinct: BTreeSet<_> = classes.iter().collect();
    match distinct.len() == classes.len() && classes.len() != 1 {
        true => Ok(()),
        false => Err(ConfigError::new(
            setting,
            "must be two or more different names",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temperature_divides_the_mean_logits() {
        // Logits of 0 and ln 4 on average.
        let windows = [vec![0.0, 1.0], vec![0.0, 2.0 * 4f32.ln() - 1.0]];
        let told = |temperature| probabilities(&windows, 2, temperature);
        for (temperature, expected) in [(1.0, 0.8), (2.0, 2.0 / 3.0)] {
            let share = told(temperature)[1];
            assert!((share - expected).abs() < 1e-6, "{temperature}: {share}");
        }
    }
}
