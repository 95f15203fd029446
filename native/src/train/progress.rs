//! Progress of a training: a bar with rate, time left and loss on a terminal, a line now and then in a log.

use std::time::{Duration, Instant};

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{Interrupter, LearnerSummary};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::told;

/// How often a log gets a line.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A bar with rate and time left; `unit` names what is counted. Silent when standard error is not a terminal.
pub fn bar(length: usize, unit: &str) -> ProgressBar {
    let style = format!(
        "{{prefix}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left {{msg}}"
    );
    let bar = ProgressBar::new(length as u64);
    match ProgressStyle::with_template(&style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Shows burn-train's events as one bar over all steps of the run; its message, the losses, is set elsewhere.
pub struct Bar {
    bar: ProgressBar,
    /// Steps of an epoch.
    steps: usize,
    interrupter: Interrupter,
    epoch: usize,
    /// When the log got its last line, and how many steps were done when the run began.
    logged: Instant,
    begun: (Instant, u64),
}

impl Bar {
    /// Around the bar of the run.
    pub fn new(bar: ProgressBar, steps: usize, interrupter: Interrupter) -> Self {
        let now = Instant::now();
        let begun = (now, bar.position());
        Self {
            epoch: begun.1 as usize / steps,
            bar,
            steps,
            interrupter,
            logged: now,
            begun,
        }
    }

    /// So many steps of the run are done.
    pub(crate) fn reach(&mut self, position: u64) {
        self.bar.set_position(position);
        self.log(position);
    }

    /// What the bar would show, for standard error that is no terminal.
    fn log(&mut self, position: u64) {
        if !self.bar.is_hidden() || self.logged.elapsed() < LOG_EVERY {
            return;
        }
        self.logged = Instant::now();
        let (start, first) = self.begun;
        let total = self.bar.length().unwrap_or(position);
        let rate = position.saturating_sub(first) as f64 / start.elapsed().as_secs_f64();
        let left = total.saturating_sub(position) as f64 / rate.max(1e-9);
        let heard = told(format_args!(
            "step {position} of {total}, {rate:.2} a second, {:.0} min left, {}",
            left / 60.0,
            self.bar.message()
        ));
        if !heard {
            // The sweep, or whatever read this, is gone; what is learned is saved.
            self.interrupter.stop(Some("nobody listens"));
        }
    }
}

impl TrainingProgressLogger for Bar {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch;
    }

    fn start_split(&mut self, split: &str, _: usize) {
        self.bar.set_prefix(split.to_lowercase());
    }

    fn update_split(&mut self, items_processed: usize) {
        self.reach((self.epoch * self.steps + items_processed) as u64);
    }

    fn end_split(&mut self) {}

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }

    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRendererTraining for Bar {
    fn update_train(&mut self, _: MetricState) {}

    fn update_valid(&mut self, _: MetricState) {}

    fn on_train_end(
        &mut self,
        _: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

impl EvaluationProgressLogger for Bar {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRendererEvaluation for Bar {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl MetricsRenderer for Bar {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}
