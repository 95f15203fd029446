//! The epochs of a run, on burn-train's learner: steps, validation, the best model, checkpoints.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use burn::module::Module;
use burn::tensor::Tensor;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents,
    TrainingItem, ValidLoader,
};
use indicatif::ProgressBar;
use muse_core::MuseConfig;
use muse_core::file::{ModelFile, Precision};
use muse_core::tagger::Labeller;
use muse_core::text::tokenizer::TextTokenizer;
use muse_core::weights::state_dict;

use super::corpus::Post;
use super::feed::TrainFeed;
use super::learner::{StepOutput, Trainee};
use super::report::{Answer, MeanLosses, MetricsFile, Scores, ValidSet};
use crate::output::write_file;

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
    /// Where the best model is written.
    pub best: PathBuf,
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
        for epoch in done / steps + 1..=num_epochs {
            let start = Instant::now();
            self.feed.seek(epoch, done % steps);
            interrupter.fail_on_error(event_processor.process_train(LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: steps,
            }));
            let mut losses = LossSums::default();
            let mut batches = train.iter();
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
            let complete = done == epoch * steps;
            if complete && interrupter.error().is_none() {
                let scored = self.finish_epoch(epoch, done, start, losses, &learner, &valid);
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
        epoch: usize,
        done: usize,
        start: Instant,
        losses: LossSums,
        learner: &Learner<Trainee>,
        valid: &ValidLoader<Trainee>,
    ) -> anyhow::Result<()> {
        let losses = losses.mean();
        let trained = start.elapsed().as_secs_f64();
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
        let choice = pooled.choice();
        if self.sets.len() > 1 {
            scores.push(pooled);
        }

        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let better = match (choice, metrics.best()) {
            (Some(now), Some(before)) => now > before,
            _ => true,
        };
        if better {
            self.write_best(&model)?;
        }
        self.bar.suspend(|| {
            eprintln!(
                "epoch {epoch}: loss {:.4} in {trained:.0} s{}",
                losses.total,
                if better { ", the best so far" } else { "" }
            );
            for set in &scores {
                eprintln!("{}", set.line());
            }
        });
        metrics.add((epoch, done, trained), losses, choice, &scores)
    }

    fn answers(
        &self,
        model: &Trainee,
        valid: &ValidLoader<Trainee>,
    ) -> anyhow::Result<Vec<Answer>> {
        let labeller = Labeller::new(&model.muse, &self.config)?;
        let mut answers = vec![Answer::default(); self.posts.len()];
        for batch in valid.iter() {
            let evaluated =
                InferenceStep::step(model, batch.context("while reading validation data")?);
            let mut row = 0;
            for post in evaluated.posts {
                let windows = &self.posts[post].windows;
                let rows = row..row + windows.len();
                row = rows.end;
                answers[post] = labeller.label(windows, &evaluated.predictions, rows);
            }
        }
        Ok(answers)
    }

    fn write_best(&self, model: &Trainee) -> anyhow::Result<()> {
        let file = ModelFile {
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            state: state_dict(&model.muse),
        };
        write_file(&self.best, &file.to_bytes(Precision::F32))
    }
}

/// Sums of the losses, on the device until they are asked for.
#[derive(Default)]
struct LossSums {
    total: Sum,
    entities: Sum,
    sentiment: Sum,
}

#[derive(Default)]
struct Sum {
    value: Option<Tensor<1>>,
    count: usize,
}

impl Sum {
    fn add(&mut self, value: Tensor<1>) {
        self.count += 1;
        self.value = Some(match self.value.take() {
            Some(sum) => sum + value,
            None => value,
        });
    }

    fn mean(self) -> f64 {
        match self.value {
            Some(sum) => f64::from(sum.into_scalar::<f32>()) / self.count as f64,
            None => f64::NAN,
        }
    }
}

impl LossSums {
    fn add(&mut self, output: &StepOutput) {
        self.total.add(output.total.clone());
        if let Some(loss) = &output.entities {
            self.entities.add(loss.clone());
        }
        if let Some(loss) = &output.sentiment {
            self.sentiment.add(loss.clone());
        }
    }

    fn mean(self) -> MeanLosses {
        MeanLosses {
            total: self.total.mean(),
            entities: self.entities.mean(),
            sentiment: self.sentiment.mean(),
        }
    }
}
