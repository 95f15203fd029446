//! Progress of a training on the terminal: bar, rate, time left, loss.

use burn::train::LearnerSummary;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use indicatif::{ProgressBar, ProgressStyle};

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

/// Shows burn-train's events as one bar over all steps of the run.
pub struct Bar {
    bar: ProgressBar,
    /// Steps of an epoch.
    steps: usize,
    epoch: usize,
}

impl Bar {
    /// Around the bar of the run.
    pub fn new(bar: ProgressBar, steps: usize) -> Self {
        Self {
            bar,
            steps,
            epoch: 0,
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
        self.bar
            .set_position((self.epoch * self.steps + items_processed) as u64);
    }

    fn end_split(&mut self) {}

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }

    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRendererTraining for Bar {
    fn update_train(&mut self, state: MetricState) {
        if let MetricState::Numeric(_, Some(value)) = state {
            self.bar.set_message(format!("loss {:.3}", value.current()));
        }
    }

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
