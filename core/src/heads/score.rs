//! What the scores of all heads are made of. Every ratio is a fraction in 0..=1, and 0/0 is 0.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::objective::Part;

/// Precision, recall and F1, with the counts behind them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Prf {
    /// The share of the predicted that is right.
    pub precision: f64,
    /// The share of the gold that is found.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
    /// How many are right.
    pub tp: usize,
    /// How many are predicted.
    pub predicted: usize,
    /// How many there are in the gold labels (the support).
    pub gold: usize,
}

/// Means of precision, recall and F1 over types or classes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Mean {
    /// The mean precision.
    pub precision: f64,
    /// The mean recall.
    pub recall: f64,
    /// The mean F1.
    pub f1: f64,
}

/// A head's scores as a trainer shows them.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// The head's part of the objective, by which it is called.
    pub head: Part,
    /// Each score and what it is called.
    pub values: Vec<(String, f64)>,
    /// The one that the best model is chosen by.
    pub selection: f64,
}

/// A head's scores as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The head's part of the objective, by which it is called.
    pub head: Part,
    /// Precision, recall and F1 of each type or class, then of all together.
    pub rows: Vec<Row>,
    /// Further scores and what they are called.
    pub further: Vec<(&'static str, f64)>,
    /// How many samples the further scores are over.
    pub samples: usize,
}

/// A row of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The type or class.
    pub name: String,
    /// Its precision, recall and F1.
    pub mean: Mean,
    /// How many there are in the gold labels.
    pub support: usize,
}

/// How many of each type or class are right, predicted and there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counter(BTreeMap<String, Counts>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) tp: usize,
    pub(super) predicted: usize,
    pub(super) gold: usize,
}

impl Counter {
    pub(super) fn of(&mut self, kind: &str) -> &mut Counts {
        self.0.entry(kind.to_owned()).or_default()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (kind, theirs) in &other.0 {
            self.of(kind).add(*theirs);
        }
    }

    pub(super) fn scores(&self) -> BTreeMap<String, Prf> {
        (self.0.iter())
            .map(|(kind, counts)| (kind.clone(), counts.prf()))
            .collect()
    }

    /// All types or classes together.
    pub(super) fn micro(&self) -> Prf {
        let mut total = Counts::default();
        self.0.values().for_each(|counts| total.add(*counts));
        total.prf()
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.tp += other.tp;
        self.predicted += other.predicted;
        self.gold += other.gold;
    }

    fn prf(self) -> Prf {
        let Self {
            tp,
            predicted,
            gold,
        } = self;
        let precision = ratio(tp as f64, predicted as f64);
        let recall = ratio(tp as f64, gold as f64);
        let f1 = ratio(2.0 * precision * recall, precision + recall);
        Prf {
            precision,
            recall,
            f1,
            tp,
            predicted,
            gold,
        }
    }
}

impl Prf {
    pub(super) fn row(&self, name: &str) -> Row {
        let (precision, recall, f1) = (self.precision, self.recall, self.f1);
        Mean {
            precision,
            recall,
            f1,
        }
        .row(name, self.gold)
    }
}

impl Mean {
    pub(super) fn row(self, name: &str, support: usize) -> Row {
        Row {
            name: name.to_owned(),
            mean: self,
            support,
        }
    }
}

/// A row for each type or class.
pub(super) fn rows(scores: &BTreeMap<String, Prf>) -> Vec<Row> {
    scores.iter().map(|(name, prf)| prf.row(name)).collect()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// The mean over types or classes, each with a weight.
pub(super) fn mean(scores: &BTreeMap<String, Prf>, weight: impl Fn(&Prf) -> f64) -> Mean {
    let whole: f64 = scores.values().map(&weight).sum();
    let of = |value: fn(&Prf) -> f64| {
        ratio(
            scores
                .values()
                .map(|score| value(score) * weight(score))
                .sum(),
            whole,
        )
    };
    Mean {
        precision: of(|s| s.precision),
        recall: of(|s| s.recall),
        f1: of(|s| s.f1),
    }
}
