//! Scores of predictions against gold labels: strict entity F1, and a classifier's.
//!
//! Entities are scored as seqeval does in mode `strict` with scheme IOB2: an entity counts when its type, its first
//! and its last word all agree. Every ratio is a fraction in 0..=1, and 0/0 is 0.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// An entity: its type and its words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// The type, such as `PER`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The first word.
    pub first: usize,
    /// The last word (inclusive).
    pub last: usize,
}

/// The entities of a tag sequence, in order, by strict IOB2: `B-t` opens one, directly following `I-t` extend it;
/// any other `I-` belongs to none.
pub fn spans<S: AsRef<str>>(tags: &[S]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut open = false;
    for (i, tag) in tags.iter().enumerate() {
        match tag.as_ref().split_once('-') {
            Some(("B", kind)) => {
                spans.push(Span {
                    kind: kind.to_owned(),
                    first: i,
                    last: i,
                });
                open = true;
            }
            Some(("I", kind)) => match spans.last_mut() {
                Some(span) if open && span.kind == kind => span.last = i,
                _ => open = false,
            },
            _ => open = false,
        }
    }
    spans
}

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

/// Scores of entities.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntityScores {
    /// From the counts of all types together: the score that is meant by "the F1".
    pub micro: Prf,
    /// The plain mean over the types.
    #[serde(rename = "macro")]
    pub macro_: Mean,
    /// The mean over the types, weighted by their gold entities.
    pub weighted: Mean,
    /// The score of each type that occurs among the gold or the predicted entities.
    pub per_type: BTreeMap<String, Prf>,
}

/// Scores of a classifier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SentimentScores {
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

/// Counts entities, sentence by sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntityCounter {
    counts: BTreeMap<String, Counts>,
}

/// Counts a classifier's labels, sample by sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentimentCounter {
    counts: BTreeMap<String, Counts>,
}

impl EntityCounter {
    /// Counts one sentence, by its gold and its predicted tags.
    pub fn add<G: AsRef<str>, P: AsRef<str>>(&mut self, gold: &[G], predicted: &[P]) {
        let gold: BTreeSet<Span> = spans(gold).into_iter().collect();
        let predicted = spans(predicted);
        for span in &predicted {
            let counts = counts_of(&mut self.counts, &span.kind);
            counts.predicted += 1;
            counts.tp += usize::from(gold.contains(span));
        }
        for span in &gold {
            counts_of(&mut self.counts, &span.kind).gold += 1;
        }
    }

    /// Adds what another counter has seen.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.counts, &other.counts);
    }

    /// The scores of what was counted so far.
    pub fn scores(&self) -> EntityScores {
        let per_type = scores(&self.counts);
        EntityScores {
            micro: total(&self.counts).prf(),
            macro_: mean(&per_type, |_| 1.0),
            weighted: mean(&per_type, |score| score.gold as f64),
            per_type,
        }
    }
}

impl SentimentCounter {
    /// Counts one sample, by its gold and its predicted class.
    pub fn add(&mut self, gold: &str, predicted: &str) {
        counts_of(&mut self.counts, gold).gold += 1;
        let counts = counts_of(&mut self.counts, predicted);
        counts.predicted += 1;
        counts.tp += usize::from(gold == predicted);
    }

    /// Adds what another counter has seen.
    pub fn merge(&mut self, other: &Self) {
        merge(&mut self.counts, &other.counts);
    }

