//! Scores of an epoch: computed, shown, and kept as CSV.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use muse_core::MuseConfig;
use muse_core::heads::score::Metrics;
use muse_core::heads::{Counters, Predicted};
use muse_core::objective::Part;

use super::config::LossWeights;
use super::corpus::Post;
use super::losses::MeanLosses;
use crate::output::write_file;

/// Scores of a set of posts; of the decoders `None` where it has no pairs.
#[derive(Clone, Debug)]
pub struct Scores {
    /// The set.
    pub title: String,
    /// Those of the heads that it has labels for.
    pub heads: Vec<Metrics>,
    /// Cross-entropy of a caption's token, in nats.
    pub captions: Option<f64>,
    /// Mean negative log-likelihood of a sub-pixel, in nats.
    pub pictures: Option<f64>,
}

/// What the model says of a post.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// What the heads say.
    pub heads: Predicted,
    /// The captioner's cross-entropies, summed over the caption's tokens (nats), and how many these are.
    pub caption: Option<(f32, usize)>,
    /// The image generator's nats of a sub-pixel.
    pub picture: Option<f32>,
}

impl Scores {
    /// Scores `answers` against `posts`, pair by pair.
    pub fn new<'a>(
        title: &str,
        config: &MuseConfig,
        pairs: impl Iterator<Item = (&'a Post, &'a Answer)>,
    ) -> Self {
        let mut counters = Counters::default();
        let (mut captions, mut pictures) = (Mean::default(), Mean::default());
        for (post, answer) in pairs {
            counters.add(config, &post.labels, &answer.heads);
            if let Some((nats, tokens)) = answer.caption {
                captions.add(nats.into(), tokens);
            }
            if let Some(nats) = answer.picture {
                pictures.add(nats.into(), 1);
            }
        }
        Self {
            title: title.to_owned(),
            heads: counters.scores().metrics(config),
            captions: captions.get(),
            pictures: pictures.get(),
        }
    }

    /// What the best checkpoint is chosen by: the mean of the heads' [`Metrics::selection`], of those that there are and that
    /// were trained for; without any, the decoders' loss, weighted as in the objective, below 0.
    pub fn choice(&self, weights: &LossWeights) -> Option<f64> {
        let heads = self.heads.iter().filter(|m| weights.of(m.head) > 0.0);
        let parts: Vec<f64> = heads.map(|metrics| metrics.selection).collect();
        if !parts.is_empty() {
            return Some(parts.iter().sum::<f64>() / parts.len() as f64);
        }
        let captions = self.captions.map(|nats| weights.captioning * nats);
        let pictures = self.pictures.map(|nats| weights.generation * nats);
        captions
            .into_iter()
            .chain(pictures)
            .reduce(|sum, loss| sum + loss)
            .map(std::ops::Neg::neg)
    }

    /// Column names and values.
    fn columns(&self) -> Vec<(String, f64)> {
        let heads = self.heads.iter().flat_map(|metrics| {
            let values = metrics.values.iter();
            values.map(|(name, value)| (column(metrics.head, name), *value))
        });
        let captions = self.captions.map(|nats| ("caption cross-entropy", nats));
        let pictures = self.pictures.map(|nats| ("bits/dim", bits(nats)));
        let decoders = captions.into_iter().chain(pictures);
        heads
            .chain(decoders.map(|(name, value)| (name.to_owned(), value)))
            .map(|(name, value)| (format!("{} {name}", self.title), value))
            .collect()
    }

    /// One line for people; shares in per cent.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        for metrics in &self.heads {
            let mut part = metrics.head.name().to_owned();
            for (name, value) in &metrics.values {
                part += &format!(" {name} {:.2}", 100.0 * value);
            }
            parts.push(part);
        }
        if let Some(nats) = self.captions {
            parts.push(format!("caption cross-entropy {nats:.3}"));
        }
        if let Some(nats) = self.pictures {
            parts.push(format!("bits/dim {:.3}", bits(nats)));
        }
        format!("  {}: {}", self.title, parts.join(", "))
    }
}

/// What a head's score is called among those of all. The first two heads' have names of their own, which readers know.
fn column(head: Part, name: &str) -> String {
    match head {
        Part::Entities | Part::Sentiment => name.to_owned(),
        _ => format!("{} {name}", head.name()),
    }
}

/// A mean that is asked for at the end.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, sum: f64, count: usize) {
        self.sum += sum;
        self.count += count;
    }

    fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// Nats to bits.
pub fn bits(nats: f64) -> f64 {
    nats / std::f64::consts::LN_2
}

/// Where a run is when an epoch ends.
#[derive(Clone, Copy, Debug)]
pub struct EpochEnd {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Steps done since the run began.
    pub steps: usize,
    /// How long the epoch's steps took.
    pub seconds: f64,
}

