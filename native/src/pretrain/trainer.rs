//! The model in training: a step, and what is kept of it in a checkpoint.

use std::path::Path;

use anyhow::{Context, anyhow};
use burn::module::{Module, ParamGroup};
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn::train::checkpoint::{Checkpointer, CheckpointerError};
use muse_core::pretraining::{Pretraining, PretrainingBatch};

use super::config::PretrainConfig;
use crate::train::checkpoint::{AtomicCheckpointer, PARTS, restore};
use crate::train::gradients::clip_by_global_norm;
use crate::train::learner::Triangle;
use crate::train::optimizer::optimizer;

/// The model with its optimiser and its rates.
pub(super) struct Trainer {
    pub(super) model: Pretraining,
    /// Where the model is, with autodiff.
    pub(super) device: Device,
    optimizer: ModuleOptimizer,
    schedule: ModuleLrScheduler,
    clip: f64,
    shapes: f64,
}

/// The losses of a step.
pub(super) struct StepLosses {
    pub(super) pieces: f64,
    pub(super) shapes: f64,
}

impl Trainer {
    /// A trainer of `steps` steps.
    pub(super) fn new(
        model: Pretraining,
        config: &PretrainConfig,
        device: &Device,
        steps: usize,
    ) -> anyhow::Result<Self> {
        let train = &config.train;
        let rate = |peak| Triangle::new(peak, train.warmup, steps);
        let encoder = ParamGroup::from_regex(r"^text\.").map_err(|error| anyhow!("{error:?}"))?;
        Ok(Self {
            optimizer: optimizer(&model, train.weight_decay, device),
            schedule: ModuleLrScheduler::new(rate(train.head_rate))
                .with_group(encoder, rate(train.rate)),
            clip: train.clip,
            shapes: train.shapes,
            device: device.clone(),
            model,
        })
    }

    /// Learns from a batch. Takes the trainer, since weights that nobody else holds are changed in their place.
    pub(super) fn step(mut self, batch: &PretrainingBatch) -> (Self, StepLosses) {
        let losses = self.model.losses(batch);
        let read = |loss: &Tensor<1>| f64::from(loss.clone().into_scalar::<f32>());
        let told = StepLosses {
            pieces: read(&losses.pieces),
            shapes: read(&losses.shapes),
        };
        let total = losses.pieces + losses.shapes * self.shapes;
        let grads = GradientsParams::from_grads(total.backward(), &self.model);
        let grads = clip_by_global_norm(&self.model, grads, self.clip);
        let rates = self.schedule.step();
        self.model = self.optimizer.step(rates, self.model, grads);
        (self, told)
    }

    /// Goes on from the checkpoint after so many steps.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is of another model.
    pub(super) fn restored(self, folder: &Path, step: usize) -> anyhow::Result<Self> {
        let (model, optimizer, schedule) = restore(folder, step)?;
        let model = self.model.try_load_record(model).with_context(|| {
            format!(
                "the checkpoint after step {step} in {} does not fit the model; is encoder.folder what it was?",
                folder.display()
            )
        })?;
        Ok(Self {
            model,
            optimizer: self.optimizer.load_record(optimizer),
            schedule: self.schedule.load_record(schedule),
            ..self
        })
    }

    /// Makes a checkpoint.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn save(&self, folder: &Path, step: usize) -> anyhow::Result<()> {
        let [model, optimizer, schedule] = PARTS.map(|part| AtomicCheckpointer::new(folder, part));
        let save = || -> Result<(), CheckpointerError> {
            model.save(step, self.model.clone().into_record())?;
            optimizer.save(step, self.optimizer.to_record())?;
            schedule.save(step, self.schedule.to_record())
        };
        save().with_context(|| format!("cannot write a checkpoint into {}", folder.display()))
    }
}
