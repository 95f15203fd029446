//! From where a run begins or is resumed to its end, or an interruption.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::tensor::Device;
use burn::train::Interrupter;
use burn::train::checkpoint::Checkpointer;
use indicatif::ProgressBar;
use muse_core::pretraining::{MaskedText, Pretraining, PretrainingBatch, PretrainingScores};
use muse_core::text::tokenizer::EncodedText;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::config::PretrainConfig;
use super::masking::Masking;
use super::texts::Texts;
use super::trainer::{StepLosses, Trainer};
use crate::data::loader::plan_epoch;
use crate::output::{tell, write_file};
use crate::train::checkpoint::{AtomicCheckpointer, PARTS, losses_path};
use crate::train::feed::mix;
use crate::train::folder::RunFolder;
use crate::train::progress::{self, Bar};
use crate::train::report::{MetricsFile, number};

/// How often a checkpoint is made within an epoch, which may take hours.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// What a session goes through.
pub(super) struct Session<'a> {
    config: &'a PretrainConfig,
    folder: &'a RunFolder,
    texts: &'a Texts,
    masking: Masking,
    /// The piece that fills short texts.
    pad: u32,
    interrupter: &'a Interrupter,
    /// Pieces of each text.
    lengths: Vec<usize>,
    bar: ProgressBar,
}

/// Sums over the steps of an epoch.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Sums {
    steps: usize,
    seconds: f64,
    pieces: f64,
    shapes: f64,
}

impl<'a> Session<'a> {
    /// A session of a run, from wherever it stands.
    pub(super) fn new(
        config: &'a PretrainConfig,
        folder: &'a RunFolder,
        texts: &'a Texts,
        masking: Masking,
        pad: u32,
        interrupter: &'a Interrupter,
    ) -> Self {
        let lengths: Vec<usize> = texts.train.iter().map(|text| text.pieces.len()).collect();
        let steps = lengths.len().div_ceil(config.train.batch_size) * config.train.epochs;
        let bar = progress::bar(steps, "steps");
        bar.set_prefix("pretraining");
        Self {
            config,
            folder,
            texts,
            masking,
            pad,
            interrupter,
            lengths,
            bar,
        }
    }

    /// Steps of an epoch.
    fn steps(&self) -> usize {
        self.lengths.len().div_ceil(self.config.train.batch_size)
    }

    /// Steps of the run.
    pub(super) fn total(&self) -> usize {
        self.steps() * self.config.train.epochs
    }

    /// Trains until all epochs are done or it is interrupted; `saved` are the steps after which there are checkpoints, the last of
    /// which the trainer has. Gives the model, or nothing where it was interrupted and what it has learned is saved.
    ///
    /// # Errors
    ///
    /// When a file cannot be written, or the training diverges.
    pub(super) fn run(
        &self,
        mut trainer: Trainer,
        mut saved: Vec<usize>,
    ) -> anyhow::Result<Option<Pretraining>> {
        let (steps, total, epochs) = (self.steps(), self.total(), self.config.train.epochs);
        let mut done = saved.last().copied().unwrap_or(0);
        let kept = match done {
            0 => 0,
            _ => 1 + done / steps, // with what was known at first
        };
        let mut metrics = MetricsFile::open(&self.folder.metrics, kept)?;
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
        if done == 0 {
            tell(format_args!(
                "pretraining: {epochs} epochs of {steps} steps"
            ));
            self.finish_epoch(0, 0, &Sums::default(), &trainer, &mut metrics)?;
        } else {
            tell(format_args!("going on after step {done} of {total}"));
        }
        let mut progress = Bar::new(self.bar.clone(), steps, self.interrupter.clone());
        let mut sums = Sums::load(&losses_path(&self.folder.checkpoints, done))?;
        let mut last = Instant::now();
        while done < total {
            let epoch = done / steps + 1;
            let (size, seed) = (self.config.train.batch_size, self.config.seed);
            let plan = plan_epoch(&self.lengths, size, seed, epoch as u64);
            for texts in &plan[done % steps..] {
                let start = Instant::now();
                let batch = self.batch(texts, epoch, done, &trainer.device);
                let losses;
                (trainer, losses) = trainer.step(&batch);
                done += 1;
                sums.add(&losses, start.elapsed());
                self.bar.set_message(losses.line());
                progress.reach(done as u64);
                let is_due = last.elapsed() >= SAVE_EVERY || self.interrupter.should_stop();
                if is_due && done % steps != 0 {
                    sums.save(&losses_path(&self.folder.checkpoints, done))?;
                    self.save(&trainer, done, &mut saved)?;
                    last = Instant::now();
                    if self.interrupter.should_stop() {
                        return Ok(None);
                    }
                }
            }
            self.finish_epoch(epoch, done, &sums, &trainer, &mut metrics)?;
            self.save(&trainer, done, &mut saved)?;
            (sums, last) = (Sums::default(), Instant::now());
            if self.interrupter.should_stop() && done < total {
                return Ok(None);
            }
        }
        self.bar.finish_and_clear();
        Ok(Some(trainer.model))
    }

