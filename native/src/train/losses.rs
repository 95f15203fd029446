//! The objective's parts: summed over an epoch, shown, kept where an epoch is interrupted.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use burn::tensor::{ExecutionError, Tensor};
use burn::train::ItemLazy;
use muse_core::objective::Part;
use serde::{Deserialize, Serialize};

use crate::output::write_file;

/// Something for each part.
pub type Parts<T> = BTreeMap<Part, T>;

/// A step's loss, still on the device.
#[derive(Clone)]
pub struct StepOutput {
    /// The weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// The parts that the batch had something for, unweighted.
    pub parts: Parts<Tensor<1>>,
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl StepOutput {
    /// For people. Waits for the device.
    pub fn line(&self) -> String {
        let read = |loss: &Tensor<1>| f64::from(loss.clone().into_scalar::<f32>());
        let parts = self.parts.iter().map(|(&part, loss)| (part, read(loss)));
        line(read(&self.total), &parts.collect())
    }
}

/// The mean losses of an epoch's steps.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanLosses {
    /// The weighted sum.
    pub total: f64,
    /// The parts that some step had.
    pub parts: Parts<f64>,
}

impl MeanLosses {
    /// For people.
    pub fn line(&self) -> String {
        line(self.total, &self.parts)
    }
}

/// The total, and what it is made of where that is more than one part.
fn line(total: f64, parts: &Parts<f64>) -> String {
    let parts: Vec<String> = (parts.iter())
        .map(|(part, loss)| format!("{} {loss:.3}", part.name()))
        .collect();
    match parts.len() {
        0 | 1 => format!("loss {total:.3}"),
        _ => format!("loss {total:.3} ({})", parts.join(", ")),
    }
}

/// Sums of an epoch's losses.
#[derive(Default, Serialize, Deserialize)]
pub struct LossSums {
    /// How long the steps took.
    #[serde(default)]
    pub seconds: f64,
    total: Sum,
    #[serde(default)]
    parts: BTreeMap<String, Sum>,
}

#[derive(Default, Serialize, Deserialize)]
struct Sum {
    /// Steps that had the loss.
    count: usize,
    /// What a resumed run begins with.
    sum: f32,
    /// The sum since, on the device until it is asked for.
    #[serde(skip)]
    running: Option<Tensor<1>>,
}

impl Sum {
    fn add(&mut self, value: Tensor<1>) {
        self.count += 1;
        self.running = Some(match self.running.take() {
            Some(sum) => sum + value,
            // The same operations as without an interruption, hence the same digits.
            None => value + self.sum,
        });
    }

    fn read(&mut self) -> f32 {
        if let Some(sum) = self.running.take() {
            self.sum = sum.into_scalar();
        }
        self.sum
    }

    fn mean(&mut self) -> f64 {
        match self.count {
            0 => f64::NAN,
            count => f64::from(self.read()) / count as f64,
        }
    }
}

impl LossSums {
    /// What [`Self::save`] wrote, or nothing yet.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot read {}", path.display());
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).with_context(context),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(context),
        }
    }

    /// Writes the sums, so that another run can go on from them.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn save(&mut self, path: &Path) -> anyhow::Result<()> {
        for sum in std::iter::once(&mut self.total).chain(self.parts.values_mut()) {
            sum.read();
        }
        write_file(path, toml::to_string(self)?.as_bytes())
    }

    /// Adds a step's.
    pub fn add(&mut self, output: &StepOutput) {
        self.total.add(output.total.clone());
        for (&part, loss) in &output.parts {
            self.part(part).add(loss.clone());
        }
    }

    /// The means so far.
    pub fn mean(&mut self) -> MeanLosses {
        MeanLosses {
            total: self.total.mean(),
            parts: (Part::ALL.into_iter())
                .filter_map(|part| Some((part, self.parts.get_mut(part.name())?.mean())))
                .collect(),
        }
    }

    fn part(&mut self, part: Part) -> &mut Sum {
        self.parts.entry(part.name().to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::checkpoint::losses_path;
    use burn::tensor::Device;

    #[test]
    fn kept_losses_lose_no_digit() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let path = losses_path(folder.path(), 3);
        let values = [0.1f32, 1e-7, f32::MIN_POSITIVE, 123.456, 1.0 / 3.0, 7.7e8];
        for cut in 0..values.len() {
            let (mut whole, mut parts) = (Sum::default(), LossSums::load(&path).unwrap());
            for (at, value) in values.into_iter().enumerate() {
                whole.add(Tensor::from_floats([value], &device));
                parts
                    .part(Part::Captioning)
                    .add(Tensor::from_floats([value], &device));
                if at == cut {
                    parts.save(&path).unwrap();
                    parts = LossSums::load(&path).unwrap();
                }
            }
            assert_eq!(whole.mean(), parts.part(Part::Captioning).mean());
            assert!(parts.total.mean().is_nan());
            std::fs::remove_file(&path).unwrap();
        }
        // A run that has diverged can be resumed to see that.
        let mut lost = LossSums::default();
        lost.total.add(Tensor::from_floats([f32::NAN], &device));
        lost.save(&path).unwrap();
        assert!(LossSums::load(&path).unwrap().total.mean().is_nan());
    }

    #[test]
    fn the_parts_are_shown_where_there_are_several() {
        let line = |total, parts: &[(Part, f64)]| line(total, &parts.iter().copied().collect());
        assert_eq!(line(0.5, &[]), "loss 0.500");
        assert_eq!(line(0.5, &[(Part::Sentiment, 0.5)]), "loss 0.500");
        assert_eq!(
            line(1.25, &[(Part::Captioning, 5.0), (Part::Sentiment, 0.75)]),
            "loss 1.250 (sentiment 0.750, captioning 5.000)"
        );
    }
}
