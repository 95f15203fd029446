//! The epochs of a run, on burn-train's learner: steps, validation, the best model, checkpoints.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::train::{
    EventProcessorTraining, InferenceStep, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};
use indicatif::ProgressBar;
use muse_core::MuseConfig;
use muse_core::file::{ModelFile, Precision};
use muse_core::heads::Labeller;
use muse_core::text::tokenizer::TextTokenizer;
use muse_core::weights::state_dict;

use super::checkpoint::losses_path;
use super::config::LossWeights;
use super::corpus::{Post, ValidSet};
use super::feed::{StepInput, TrainFeed};
use super::learner::Trainee;
use super::losses::{LossSums, MeanLosses, StepOutput};
use super::report::{Answer, EpochEnd, MetricsFile, Scores};
use crate::output::{tell, write_file};

/// How often a step's losses are read, which waits for the device.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// How a run goes through its epochs.
///
/// burn-train's own strategy drops an epoch that is interrupted, and knows no scores over whole sets; this one saves after
/// every step that an interruption follows, and a checkpoint's number is the number of steps done.
pub struct Epochs {
    /// The training data; the same as the loader.
    pub feed: Arc<TrainFeed>,
    /// Steps done before this session.
    pub done: usize,
    /// The validation data.
    pub posts: Arc<Vec<Post>>,
    /// Its sets.
    pub sets: Vec<ValidSet>,
    /// The model's configuration.
    pub config: MuseConfig,
    /// The model's tokenizer.
    pub tokenizer: TextTokenizer,
    /// The weights of the objective's parts.
    pub weights: LossWeights,
    /// Where the best model is written.
    pub best: PathBuf,
    /// Where the checkpoints are.
    pub checkpoints: PathBuf,
    /// The scores so far.
    pub metrics: Mutex<MetricsFile>,
    /// The bar that lines are printed above.
    pub bar: ProgressBar,
    /// The first error that is not burn's.
    pub failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl SupervisedLearningStrategy<Trainee> for Epochs {
    fn fit(
        &self,
        components: TrainingComponents<Trainee>,
        learner: Learner<Trainee>,
        train: TrainLoader<Trainee>,
        valid: ValidLoader<Trainee>,
        _starting_epoch: usize,
    ) -> (Trainee, SupervisedTrainingEventProcessor<Trainee>) {
        let mut session = Session {
            epochs: self,
            components,
            learner,
            train,
            valid,
            done: self.done,
        };
        if let Err(error) = session.run() {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
            session.components.interrupter.stop(Some("an error"));
        }
        (session.learner.model(), session.components.event_processor)
    }
}

/// From where a run begins or is resumed to its end, an interruption or an error.
struct Session<'a> {
    epochs: &'a Epochs,
    components: TrainingComponents<Trainee>,
    learner: Learner<Trainee>,
    train: TrainLoader<Trainee>,
    valid: ValidLoader<Trainee>,
    /// Steps done since the run began.
    done: usize,
}

impl Session<'_> {
    /// Errors of burn's parts are the interrupter's; after any other the checkpoint before stays the last.
    fn run(&mut self) -> anyhow::Result<()> {
        let steps = self.epochs.feed.steps();
        // Of a session that was interrupted in its first epoch.
        let mut kept = LossSums::load(&losses_path(&self.epochs.checkpoints, self.done))?;
        for epoch in self.done / steps + 1..=self.components.num_epochs {
            let mut losses = std::mem::take(&mut kept);
            self.train_epoch(epoch, &mut losses);
            let complete = self.done == epoch * steps;
            if complete && self.is_sound() {
                let end = EpochEnd {
                    epoch,
                    steps: self.done,
                    seconds: losses.seconds,
                };
                let model = self.learner.model().valid();
                self.epochs
                    .finish_epoch(end, losses.mean(), &model, &self.valid)?;
                self.tell(LearnerEvent::EndEpoch(epoch));
            }
            if self.is_sound() {
                self.save(&mut losses, complete)?;
            }
            if self.components.interrupter.should_stop() {
                break;
            }
        }
        Ok(())
    }

    /// The steps of an epoch, or those that are left of it.
    fn train_epoch(&mut self, epoch: usize, losses: &mut LossSums) {
        let start = Instant::now();
        let before = losses.seconds;
        let steps = self.epochs.feed.steps();
        self.epochs.feed.seek(epoch, self.done % steps);
        self.tell(LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: steps,
        });
        let train = Arc::clone(&self.train);
        let mut batches = train.iter();
        let mut shown = start;
        while let Some(batch) = batches.next() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    self.components.interrupter.fail(error);
                    break;
                }
            };
            let progress = batches.progress();
            let output = self.step(batch);
            losses.add(&output);
            if shown.elapsed() >= SHOW_EVERY {
                shown = Instant::now();
                self.epochs.bar.set_message(output.line());
            }
            let rate = self.learner.lr_current();
            let item = TrainingItem::new(output, progress, Some(self.done), Some(rate));
            self.tell(LearnerEvent::ProcessedItem(item));
            if self.components.interrupter.should_stop() {
                break;
            }
        }
        drop(batches);
        self.tell(LearnerEvent::EndSplit(epoch));
        losses.seconds = before + start.elapsed().as_secs_f64();
    }

    fn step(&mut self, batch: StepInput) -> StepOutput {
        let output = self.learner.train_step(batch);
        self.learner.lr_step();
        self.learner.optimizer_step(output.grads);
        self.done += 1;
        output.item
    }

    /// Makes a checkpoint; of an unfinished epoch the losses are kept beside it.
    fn save(&mut self, losses: &mut LossSums, complete: bool) -> anyhow::Result<()> {
        if let Some(checkpointer) = &mut self.components.checkpointer {
            if !complete {
                losses.save(&losses_path(&self.epochs.checkpoints, self.done))?;
            }
            checkpointer.checkpoint(&self.learner, self.done, &self.components.event_store);
        }
        Ok(())
    }

    fn tell(&mut self, event: LearnerEvent<StepOutput>) {
        let told = self.components.event_processor.process_train(event);
        self.components.interrupter.fail_on_error(told);
    }

    fn is_sound(&self) -> bool {
        self.components.interrupter.error().is_none()
    }
}