    /// Hides words of these texts, other ones in each epoch, and seeds the step's dropout: by numbers of its own, so that a resumed
    /// run repeats what an uninterrupted one does.
    fn batch(
        &self,
        texts: &[usize],
        epoch: usize,
        step: usize,
        device: &Device,
    ) -> PretrainingBatch {
        device.seed(mix(&[self.config.seed, step as u64]));
        let texts = texts.iter().map(|&number| {
            let text = &self.texts.train[number];
            self.masked(text, epoch, number)
        });
        let texts: Vec<MaskedText> = texts.collect();
        PretrainingBatch::new(&texts, self.pad, device)
    }

    fn masked(&self, text: &EncodedText, epoch: usize, number: usize) -> MaskedText {
        let seed = mix(&[self.config.seed, epoch as u64, number as u64]);
        self.masking
            .hide(text, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    /// Asks about what is held out, with the same words hidden each time, and writes the metrics.
    fn finish_epoch(
        &self,
        epoch: usize,
        done: usize,
        sums: &Sums,
        trainer: &Trainer,
        metrics: &mut MetricsFile,
    ) -> anyhow::Result<()> {
        let means = sums.mean();
        ensure!(
            epoch == 0 || (means.pieces + means.shapes).is_finite(),
            "the loss is no longer a number in epoch {epoch}: the training has diverged; lower train.rate and begin anew"
        );
        let scores = self.score(&trainer.model.valid(), &trainer.device.clone().inner());
        let (perplexity, accuracy) = (scores.perplexity(), scores.accuracy());
        let shapes = self.config.train.shapes;
        let cell = |name: &str, value: f64| (name.to_owned(), number(value));
        metrics.push(vec![
            ("epoch".to_owned(), epoch.to_string()),
            ("steps".to_owned(), done.to_string()),
            ("seconds".to_owned(), format!("{:.1}", sums.seconds)),
            cell("loss", means.pieces + shapes * means.shapes),
            cell("pieces loss", means.pieces),
            cell("shapes loss", means.shapes),
            cell("perplexity", perplexity),
            cell("shape accuracy", accuracy),
        ])?;
        self.bar.suspend(|| {
            match epoch {
                0 => tell("at first"),
                _ => tell(format_args!(
                    "epoch {epoch}: {} in {:.0} s",
                    means.line(),
                    sums.seconds
                )),
            }
            tell(format_args!(
                "  held out: perplexity {perplexity:.2} of a hidden piece, {:.2} % of the word shapes",
                100.0 * accuracy
            ));
        });
        Ok(())
    }

    fn score(&self, model: &Pretraining, device: &Device) -> PretrainingScores {
        let texts = self.texts.held_out.iter().enumerate();
        let mut texts: Vec<MaskedText> = texts
            .map(|(number, text)| self.masked(text, 0, number))
            .collect();
        texts.sort_by_key(|text| text.pieces.len());
        let mut scores = PretrainingScores::default();
        for texts in texts.chunks(self.config.train.batch_size) {
            scores.add(&model.score(&PretrainingBatch::new(texts, self.pad, device)));
        }
        scores
    }

    /// Makes a checkpoint, and keeps the one before.
    fn save(&self, trainer: &Trainer, done: usize, saved: &mut Vec<usize>) -> anyhow::Result<()> {
        let folder = &self.folder.checkpoints;
        trainer.save(folder, done)?;
        saved.push(done);
        while saved.len() > 2 {
            let old = saved.remove(0);
            for part in PARTS {
                let part = AtomicCheckpointer::new(folder, part);
                Checkpointer::<()>::delete(&part, old)
                    .with_context(|| format!("cannot tidy {}", folder.display()))?;
            }
        }
        Ok(())
    }
}

impl StepLosses {
    /// For people.
    fn line(&self) -> String {
        format!("pieces {:.3}, shapes {:.3}", self.pieces, self.shapes)
    }
}

impl Sums {
    fn add(&mut self, losses: &StepLosses, took: Duration) {
        self.steps += 1;
        self.seconds += took.as_secs_f64();
        self.pieces += losses.pieces;
        self.shapes += losses.shapes;
    }

    /// NaN without steps.
    fn mean(&self) -> StepLosses {
        let steps = self.steps as f64;
        StepLosses {
            pieces: self.pieces / steps,
            shapes: self.shapes / steps,
        }
    }

    /// What [`Self::save`] wrote, or nothing yet.
    fn load(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot read {}", path.display());
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).with_context(context),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(context),
        }
    }

    /// Of an epoch that is not over: another session goes on from them.
    fn save(&self, path: &Path) -> anyhow::Result<()> {
        write_file(path, toml::to_string(self)?.as_bytes())
    }
}
