//! Whether a model is as sure as it is right: the expected calibration error (Guo et al. 2017, arXiv:1706.04599).

use std::collections::BTreeSet;

use muse_core::Tagged;
use muse_core::heads::entities::{Span, spans};
use serde::Serialize;

/// Bins of equal width that confidences fall into.
const BINS: usize = 15;

/// Counts answers by how sure they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reliability([Bin; BINS]);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    answers: usize,
    right: usize,
    /// The sum of the confidences.
    confidence: f64,
    /// The variance of how many would be right if the confidences were true.
    variance: f64,
}

/// What was counted, as fractions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibrated {
    /// The expected calibration error: how far confidence and truth are apart, bin by bin, on average over the answers.
    pub error: f64,
    /// What it would be by chance if all confidences were true: with few answers a share is not met exactly.
    pub by_chance: f64,
    /// How many answers there are.
    pub answers: usize,
    /// The bins that have any, from the least sure.
    pub bins: Vec<Share>,
}

/// A bin's answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many there are.
    pub answers: usize,
    /// How sure they are, on average.
    pub confidence: f64,
    /// The share of them that is right.
    pub right: f64,
}

impl Reliability {
    /// Counts an answer; bins have their upper bounds.
    pub fn add(&mut self, confidence: f64, right: bool) {
        let place = (confidence * BINS as f64).ceil() as usize;
        let bin = &mut self.0[place.clamp(1, BINS) - 1];
        bin.answers += 1;
        bin.right += usize::from(right);
        bin.confidence += confidence;
        bin.variance += confidence * (1.0 - confidence);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, bin) in self.0.iter_mut().zip(&other.0) {
            own.answers += bin.answers;
            own.right += bin.right;
            own.confidence += bin.confidence;
            own.variance += bin.variance;
        }
    }

    /// What was counted so far; `None` without any answer.
    pub fn calibrated(&self) -> Option<Calibrated> {
        let answers: usize = self.0.iter().map(|bin| bin.answers).sum();
        if answers == 0 {
            return None;
        }
        let mean = |of: fn(&Bin) -> f64| self.0.iter().map(of).sum::<f64>() / answers as f64;
        let full = self.0.iter().filter(|bin| bin.answers > 0);
        Some(Calibrated {
            error: mean(|bin| (bin.confidence - bin.right as f64).abs()),
            // The mean distance of a normally distributed count from its mean.
            by_chance: mean(|bin| (bin.variance * std::f64::consts::FRAC_2_PI).sqrt()),
            answers,
            bins: full
                .map(|bin| Share {
                    answers: bin.answers,
                    confidence: bin.confidence / bin.answers as f64,
                    right: bin.right as f64 / bin.answers as f64,
                })
                .collect(),
        })
    }
}

/// How sure the model is of each entity that it found, and whether there is exactly this one among those of the `gold` tags.
pub fn judged(tagged: &Tagged, gold: &[String]) -> Vec<(f64, bool)> {
    let gold: BTreeSet<Span> = spans(gold).into_iter().collect();
    // The tagger gives an entity for each span of its tags, in the same order.
    let found = spans(&tagged.tags).into_iter().zip(&tagged.entities);
    found
        .map(|(span, entity)| (f64::from(entity.score), gold.contains(&span)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_by_hand() {
        let mut counted = Reliability::default();
        for (confidence, right) in [(0.8, true), (0.8, true), (0.8, false), (0.8, true)] {
            counted.add(confidence, right);
        }
        let mut others = Reliability::default();
        // A bound belongs to the bin below it, 0 to the first.
        for (confidence, right) in [(1.0 / 15.0, false), (0.0, false), (1.0, true), (1.0, false)] {
            others.add(confidence, right);
        }
        counted.merge(&others);
        let found = counted.calibrated().expect("answers");
        // 0.2 of 4, 1/15 of 2, 1 of 2.
        let error = (0.2 + 1.0 / 15.0 + 1.0) / 8.0;
        assert!((found.error - error).abs() < 1e-12, "{found:?}");
        assert_eq!((found.answers, found.bins.len()), (8, 3));
        assert_eq!((found.bins[0].answers, found.bins[1].right), (2, 0.75));
        assert_eq!(Reliability::default().calibrated(), None);
    }

    #[test]
    fn chance_is_what_true_confidences_leave() {
        use rand::{RngExt, SeedableRng};

        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let (mut errors, mut chance) = (0.0, 0.0);
        for _ in 0..200 {
            let mut counted = Reliability::default();
            for _ in 0..500 {
                let confidence = rng.random_range(0.3..1.0);
                counted.add(confidence, rng.random_bool(confidence));
            }
            let found = counted.calibrated().expect("answers");
            errors += found.error;
            chance += found.by_chance;
        }
        assert!((errors / chance - 1.0).abs() < 0.05, "{errors} {chance}");
    }

    #[test]
    fn an_entity_is_right_when_all_of_it_is() {
        let strings = |tags: &str| -> Vec<String> { tags.split(' ').map(String::from).collect() };
        let entity = |score| muse_core::Entity {
            kind: String::new(),
            text: String::new(),
            start: 0,
            end: 0,
            first_word: 0,
            last_word: 0,
            score,
        };
        let tagged = Tagged {
            tags: strings("B-PER I-PER O B-LOC O B-ORG"),
            entities: [0.5, 0.75, 1.0].map(entity).into(),
            ..Tagged::default()
        };
        let gold = strings("B-PER I-PER O B-LOC I-LOC B-PER");
        let expected = [(0.5, true), (0.75, false), (1.0, false)];
        assert_eq!(judged(&tagged, &gold), expected);
    }
}
