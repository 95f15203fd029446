//! Scores of a classifier.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::heads::score::{Counter, Metrics, Prf, Table, mean, rows};
use crate::objective::Part;

/// Scores of a classifier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScores {
    /// The share of the samples that is right.
    pub accuracy: f64,
    /// The mean F1 over the classes, weighted by their gold samples.
    pub weighted_f1: f64,
    /// The plain mean of F1 over the classes.
    pub macro_f1: f64,
    /// The score of each class that occurs among the gold or the predicted labels.
    pub per_class: BTreeMap<String, Prf>,
    /// How many samples were counted.
    pub samples: usize,
}

impl ClassScores {
    /// For a trainer; they are the `head`'s.
    pub fn metrics(&self, head: Part) -> Metrics {
        let values = [
            ("accuracy", self.accuracy),
            ("weighted F1", self.weighted_f1),
        ];
        Metrics {
            head,
            values: values.map(|(name, value)| (name.to_owned(), value)).into(),
            selection: self.accuracy,
        }
    }

    /// A table of the `head`'s classes.
    pub fn table(&self, head: Part) -> Table {
        Table {
            head,
            rows: rows(&self.per_class),
            further: vec![
                ("accuracy", self.accuracy),
                ("weighted F1", self.weighted_f1),
                ("macro F1", self.macro_f1),
            ],
            samples: self.samples,
        }
    }
}

/// Counts a classifier's labels, sample by sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassCounter(Counter);

impl ClassCounter {
    /// Counts one sample, by its gold and its predicted class.
    pub fn add(&mut self, gold: &str, predicted: &str) {
        self.0.of(gold).gold += 1;
        let counts = self.0.of(predicted);
        counts.predicted += 1;
        counts.tp += usize::from(gold == predicted);
    }

    /// Adds what another counter has seen.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// The scores of what was counted so far.
    pub fn scores(&self) -> ClassScores {
        let (per_class, micro) = (self.0.scores(), self.0.micro());
        ClassScores {
            accuracy: micro.recall,
            weighted_f1: mean(&per_class, |score| score.gold as f64).f1,
            macro_f1: mean(&per_class, |_| 1.0).f1,
            per_class,
            samples: micro.gold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_scores_by_hand() {
        let mut counter = ClassCounter::default();
        for (gold, predicted) in [("a", "a"), ("a", "b"), ("a", "a"), ("b", "b"), ("c", "a")] {
            counter.add(gold, predicted);
        }
        let scores = counter.scores();
        let third = 2.0 / 3.0;
        assert_eq!(scores.samples, 5);
        assert_eq!(scores.accuracy, 0.6);
        assert!((scores.per_class["a"].f1 - third).abs() < 1e-12);
        assert!((scores.per_class["b"].f1 - third).abs() < 1e-12);
        assert!((scores.macro_f1 - 2.0 * third / 3.0).abs() < 1e-12);
        assert!((scores.weighted_f1 - 4.0 * third / 5.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_counted_is_zero() {
        let scores = ClassCounter::default().scores();
        assert_eq!(
            (scores.accuracy, scores.macro_f1, scores.weighted_f1),
            (0.0, 0.0, 0.0)
        );
    }
}
