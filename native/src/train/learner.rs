//! The model as burn-train trains it: a step's forward and backward pass, clipping, and AdamW with a rate for each part.

use std::sync::Arc;

use burn::module::{Module, ParamGroup};
use burn::optim::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::optim::lr_scheduler::{LrScheduler, LrSchedulerRecord};
use burn::optim::{GradientsParams, LearningRate, ModuleOptimizer};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use muse_core::MuseConfig;
use muse_core::batch::Batch;
use muse_core::decoders::{DecoderBatch, DecoderScores, DecoderTarget, Decoders, MicrobatchSize};
use muse_core::encoders::Encoded;
use muse_core::encoders::image::REGIONS;
use muse_core::heads::Losses;
use muse_core::model::{Muse, Predictions};

use super::config::{LossWeights, TrainConfig};
use super::decode::{self, Decoded};
use super::feed::{StepInput, ValidInput};
use super::gradients::{clip_by_global_norm, merge};
use super::losses::StepOutput;
use crate::workers::Workers;

/// A model in training.
#[derive(Module, Debug)]
pub struct Trainee {
    /// The model.
    pub muse: Muse,
    /// The decoders that it is trained with.
    pub decoders: Option<Decoders>,
    #[module(skip)]
    settings: Settings,
}

/// What a step needs besides the weights.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model's configuration.
    pub config: MuseConfig,
    /// The weights of the objective's parts.
    pub weights: LossWeights,
    /// The greatest norm of the gradients.
    pub clip: f64,
    /// The tokenizer's padding.
    pub pad: u32,
    /// Where the model lives, with autodiff.
    pub device: Device,
    /// How many pairs the decoders learn from at a time.
    pub microbatch: MicrobatchSize,
    /// They share the decoders' work, a microbatch each.
    pub workers: Arc<Workers>,
}

/// A validation batch's answers.
pub struct Evaluated {
    /// The posts, as indices into the validation set.
    pub posts: Vec<usize>,
    /// One row for each window of these posts, in order.
    pub predictions: Predictions,
    /// The decoders' losses; samples are windows.
    pub decoders: DecoderScores,
}

impl ItemLazy for Evaluated {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Trainee {
    /// Wraps a model, which lives on the settings' device.
    pub fn new(muse: Muse, decoders: Option<Decoders>, settings: Settings) -> Self {
        Self {
            muse,
            decoders,
            settings,
        }
    }

    /// `L = L_task + α·L_it + β·L_ti` (arXiv:2309.02190), L_task itself a weighted sum; and its gradients.
    fn learn(
        &self,
        batch: &Batch,
        decoder_batch: Option<&DecoderBatch>,
    ) -> (StepOutput, GradientsParams) {
        let settings = &self.settings;
        let weights = &settings.weights;
        let heads = batch.labelled_heads().any(|part| weights.of(part) > 0.0);
        let encoded = self.encode(batch, decoder_batch, heads);
        let decoded = match (&self.decoders, decoder_batch) {
            (Some(decoders), Some(batch)) => {
                let microbatches = decoders.microbatches(&encoded, batch);
                decode::learn(decoders, &microbatches, weights, &settings.workers)
            }
            _ => Decoded::default(),
        };
        let losses = match heads {
            true => {
                let crossed = self.muse.cross(batch, encoded);
                self.muse.losses(batch, &self.muse.heads(batch, crossed))
            }
            false => Losses::new(),
        };
        let weighted = |losses: &Losses| {
            (losses.iter())
                .filter(|(part, _)| weights.of(*part) > 0.0)
                .map(|(part, loss)| loss.clone() * weights.of(*part))
                .reduce(|sum, loss| sum + loss)
        };
        let sum = |losses: [Option<Tensor<1>>; 2]| {
            losses.into_iter().flatten().reduce(|sum, loss| sum + loss)
        };
        let task = weighted(&losses);
        let total = sum([task.clone().map(Tensor::detach), weighted(&decoded.losses)]);
        let output = StepOutput {
            total: total.unwrap_or_else(|| Tensor::zeros([1], &settings.device)),
            parts: (losses.into_iter().chain(decoded.losses))
                .map(|(part, loss)| (part, loss.detach()))
                .collect(),
        };
        let mut gradients = decoded.gradients;
        // A batch without any label or pair teaches nothing.
        if let Some(root) = sum([task, decoded.surrogate]) {
            let others = GradientsParams::from_grads(root.backward(), self);
            merge(self, others, &mut gradients);
        }
        (output, gradients)
    }

