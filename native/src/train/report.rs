//! Scores of an epoch: computed, shown, and kept as CSV.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use muse_core::MuseConfig;
use muse_core::score::{EntityCounter, SentimentCounter};

use super::corpus::Post;
use crate::output::write_file;

/// A validation set: its name and its posts among all.
#[derive(Clone, Debug)]
pub struct ValidSet {
    /// What reports call it.
    pub title: String,
    /// Its posts.
    pub posts: Range<usize>,
}

/// The mean losses of an epoch's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanLosses {
    /// The weighted sum.
    pub total: f64,
    /// CRF negative log-likelihood of a sentence; NaN when no step had entity labels.
    pub entities: f64,
    /// Cross-entropy of a post; NaN when no step had sentiment labels.
    pub sentiment: f64,
}

/// Scores of a set of posts. `None` where the set has no such labels.
#[derive(Clone, Debug)]
pub struct Scores {
    /// The set.
    pub title: String,
    /// Precision, recall and F1 over all types, then F1 of each type, with their names.
    pub entities: Option<Vec<(String, f64)>>,
    /// Accuracy and weighted F1.
    pub sentiment: Option<[f64; 2]>,
}

/// What the model says of a post: a tag for each word and a probability for each class.
pub type Answer = (Vec<usize>, Vec<f32>);

impl Scores {
    /// Scores `answers` against `posts`, pair by pair.
    pub fn new<'a>(
        title: &str,
        config: &MuseConfig,
        pairs: impl Iterator<Item = (&'a Post, &'a Answer)>,
    ) -> Self {
        let mut entities = EntityCounter::default();
        let mut sentiment = SentimentCounter::default();
        let (mut tagged, mut rated) = (false, false);
        let names = |tags: &[usize]| -> Vec<&str> {
            tags.iter().map(|&t| config.tags[t].as_str()).collect()
        };
        for (post, (tags, shares)) in pairs {
            if let Some(gold) = &post.tags {
                tagged = true;
                entities.add(&names(gold), &names(tags));
            }
            if let (Some(gold), Some(best)) = (
                post.sentiment,
                (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b])),
            ) {
                rated = true;
                sentiment.add(&config.classes[gold], &config.classes[best]);
            }
        }
        let entities = tagged.then(|| {
            let scores = entities.scores();
            let all = [
                ("P", scores.micro.precision),
                ("R", scores.micro.recall),
                ("F1", scores.micro.f1),
            ];
            // Every type of the model, so that the columns stay the same from epoch to epoch.
            let types = config.tags.iter().filter_map(|t| t.strip_prefix("B-"));
            let types = types.map(|kind| {
                let f1 = scores.per_type.get(kind).map_or(0.0, |s| s.f1);
                (kind, f1)
            });
            all.into_iter()
                .chain(types)
                .map(|(name, value)| (name.to_owned(), value))
                .collect()
        });
        let sentiment = rated.then(|| {
            let scores = sentiment.scores();
            [scores.accuracy, scores.weighted_f1]
        });
        Self {
            title: title.to_owned(),
            entities,
            sentiment,
        }
    }

    /// The mean of entity F1 and sentiment accuracy, of those that there are; what the best checkpoint is chosen by.
    pub fn choice(&self) -> Option<f64> {
        let f1 = self.entities.as_ref().map(|scores| scores[2].1);
        let accuracy = self.sentiment.map(|[accuracy, _]| accuracy);
        let parts: Vec<f64> = f1.into_iter().chain(accuracy).collect();
        (!parts.is_empty()).then(|| parts.iter().sum::<f64>() / parts.len() as f64)
    }

    /// Column names and values.
    fn columns(&self) -> Vec<(String, f64)> {
        let entities = self.entities.iter().flatten().cloned();
        let sentiment = self
            .sentiment
            .iter()
            .flat_map(|[accuracy, f1]| [("accuracy", *accuracy), ("weighted F1", *f1)])
            .map(|(name, value)| (name.to_owned(), value));
        entities
            .chain(sentiment)
            .map(|(name, value)| (format!("{} {name}", self.title), value))
            .collect()
    }

    /// One line for people, in per cent.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(scores) = &self.entities {
            let all: Vec<String> = scores
                .iter()
                .map(|(name, value)| format!("{name} {:.2}", 100.0 * value))
                .collect();
            parts.push(format!("entities {}", all.join(" ")));
        }
        if let Some([accuracy, f1]) = self.sentiment {
            parts.push(format!(
                "sentiment accuracy {:.2} weighted F1 {:.2}",
                100.0 * accuracy,
                100.0 * f1
            ));
        }
        format!("  {}: {}", self.title, parts.join(", "))
    }
}

