//! What a run's `metrics.csv` says, and the statistics over runs.

use std::path::Path;

use anyhow::{Context, ensure};

/// The columns that are no result.
const PROGRESS: [&str; 3] = ["epoch", "steps", "seconds"];

/// A run's scores and losses, a row for each epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    header: Vec<String>,
    rows: Vec<Vec<Option<f64>>>,
}

impl Metrics {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or holds no epoch.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot read {}", path.display());
        let mut reader = csv::Reader::from_path(path).with_context(context)?;
        let header = reader.headers().with_context(context)?;
        let header = header.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for row in reader.records() {
            let row = row.with_context(context)?;
            rows.push(row.iter().map(|cell| cell.parse().ok()).collect());
        }
        ensure!(!rows.is_empty(), "{} holds no epoch", path.display());
        Ok(Self { header, rows })
    }

    /// The scores' and losses' names, as far as any epoch has a number there.
    pub fn scores(&self) -> impl Iterator<Item = &str> {
        let filled = |at: usize| self.rows.iter().any(|row| row[at].is_some());
        let columns = self.header.iter().enumerate();
        columns
            .filter(move |(at, name)| !PROGRESS.contains(&name.as_str()) && filled(*at))
            .map(|(_, name)| name.as_str())
    }

    /// Epochs trained.
    pub fn epochs(&self) -> usize {
        self.rows.len()
    }

    /// The epoch whose model is kept, counted from 1: the first with the greatest choice; without any, the last.
    pub fn best_epoch(&self) -> usize {
        let choices = self.column("choice");
        let best = choices.iter().flatten().copied().max_by(f64::total_cmp);
        let first = choices.iter().position(|choice| *choice == best);
        first
            .filter(|_| best.is_some())
            .map_or(self.epochs(), |at| at + 1)
    }

    /// A column's numbers, epoch by epoch; empty where there is no such column.
    pub fn column(&self, name: &str) -> Vec<Option<f64>> {
        match self.header.iter().position(|column| column == name) {
            Some(at) => self.rows.iter().map(|row| row[at]).collect(),
            None => Vec::new(),
        }
    }

    /// A column's number in the best epoch.
    pub fn best(&self, name: &str) -> Option<f64> {
        let column = self.column(name);
        column.get(self.best_epoch() - 1).copied().flatten()
    }

    /// Seconds of training, scoring apart.
    pub fn seconds(&self) -> f64 {
        self.column("seconds").iter().flatten().sum()
    }
}

/// Mean, sample standard deviation and number of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, by n − 1; of a single value there is none.
    pub sd: Option<f64>,
}

impl Summary {
    /// Of some values; `None` when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            n,
            mean,
            sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()),
        })
    }

    /// `71.23 ± 0.41` when `factor` is 100 and `digits` 2.
    pub fn shown(&self, factor: f64, digits: usize) -> String {
        let mean = format!("{:.digits$}", factor * self.mean);
        match self.sd {
            Some(sd) => format!("{mean} ± {:.digits$}", factor * sd),
            None => mean,
        }
    }
}

/// How a column is shown: shares in per cent, losses as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// What values are multiplied by.
    pub factor: f64,
    /// Digits after the point.
    pub digits: usize,
    /// The unit's name.
    pub name: &'static str,
}

impl Unit {
    /// By the column's name; a choice below 0 is a loss.
    pub fn of(column: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let plain = |name| Self {
            factor: 1.0,
            digits: 3,
            name,
        };
        if column.ends_with("bits/dim") {
            plain("bits per sub-pixel")
        } else if column.ends_with("cross-entropy") {
            plain("nats per token")
        } else if column == "loss" {
            plain("weighted sum, nats")
        } else if column.ends_with("loss") {
            plain("nats")
        } else if column == "choice" && values.into_iter().any(|value| value < 0.0) {
            plain("weighted sum of losses, negated")
        } else {
            Self {
                factor: 100.0,
                digits: 2,
                name: "%",
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(text: &str) -> anyhow::Result<Metrics> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        std::fs::write(&path, text).unwrap();
        Metrics::read(&path)
    }

    #[test]
    fn the_sample_deviation_divides_by_n_minus_one() {
        let summary = Summary::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!((summary.n, summary.mean), (8, 5.0));
        assert!((summary.sd.unwrap() - (32f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(summary.shown(1.0, 2), "5.00 ± 2.14");
        let single = Summary::of(&[0.5]).unwrap();
        assert_eq!((single.sd, single.shown(100.0, 1).as_str()), (None, "50.0"));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn the_best_epoch_is_the_first_of_the_best() {
        let run = metrics(
            "epoch,steps,seconds,loss,entities loss,choice,set F1\n\
             1,4,1.5,2,,0.4,0.4\n2,8,1.0,1,,0.6,0.6\n3,12,1.0,0.5,,0.6,0.7\n",
        )
        .unwrap();
        assert_eq!((run.epochs(), run.best_epoch(), run.seconds()), (3, 2, 3.5));
        assert_eq!(run.best("set F1"), Some(0.6));
        assert_eq!(run.best("entities loss"), None);
        assert_eq!(run.best("set P"), None);
        let scores: Vec<_> = run.scores().collect();
        assert_eq!(scores, ["loss", "choice", "set F1"]);
        let unscored = metrics("epoch,steps,seconds,loss,choice\n1,4,1,2,\n2,8,1,1,\n").unwrap();
        assert_eq!(unscored.best_epoch(), 2);
        let error = metrics("epoch,choice\n").unwrap_err().to_string();
        assert!(error.contains("holds no epoch"), "{error}");
    }

    #[test]
    fn shares_are_per_cent_and_losses_are_not() {
        let unit = |name: &str, value: f64| Unit::of(name, [value]).name;
        assert_eq!(unit("posts weighted F1", 0.5), "%");
        assert_eq!(unit("all MISC", 0.5), "%");
        assert_eq!(unit("choice", 0.5), "%");
        assert_eq!(unit("posts bits/dim", 4.0), "bits per sub-pixel");
        assert_eq!(unit("posts caption cross-entropy", 4.0), "nats per token");
        assert_eq!(unit("sentiment loss", 0.5), "nats");
        assert!(unit("choice", -4.5).contains("negated"));
    }
}