    /// What the heads and the decoders read; what nothing depends on is not computed. (Its part of the autodiff graph would not
    /// be freed either.)
    fn encode(&self, batch: &Batch, decoder_batch: Option<&DecoderBatch>, heads: bool) -> Encoded {
        let settings = &self.settings;
        let rows = |needed: bool, encode: &dyn Fn() -> Tensor<3>, count: usize| match needed {
            true => encode(),
            false => {
                let d = settings.config.text.width();
                Tensor::zeros([batch.size, count, d], &settings.device)
            }
        };
        let is_blind = self.decoders.as_ref().is_some_and(Decoders::is_blind);
        let read = decoder_batch.filter(|_| !is_blind);
        let text = heads || read.is_some_and(DecoderBatch::has_pictures);
        let image = heads || read.is_some_and(DecoderBatch::has_captions);
        Encoded {
            text: rows(text, &|| self.muse.encode_text(batch), 1),
            image: rows(image, &|| self.muse.encode_image(batch), REGIONS),
        }
    }

    fn decoder_batch(
        &self,
        targets: &[Option<DecoderTarget>],
        device: &Device,
    ) -> Option<DecoderBatch> {
        let config = self.settings.config.decoders.as_ref()?;
        DecoderBatch::new(targets, config, self.settings.microbatch, device)
    }
}

impl TrainStep for Trainee {
    type Input = StepInput;
    type Output = StepOutput;

    fn step(&self, input: StepInput) -> TrainOutput<StepOutput> {
        let settings = &self.settings;
        settings.device.seed(input.seed);
        let batch = Batch::new(
            &input.examples,
            &settings.config,
            settings.pad,
            &settings.device,
        );
        let decoder_batch = self.decoder_batch(&input.targets, &settings.device);
        let (output, grads) = self.learn(&batch, decoder_batch.as_ref());
        TrainOutput {
            grads,
            item: output,
        }
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rates: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        let limit = self.settings.clip;
        let mut grads = clip_by_global_norm(&self.muse, grads, limit);
        if let Some(decoders) = &self.decoders {
            grads = decode::clip(decoders, grads, limit);
        }
        optimizer.step(rates, self, grads)
    }
}

impl InferenceStep for Trainee {
    type Input = ValidInput;
    type Output = Evaluated;

    fn step(&self, input: ValidInput) -> Evaluated {
        let settings = &self.settings;
        let device = settings.device.clone().inner();
        let batch = Batch::new(&input.examples, &settings.config, settings.pad, &device);
        let encoded = self.muse.encode(&batch);
        let decoder_batch = self.decoder_batch(&input.targets, &device);
        let decoders = match (&self.decoders, &decoder_batch) {
            (Some(decoders), Some(batch)) => decoders.scores(&encoded, batch),
            _ => DecoderScores::default(),
        };
        Evaluated {
            posts: input.posts,
            predictions: (self.muse.predict_encoded(&batch, encoded))
                .unwrap_or_else(|error| panic!("the device failed: {error}")),
            decoders,
        }
    }
}

/// Linear warm-up, then linear decay to 0, with a peak rate for each part of the model.
pub fn schedule(config: &TrainConfig, steps: usize) -> anyhow::Result<ModuleLrScheduler> {
    let rates = &config.train.rates;
    let triangle = |peak| Triangle::new(peak, config.train.warmup, steps);
    let group = |pattern: &str| {
        ParamGroup::from_regex(pattern).map_err(|error| anyhow::anyhow!("{pattern}: {error:?}"))
    };
    Ok(ModuleLrScheduler::new(triangle(rates.exchange))
        .with_group(group(r"^muse\.text\.")?, triangle(rates.text))
        .with_group(group(r"^muse\.image\.")?, triangle(rates.image))
        .with_group(group(r"^decoders\.")?, triangle(rates.decoders))
        .with_group(
            group(r"^muse\.(heads|word_shapes)\.")?,
            triangle(rates.heads),
        )
        .with_group(group(r"\.crf\.")?, triangle(rates.crf)))
}

/// A rate that rises to its peak, then falls to 0.
#[derive(Clone, Debug)]
pub(crate) struct Triangle {
    peak: f64,
    warmup: usize,
    steps: usize,
    step: usize,
}

impl Triangle {
    /// Over so many `steps`, of which it rises for a share of `warmup`.
    pub(crate) fn new(peak: f64, warmup: f64, steps: usize) -> Self {
        Self {
            peak,
            warmup: (warmup * steps as f64).round() as usize,
            steps,
            step: 0,
        }
    }
}

impl LrScheduler for Triangle {
    fn step(&mut self) -> LearningRate {
        let step = self.step;
        self.step += 1;
        let share = match step < self.warmup {
            true => (step + 1) as f64 / self.warmup as f64,
            false => {
                self.steps.saturating_sub(step) as f64 / (self.steps - self.warmup).max(1) as f64
            }
        };
        self.peak * share
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("step", self.step as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(step) = record.scalar::<u64>("step") {
            self.step = step as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall() {
        let mut rate = Triangle {
            peak: 2.0,
            warmup: 2,
            steps: 6,
            step: 0,
        };
        let rates: Vec<f64> = (0..7).map(|_| rate.step()).collect();
        assert_eq!(rates, [1.0, 2.0, 2.0, 1.5, 1.0, 0.5, 0.0]);
        let mut again = Triangle {
            step: 0,
            ..rate.clone()
        };
        again.load_record(rate.to_record());
        assert_eq!(again.step, 7);
    }
}