impl Epochs {
    /// Scores the model, keeps it if it is the best so far, and writes the metrics.
    fn finish_epoch(
        &self,
        end: EpochEnd,
        losses: MeanLosses,
        model: &Trainee,
        valid: &ValidLoader<Trainee>,
    ) -> anyhow::Result<()> {
        let EpochEnd { epoch, seconds, .. } = end;
        ensure!(
            losses.total.is_finite(),
            "the loss is no longer a number in epoch {epoch}: the training has diverged; lower train.rates and begin anew \
             (the best model so far stays)"
        );
        let answers = self.answers(model, valid)?;
        let score = |title: &str, range: std::ops::Range<usize>| {
            let pairs = self.posts[range.clone()].iter().zip(&answers[range]);
            Scores::new(title, &self.config, pairs)
        };
        let mut scores: Vec<Scores> = self
            .sets
            .iter()
            .map(|set| score(&set.title, set.posts.clone()))
            .collect();
        let pooled = score("all", 0..self.posts.len());
        // Without validation data the last epoch is the best.
        let choice = pooled.choice(&self.weights);
        if self.sets.len() > 1 {
            scores.push(pooled);
        }

        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let better = metrics.improves(choice);
        if better {
            self.write_best(model)?;
        }
        metrics.add(end, &losses, choice, &scores)?;
        self.bar.suspend(|| {
            tell(format_args!(
                "epoch {epoch}: {} in {seconds:.0} s{}",
                losses.line(),
                if better { ", the best so far" } else { "" }
            ));
            for set in &scores {
                tell(set.line());
            }
        });
        Ok(())
    }

    fn answers(
        &self,
        model: &Trainee,
        valid: &ValidLoader<Trainee>,
    ) -> anyhow::Result<Vec<Answer>> {
        let labeller = Labeller::new(&model.muse.heads, &self.config)?;
        let mut answers = vec![Answer::default(); self.posts.len()];
        for batch in valid.iter() {
            let evaluated =
                InferenceStep::step(model, batch.context("while reading validation data")?);
            let mut row = 0;
            // Only a post's first window is a pair.
            let mut first = BTreeMap::new();
            for post in evaluated.posts {
                let windows = &self.posts[post].windows;
                let rows = row..row + windows.len();
                first.insert(row, post);
                row = rows.end;
                let answer = &mut answers[post];
                let style = self.posts[post].labels.style;
                answer.heads = labeller.label(windows, &evaluated.predictions.logits, rows, style);
            }
            for (row, nats, tokens) in evaluated.decoders.captions {
                answers[first[&row]].caption = Some((nats, tokens));
            }
            for (row, nats) in evaluated.decoders.pictures {
                answers[first[&row]].picture = Some(nats);
            }
        }
        Ok(answers)
    }

    fn write_best(&self, model: &Trainee) -> anyhow::Result<()> {
        let mut state = state_dict(&model.muse);
        if let Some(decoders) = &model.decoders {
            state.extend(decoders.state());
        }
        let file = ModelFile {
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            state,
        };
        write_file(&self.best, &file.to_bytes(Precision::F32))
    }
}
