//! Fits a calibration, and measures what it does.

use std::io::{self, Write};
use std::ops::Range;

use muse_core::heads::calibration::Scaling;
use muse_core::objective::Part;

use crate::data::Shares;
use crate::output::plain;
use crate::reliability::{Calibrated, Reliability};
use crate::studies::crossfit::soften;

/// A calibrated answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    confidence: f64,
    right: bool,
    /// Minus the logarithm of the probability that it has for the truth.
    cost: f64,
}

/// What a calibration does to the answers of a head.
pub(super) struct Study<C> {
    /// Fitted on all of them.
    pub(super) fitted: C,
    before: Figures,
    after: Figures,
    /// Each fold as fitted on the others: all of them, then each set of posts where there are several.
    crossed: Vec<(String, Figures)>,
}

/// The posts of a data file.
pub(super) struct Set {
    pub(super) title: String,
    pub(super) posts: Range<usize>,
}

struct Figures {
    sureness: Calibrated,
    log_loss: f64,
}

/// What leaves answers as they are.
pub(super) trait Neutral {
    const NEUTRAL: Self;
}

impl Neutral for Scaling {
    const NEUTRAL: Self = Self {
        slope: 1.0,
        offset: 0.0,
    };
}

/// A temperature.
impl Neutral for f64 {
    const NEUTRAL: Self = 1.0;
}

/// The line with which entities, as logits and whether each is right, have the least log-loss.
pub(super) fn scaling(found: &[(f64, bool)]) -> Scaling {
    let loss = |scaling| {
        let costs = found.iter().map(|one| self::found(one, scaling).cost);
        costs.sum::<f64>()
    };
    // The loss is convex in both numbers: for each slope there is a best offset, and over the slopes these have one valley.
    let line = |log: f64| {
        let slope = log.exp();
        let offset = soften::lowest(-8.0, 8.0, |offset| loss(Scaling { slope, offset }));
        Scaling { slope, offset }
    };
    line(soften::lowest(0.125_f64.ln(), 8_f64.ln(), |log| {
        loss(line(log))
    }))
}

/// An entity as a scaling has it.
pub(super) fn found(&(logit, right): &(f64, bool), scaling: Scaling) -> Answer {
    let confidence = scaling.probability(logit);
    let truth = if right { confidence } else { 1.0 - confidence };
    Answer {
        confidence,
        right,
        cost: -truth.max(f64::MIN_POSITIVE).ln(),
    }
}

/// A class as a temperature has it.
pub(super) fn answered(pair: &(&str, &Shares), temperature: f64) -> Answer {
    let (label, answer) = *pair;
    let answer = soften::tempered(answer, temperature);
    let best = answer.iter().max_by(|a, b| a.1.total_cmp(b.1));
    Answer {
        confidence: best.map_or(0.0, |(_, share)| *share),
        right: best.is_some_and(|(class, _)| class == label),
        cost: soften::log_loss(&[*pair], temperature),
    }
}

impl<C: Copy + Neutral> Study<C> {
    /// Of each post's answers; `None` when there are none. `folds` are places of posts, `fit` fits, and `told` applies.
    pub(super) fn new<T: Clone>(
        posts: &[Vec<T>],
        sets: &[Set],
        folds: &[Vec<usize>],
        fit: impl Fn(&[T]) -> C,
        told: impl Fn(&T, C) -> Answer,
    ) -> Option<Self> {
        let all = posts.concat();
        let fitted = fit(&all);
        let at = |calibration| figures(all.iter().map(|one| told(one, calibration)));
        let mut crossed = Vec::new();
        for held in folds {
            let seen = (0..posts.len()).filter(|place| held.binary_search(place).is_err());
            let seen: Vec<T> = seen
                .flat_map(|place| posts[place].iter().cloned())
                .collect();
            let calibration = match seen.is_empty() {
                true => C::NEUTRAL,
                false => fit(&seen),
            };
            for &place in held {
                let answers = posts[place].iter();
                crossed.extend(answers.map(|one| (place, told(one, calibration))));
            }
        }
        let of = |posts: &Range<usize>| {
            let own = crossed.iter().filter(|(place, _)| posts.contains(place));
            figures(own.map(|(_, answer)| *answer))
        };
        let all_posts = ("out of fold".to_owned(), of(&(0..posts.len()))?);
        let sets = sets.iter().filter_map(|set| {
            let title = format!("out of fold, {}", plain(&set.title));
            Some((title, of(&set.posts)?))
        });
        let mut crossed: Vec<_> = [all_posts].into_iter().chain(sets).collect();
        // One set alone is all.
        if crossed.len() == 2 {
            crossed.truncate(1);
        }
        Some(Self {
            fitted,
            before: at(C::NEUTRAL)?,
            after: at(fitted)?,
            crossed,
        })
    }