/// The run's `metrics.csv`: a row for each epoch, by the columns' names, since a resumed run may have other columns.
pub struct MetricsFile {
    path: PathBuf,
    rows: Vec<BTreeMap<String, String>>,
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
            rows: Vec::new(),
        };
        if epochs > 0 && path.exists() {
            let context = || format!("cannot read {}", path.display());
            let mut reader = csv::Reader::from_path(path).with_context(context)?;
            for row in reader.deserialize().take(epochs) {
                file.rows.push(row.with_context(context)?);
            }
        }
        Ok(file)
    }

    /// The best choice among the rows.
    pub fn best(&self) -> Option<f64> {
        self.rows
            .iter()
            .filter_map(|row| row.get("choice")?.parse::<f64>().ok())
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
        end: EpochEnd,
        losses: &MeanLosses,
        choice: Option<f64>,
        sets: &[Scores],
    ) -> anyhow::Result<()> {
        let mut columns = vec![
            ("epoch".to_owned(), end.epoch.to_string()),
            ("steps".to_owned(), end.steps.to_string()),
            ("seconds".to_owned(), format!("{:.1}", end.seconds)),
            ("loss".to_owned(), number(losses.total)),
        ];
        columns.extend(Part::ALL.map(|part| {
            let loss = losses.parts.get(&part).copied();
            (
                format!("{} loss", part.name()),
                loss.map_or(String::new(), number),
            )
        }));
        columns.push(("choice".to_owned(), choice.map_or(String::new(), number)));
        for set in sets {
            columns.extend(
                set.columns()
                    .into_iter()
                    .map(|(name, value)| (name, number(value))),
            );
        }
        self.push(columns)
    }

    /// Adds a row of columns with their cells, and writes the file anew.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn push(&mut self, columns: Vec<(String, String)>) -> anyhow::Result<()> {
        let header: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        self.rows.push(columns.into_iter().collect());

        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&header)?;
        for row in &self.rows {
            let cell = |name: &String| row.get(name).map_or("", String::as_str);
            writer.write_record(header.iter().map(cell))?;
        }
        let bytes = writer
            .into_inner()
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        write_file(&self.path, &bytes)
    }
}

/// A value as the file has it.
pub(crate) fn number(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.6}"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(f1: Option<f64>, accuracy: Option<f64>) -> Scores {
        let entities = f1.map(|f1| Metrics {
            head: Part::Entities,
            values: vec![("P".into(), 0.1), ("R".into(), 0.2), ("F1".into(), f1)],
            selection: f1,
        });
        let sentiment = accuracy.map(|accuracy| Metrics {
            head: Part::Sentiment,
            values: vec![("accuracy".into(), accuracy), ("weighted F1".into(), 0.3)],
            selection: accuracy,
        });
        Scores {
            title: "set".into(),
            heads: entities.into_iter().chain(sentiment).collect(),
            captions: None,
            pictures: None,
        }
    }

    fn end(epoch: usize) -> EpochEnd {
        EpochEnd {
            epoch,
            steps: 10,
            seconds: 1.0,
        }
    }

    fn losses() -> MeanLosses {
        MeanLosses {
            total: 0.0,
            parts: Part::ALL.map(|part| (part, 0.0)).into(),
        }
    }

    #[test]
    fn the_choice_is_the_mean_of_what_is_labelled() {
        let weights = LossWeights {
            captioning: 0.5,
            generation: 2.0,
            ..LossWeights::default()
        };
        let choice = |scores: Scores| scores.choice(&weights);
        assert_eq!(choice(scores(None, None)), None);
        assert_eq!(choice(scores(Some(0.8), None)), Some(0.8));
        assert_eq!(choice(scores(None, Some(0.7))), Some(0.7));
        assert_eq!(choice(scores(Some(0.8), Some(0.6))), Some(0.7));
        let decoded = |f1| Scores {
            captions: Some(3.0),
            pictures: Some(1.5),
            ..scores(f1, None)
        };
        assert_eq!(choice(decoded(Some(0.8))), Some(0.8));
        assert_eq!(choice(decoded(None)), Some(-4.5));
        let untrained = LossWeights {
            entities: 0.0,
            ..weights.clone()
        };
        assert_eq!(scores(Some(0.8), Some(0.6)).choice(&untrained), Some(0.6));
        assert_eq!(decoded(Some(0.8)).choice(&untrained), Some(-4.5));
    }

    #[test]
    fn a_resumed_file_forgets_the_epochs_that_are_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let mut file = MetricsFile::open(&path, 0).unwrap();
        for (epoch, f1) in [(1, 0.5), (2, 0.9), (3, 0.7)] {
            let set = scores(Some(f1), None);
            file.add(
                end(epoch),
                &losses(),
                set.choice(&LossWeights::default()),
                std::slice::from_ref(&set),
            )
            .unwrap();
        }
        assert_eq!(MetricsFile::open(&path, 3).unwrap().best(), Some(0.9));
        assert_eq!(MetricsFile::open(&path, 1).unwrap().best(), Some(0.5));
        assert_eq!(MetricsFile::open(&path, 0).unwrap().best(), None);
        // By a version with other columns.
        let mut file = MetricsFile::open(&path, 2).unwrap();
        file.add(end(3), &losses(), None, &[scores(None, Some(0.7))])
            .unwrap();
        assert_eq!(MetricsFile::open(&path, 3).unwrap().best(), Some(0.9));
    }

    #[test]
    fn only_a_better_epoch_improves() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = MetricsFile::open(&folder.path().join("metrics.csv"), 0).unwrap();
        assert!(file.improves(Some(0.0)));
        // 0.333333 in the file.
        let third = Some(1.0 / 3.0);
        file.add(end(1), &losses(), third, &[]).unwrap();
        assert!(!file.improves(third));
        assert!(!file.improves(Some(0.3)));
        assert!(file.improves(Some(0.34)));
        assert!(file.improves(None));
    }
}
