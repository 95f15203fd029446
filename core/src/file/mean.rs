//! The mean of several models' weights.
//!
//! Models that were fine-tuned from one start, with other seeds or settings, lie in one basin; the mean of their weights
//! is often better than any of them, at the cost of one ("model soups", arXiv:2203.05482, section 2).

use thiserror::Error;

use super::ModelFile;
use crate::config::MuseConfig;
use crate::heads::Calibration;

/// Adds models up, one in memory at a time.
#[derive(Default)]
pub struct Mean {
    sum: Option<ModelFile>,
    count: usize,
}

/// Why a model cannot join the mean.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MeanError {
    /// Sizes, settings, tags or classes differ.
    #[error(
        "its configuration is not that of the first model; only models of one configuration have a mean"
    )]
    Config,
    /// The text is cut into other pieces.
    #[error(
        "its tokenizer is not that of the first model; only models of one tokenizer have a mean"
    )]
    Tokenizer,
    /// The weights have other names or shapes.
    #[error("its weights are not those of the first model's configuration")]
    Weights,
}

impl Mean {
    /// Adds a model.
    ///
    /// # Errors
    ///
    /// When it does not fit to the ones before; the mean is then as it was.
    pub fn add(&mut self, model: ModelFile) -> Result<(), MeanError> {
        let Some(sum) = &mut self.sum else {
            self.sum = Some(model);
            self.count = 1;
            return Ok(());
        };
        let calibration = sum.config.calibration.clone();
        let alike = model.config.calibration == calibration;
        let config = MuseConfig {
            calibration,
            ..model.config
        };
        if config != sum.config {
            return Err(MeanError::Config);
        }
        if model.tokenizer.json() != sum.tokenizer.json() {
            return Err(MeanError::Tokenizer);
        }
        let fits = model.state.len() == sum.state.len()
            && model
                .state
                .iter()
                .zip(&sum.state)
                .all(|(a, b)| a.0 == b.0 && a.1.shape == b.1.shape);
        if !fits {
            return Err(MeanError::Weights);
        }
        // Models that are calibrated otherwise are sure otherwise; how sure their mean is nobody has measured.
        if !alike {
            sum.config.calibration = Calibration::default();
        }
        self.count += 1;
        // A running mean: exact where all are equal, and nothing can overflow.
        let share = 1.0 / self.count as f32;
        for (mean, next) in sum.state.values_mut().zip(model.state.values()) {
            for (mean, next) in mean.data.iter_mut().zip(&next.data) {
                *mean += (next - *mean) * share;
            }
        }
        Ok(())
    }

    /// The mean; `None` of no model.
    pub fn finish(self) -> Option<ModelFile> {
        self.sum
    }
}
