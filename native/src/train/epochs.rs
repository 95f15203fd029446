//! The epochs of a run, on burn-train's learner: steps, validation, the best model, checkpoints.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents,
    TrainingItem, ValidLoader,
};
use indicatif::ProgressBar;
use muse_core::MuseConfig;
use muse_core::file::{ModelFile, Precision};
use muse_core::heads::Labeller;
use muse_core::text::tokenizer::TextTokenizer;
use muse_core::weights::state_dict;

use super::checkpoint::losses_path;
use super::config::LossWeights;
use super::corpus::Post;
use super::feed::TrainFeed;
use super::learner::Trainee;
use super::losses::{LossSums, MeanLosses};
use super::report::{Answer, MetricsFile, Scores, ValidSet};
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
        mut learner: Learner<Trainee>,
        train: TrainLoader<Trainee>,
        valid: ValidLoader<Trainee>,
        _starting_epoch: usize,
    ) -> (Trainee, SupervisedTrainingEventProcessor<Trainee>) {
        let TrainingComponents {
            num_epochs,
            mut checkpointer,
            interrupter,
            mut event_processor,
            event_store,
            ..
        } = components;
        let steps = self.feed.steps();
        let mut done = self.done;
        let mut kept = match LossSums::load(&losses_path(&self.checkpoints, done)) {
            Ok(kept) => kept,
            Err(error) => {
                self.fail(&interrupter, error);
                return (learner.model(), event_processor);
            }
        };
        for epoch in done / steps + 1..=num_epochs {
            let start = Instant::now();
            let mut losses = std::mem::take(&mut kept);
            // Of a session that was interrupted in this epoch.
            let before = losses.seconds;
            self.feed.seek(epoch, done % steps);
            interrupter.fail_on_error(event_processor.process_train(LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: steps,
            }));
            let mut batches = train.iter();
            let mut shown = start;
            while let Some(batch) = batches.next() {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => {
                        interrupter.fail(error);
                        break;
                    }
                };
                let progress = batches.progress();
                let output = learner.train_step(batch);
                learner.lr_step();
                learner.optimizer_step(output.grads);
                done += 1;
                losses.add(&output.item);
                if shown.elapsed() >= SHOW_EVERY {
                    shown = Instant::now();
                    self.bar.set_message(output.item.line());
                }
                let item = TrainingItem::new(
                    output.item,
                    progress,
                    Some(done),
                    Some(learner.lr_current()),
                );
                interrupter.fail_on_error(
                    event_processor.process_train(LearnerEvent::ProcessedItem(item)),
                );
                if interrupter.should_stop() {
                    break;
                }
            }
            drop(batches);
            interrupter.fail_on_error(event_processor.process_train(LearnerEvent::EndSplit(epoch)));
            losses.seconds = before + start.elapsed().as_secs_f64();
            let complete = done == epoch * steps;
            if complete && interrupter.error().is_none() {
                let scored = self.finish_epoch(
                    (epoch, done, losses.seconds),
                    losses.mean(),
                    &learner,
                    &valid,
                );
                if let Err(error) = scored {
                    self.fail(&interrupter, error);
                    break; // the checkpoint before stays the last
                }
                interrupter
                    .fail_on_error(event_processor.process_train(LearnerEvent::EndEpoch(epoch)));
            }
            if interrupter.error().is_none()
                && let Some(checkpointer) = &mut checkpointer
            {
                if !complete && let Err(error) = losses.save(&losses_path(&self.checkpoints, done))
                {
                    self.fail(&interrupter, error);
                    break;
                }
                checkpointer.checkpoint(&learner, done, &event_store);
            }
            if interrupter.should_stop() {
                break;
            }
        }
        (learner.model(), event_processor)
    }
}

impl Epochs {
    fn fail(&self, interrupter: &Interrupter, error: anyhow::Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        interrupter.stop(Some("an error"));
    }

    /// Scores the model, keeps it if it is the best so far, and writes the metrics.
    fn finish_epoch(
        &self,
        (epoch, done, seconds): (usize, usize, f64),
        losses: MeanLosses,
        learner: &Learner<Trainee>,
        valid: &ValidLoader<Trainee>,
    ) -> anyhow::Result<()> {
        ensure!(
            losses.total.is_finite(),
            "the loss is no longer a number in epoch {epoch}: the training has diverged; lower train.rates and begin anew \
             (the best model so far stays)"
        );
        let model = learner.model().valid();
        let answers = self.answers(&model, valid)?;
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
            self.write_best(&model)?;
        }
        metrics.add((epoch, done, seconds), &losses, choice, &scores)?;
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
                answer.heads = labeller.label(windows, &evaluated.predictions.logits, rows);
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