    /// The scores of what was counted so far.
    pub fn scores(&self) -> SentimentScores {
        let per_class = scores(&self.counts);
        let total = total(&self.counts);
        SentimentScores {
            accuracy: total.prf().recall,
            weighted_f1: mean(&per_class, |score| score.gold as f64).f1,
            macro_f1: mean(&per_class, |_| 1.0).f1,
            per_class,
            samples: total.gold,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    tp: usize,
    predicted: usize,
    gold: usize,
}

impl Counts {
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

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

fn counts_of<'a>(counts: &'a mut BTreeMap<String, Counts>, kind: &str) -> &'a mut Counts {
    counts.entry(kind.to_owned()).or_default()
}

fn merge(into: &mut BTreeMap<String, Counts>, other: &BTreeMap<String, Counts>) {
    for (kind, theirs) in other {
        let ours = counts_of(into, kind);
        ours.tp += theirs.tp;
        ours.predicted += theirs.predicted;
        ours.gold += theirs.gold;
    }
}

fn total(counts: &BTreeMap<String, Counts>) -> Counts {
    counts
        .values()
        .fold(Counts::default(), |sum, counts| Counts {
            tp: sum.tp + counts.tp,
            predicted: sum.predicted + counts.predicted,
            gold: sum.gold + counts.gold,
        })
}

fn scores(counts: &BTreeMap<String, Counts>) -> BTreeMap<String, Prf> {
    counts
        .iter()
        .map(|(kind, counts)| (kind.clone(), counts.prf()))
        .collect()
}

fn mean(scores: &BTreeMap<String, Prf>, weight: impl Fn(&Prf) -> f64) -> Mean {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(tags: &str) -> Vec<(String, usize, usize)> {
        let tags: Vec<&str> = tags.split_whitespace().collect();
        spans(&tags)
            .into_iter()
            .map(|s| (s.kind, s.first, s.last))
            .collect()
    }

    fn span(kind: &str, first: usize, last: usize) -> (String, usize, usize) {
        (kind.to_owned(), first, last)
    }

    #[test]
    fn strict_spans() {
        assert_eq!(found("O B-PER I-PER O"), [span("PER", 1, 2)]);
        assert_eq!(
            found("B-PER B-PER I-PER"),
            [span("PER", 0, 0), span("PER", 1, 2)]
        );
        assert_eq!(found("I-PER O I-LOC I-LOC"), []);
        assert_eq!(found("B-PER O I-PER"), [span("PER", 0, 0)]);
        assert_eq!(found("B-PER I-LOC I-PER"), [span("PER", 0, 0)]);
        assert_eq!(found("B-a-b I-a-b I-a"), [span("a-b", 0, 1)]);
        assert_eq!(found("X B PER- I- -"), []);
        assert_eq!(found(""), []);
    }

    #[test]
    fn entity_scores_by_hand() {
        let mut counter = EntityCounter::default();
        counter.add(
            &["B-PER", "I-PER", "O", "B-LOC"],
            &["B-PER", "O", "O", "B-LOC"],
        );
        counter.add(&["B-PER"], &["B-ORG"]);
        let scores = counter.scores();
        assert_eq!(
            (scores.micro.tp, scores.micro.predicted, scores.micro.gold),
            (1, 3, 3)
        );
        assert_eq!(scores.micro.f1, 1.0 / 3.0);
        assert_eq!(scores.macro_.f1, 1.0 / 3.0);
        assert_eq!(scores.weighted.recall, 1.0 / 3.0);
        assert_eq!(scores.per_type["LOC"].f1, 1.0);
        assert_eq!(scores.per_type["ORG"].precision, 0.0);
    }

    #[test]
    fn sentiment_scores_by_hand() {
        let mut counter = SentimentCounter::default();
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
        assert_eq!(EntityCounter::default().scores().micro, Prf::default());
        let scores = SentimentCounter::default().scores();
        assert_eq!(
            (scores.accuracy, scores.macro_f1, scores.weighted_f1),
            (0.0, 0.0, 0.0)
        );
    }

    fn tags() -> impl Strategy<Value = Vec<String>> {
        let tag = prop::sample::select(vec!["O", "B-A", "I-A", "B-B", "I-B", "B-C", "I-C", "X"]);
        prop::collection::vec(tag.prop_map(str::to_owned), 0..20)
    }

    proptest! {
        #[test]
        fn spans_are_what_the_tags_say(tags in tags()) {
            let spans = spans(&tags);
            let opened = tags.iter().filter(|tag| tag.starts_with("B-")).count();
            prop_assert_eq!(spans.len(), opened);
            for span in &spans {
                prop_assert_eq!(&tags[span.first], &format!("B-{}", span.kind));
                let inside = format!("I-{}", span.kind);
                prop_assert!(tags[span.first + 1..=span.last].iter().all(|tag| *tag == inside));
                prop_assert!(tags.get(span.last + 1) != Some(&inside));
            }
        }

        #[test]
        fn pooling_is_counting_all(sentences in prop::collection::vec((tags(), tags()), 0..8), cut in 0..8_usize) {
            let (mut all, mut first, mut second) =
                (EntityCounter::default(), EntityCounter::default(), EntityCounter::default());
            for (i, (gold, predicted)) in sentences.iter().enumerate() {
                all.add(gold, predicted);
                if i < cut { &mut first } else { &mut second }.add(gold, predicted);
            }
            first.merge(&second);
            prop_assert_eq!(first, all);
        }

        #[test]
        fn gold_against_itself_is_perfect(tags in tags()) {
            let mut counter = EntityCounter::default();
            counter.add(&tags, &tags);
            let scores = counter.scores();
            prop_assert!(scores.per_type.values().all(|score| score.f1 == 1.0));
            prop_assert_eq!(scores.micro.tp, spans(&tags).len());
        }
    }
}