    /// A table for people, and what was `fitted`.
    pub(super) fn write(&self, out: &mut impl Write, head: Part, fitted: &str) -> io::Result<()> {
        let answers = self.before.sureness.answers;
        let title = format!("{} ({answers})", head.name());
        let rows = [
            ("as the model has it", &self.before),
            ("calibrated", &self.after),
        ];
        let crossed = (self.crossed.iter()).map(|(name, figures)| (name.as_str(), figures));
        let rows: Vec<_> = rows.into_iter().chain(crossed).collect();
        let names = rows.iter().map(|(name, _)| name.chars().count());
        let width = names.chain([title.len()]).max().unwrap_or(0);
        writeln!(
            out,
            "{title:width$}  calibration error  by chance  log-loss"
        )?;
        for (name, figures) in rows {
            let [error, by_chance] =
                [figures.sureness.error, figures.sureness.by_chance].map(|value| 100.0 * value);
            writeln!(
                out,
                "{name:width$}  {error:>17.2}  {by_chance:>9.2}  {:>8.4}",
                figures.log_loss
            )?;
        }
        writeln!(out, "{fitted}\n")
    }
}

/// `None` without any answer.
fn figures(answers: impl Iterator<Item = Answer>) -> Option<Figures> {
    let mut sureness = Reliability::default();
    let mut cost = 0.0;
    for answer in answers {
        sureness.add(answer.confidence, answer.right);
        cost += answer.cost;
    }
    let sureness = sureness.calibrated()?;
    Some(Figures {
        log_loss: cost / sureness.answers as f64,
        sureness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entities of two confidences: of the surer three in four are right, of the others one in four.
    fn entities() -> Vec<(f64, bool)> {
        let of = |confidence: f64, right: usize| {
            (0..4).map(move |at| (Scaling::logit(confidence), at < right))
        };
        of(0.99, 3).chain(of(0.5, 1)).collect()
    }

    #[test]
    fn a_line_makes_confidences_come_true() {
        let found = entities();
        let scaling = scaling(&found);
        assert!((scaling.apply(0.99) - 0.75).abs() < 1e-6, "{scaling:?}");
        assert!((scaling.apply(0.5) - 0.25).abs() < 1e-6, "{scaling:?}");
        // Without anything to tell them apart by, it stays between its bounds.
        let all_right = self::scaling(&[(2.0, true), (3.0, true)]);
        assert!(all_right.slope >= 0.12 && all_right.offset <= 8.0);
    }

    #[test]
    fn a_fold_is_measured_by_what_the_others_say() {
        let found = entities();
        let posts: Vec<Vec<_>> = (0..5).map(|_| found.clone()).collect();
        let folds: Vec<Vec<usize>> = (0..5).map(|place| vec![place]).collect();
        let study = Study::new(&posts, &[], &folds, scaling, self::found).expect("answers");
        let error = |figures: &Figures| figures.sureness.error;
        assert!((error(&study.before) - 0.245).abs() < 1e-9);
        assert!(error(&study.after) < 1e-6 && error(&study.crossed[0].1) < 1e-6);
        assert!(study.after.log_loss < study.before.log_loss);

        // Where the folds contradict each other, only the figure out of fold shows it.
        let (sure, wrong) = (Scaling::logit(0.9), (Scaling::logit(0.9), false));
        let posts = [vec![(sure, true); 9], vec![wrong; 9]];
        let folds = [vec![0], vec![1]];
        let sets = [0..1, 1..2].map(|posts| Set {
            title: format!("{posts:?}"),
            posts,
        });
        let study = Study::new(&posts, &sets, &folds, scaling, self::found).expect("answers");
        assert!(error(&study.after) < 1e-6);
        let names: Vec<&str> = (study.crossed.iter().map(|(name, _)| name.as_str())).collect();
        let expected = ["out of fold", "out of fold, 0..1", "out of fold, 1..2"];
        assert_eq!(names, expected);
        assert!(
            study
                .crossed
                .iter()
                .all(|(_, figures)| error(figures) > 0.9)
        );
        let none: [Vec<(f64, bool)>; 2] = [vec![], vec![]];
        assert!(Study::new(&none, &sets, &folds, scaling, self::found).is_none());
    }
}