/// The run's `metrics.csv`: a row for each epoch.
pub struct MetricsFile {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl MetricsFile {
    /// Opens the file; of one that is there, the rows of the first `epochs` epochs stay.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn open(path: &Path, epochs: usize) -> anyhow::Result<Self> {
        let mut file = Self {
            path: path.to_path_buf(),
            header: Vec::new(),
            rows: Vec::new(),
        };
        if epochs > 0 && path.exists() {
            let context = || format!("cannot read {}", path.display());
            let mut reader = csv::Reader::from_path(path).with_context(context)?;
            file.header = reader
                .headers()
                .with_context(context)?
                .iter()
                .map(str::to_owned)
                .collect();
            for row in reader.records().take(epochs) {
                file.rows.push(
                    row.with_context(context)?
                        .iter()
                        .map(str::to_owned)
                        .collect(),
                );
            }
        }
        Ok(file)
    }

    /// The best choice among the rows.
    pub fn best(&self) -> Option<f64> {
        let column = self.header.iter().position(|name| name == "choice")?;
        self.rows
            .iter()
            .filter_map(|row| row.get(column)?.parse::<f64>().ok())
            .max_by(f64::total_cmp)
    }

    /// Whether an epoch with this choice is the best so far. Without a choice the last epoch is.
    pub fn improves(&self, choice: Option<f64>) -> bool {
        match (choice, self.best()) {
            // As the file has it, so that an equal epoch is never better for a digit that the file does not hold.
            (Some(now), Some(before)) => number(now).parse().is_ok_and(|now: f64| now > before),
            _ => true,
        }
    }

    /// Adds an epoch and writes the file anew.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn add(
        &mut self,
        (epoch, steps, seconds): (usize, usize, f64),
        losses: MeanLosses,
        choice: Option<f64>,
        sets: &[Scores],
    ) -> anyhow::Result<()> {
        let mut columns = vec![
            ("epoch".to_owned(), epoch.to_string()),
            ("steps".to_owned(), steps.to_string()),
            ("seconds".to_owned(), format!("{seconds:.1}")),
            ("loss".to_owned(), number(losses.total)),
            ("entities loss".to_owned(), number(losses.entities)),
            ("sentiment loss".to_owned(), number(losses.sentiment)),
            ("choice".to_owned(), choice.map_or(String::new(), number)),
        ];
        for set in sets {
            columns.extend(
                set.columns()
                    .into_iter()
                    .map(|(name, value)| (name, number(value))),
            );
        }
        let (header, row) = columns.into_iter().unzip();
        self.header = header;
        self.rows.push(row);

        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.header)?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        let bytes = writer
            .into_inner()
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        write_file(&self.path, &bytes)
    }
}

/// A value as the file has it.
fn number(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.6}"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(f1: Option<f64>, accuracy: Option<f64>) -> Scores {
        Scores {
            title: "set".into(),
            entities: f1.map(|f1| vec![("P".into(), 0.1), ("R".into(), 0.2), ("F1".into(), f1)]),
            sentiment: accuracy.map(|accuracy| [accuracy, 0.3]),
        }
    }

    #[test]
    fn the_choice_is_the_mean_of_what_is_labelled() {
        assert_eq!(scores(None, None).choice(), None);
        assert_eq!(scores(Some(0.8), None).choice(), Some(0.8));
        assert_eq!(scores(None, Some(0.7)).choice(), Some(0.7));
        assert_eq!(scores(Some(0.8), Some(0.6)).choice(), Some(0.7));
    }

    #[test]
    fn a_resumed_file_forgets_the_epochs_that_are_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let mut file = MetricsFile::open(&path, 0).unwrap();
        for (epoch, f1) in [(1, 0.5), (2, 0.9), (3, 0.7)] {
            let set = scores(Some(f1), None);
            file.add(
                (epoch, 10, 1.0),
                MeanLosses::default(),
                set.choice(),
                std::slice::from_ref(&set),
            )
            .unwrap();
        }
        assert_eq!(MetricsFile::open(&path, 3).unwrap().best(), Some(0.9));
        assert_eq!(MetricsFile::open(&path, 1).unwrap().best(), Some(0.5));
        assert_eq!(MetricsFile::open(&path, 0).unwrap().best(), None);
    }

    #[test]
    fn only_a_better_epoch_improves() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = MetricsFile::open(&folder.path().join("metrics.csv"), 0).unwrap();
        assert!(file.improves(Some(0.0)));
        // 0.333333 in the file.
        let third = Some(1.0 / 3.0);
        file.add((1, 10, 1.0), MeanLosses::default(), third, &[])
            .unwrap();
        assert!(!file.improves(third));
        assert!(!file.improves(Some(0.3)));
        assert!(file.improves(Some(0.34)));
        assert!(file.improves(None));
    }
}
