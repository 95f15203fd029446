//! Entities as seqeval scores them in mode `strict` with scheme IOB2: one counts when its type, its first and its last word
//! all agree.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::heads::score::{Counter, Mean, Metrics, Prf, Table, mean, rows};
use crate::objective::Part;

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

impl EntityScores {
    /// For a trainer: over all types, then the F1 of each type of `tags`, so that there are always as many.
    pub fn metrics(&self, tags: &[String]) -> Metrics {
        let Prf {
            precision,
            recall,
            f1,
            ..
        } = self.micro;
        let all = [("P", precision), ("R", recall), ("F1", f1)];
        let types = tags.iter().filter_map(|tag| tag.strip_prefix("B-"));
        let types = types.map(|kind| (kind, self.per_type.get(kind).map_or(0.0, |prf| prf.f1)));
        Metrics {
            head: Part::Entities,
            values: (all.into_iter().chain(types))
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            selection: f1,
        }
    }

    /// A table of the types and the means over them.
    pub fn table(&self) -> Table {
        let mut rows = rows(&self.per_type);
        rows.push(self.micro.row("micro avg"));
        rows.push(self.macro_.row("macro avg", self.micro.gold));
        rows.push(self.weighted.row("weighted avg", self.micro.gold));
        Table {
            head: Part::Entities,
            rows,
            further: Vec::new(),
            samples: 0,
        }
    }
}

/// Counts entities, sentence by sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntityCounter(Counter);

impl EntityCounter {
    /// Counts one sentence, by its gold and its predicted tags.
    pub fn add<G: AsRef<str>, P: AsRef<str>>(&mut self, gold: &[G], predicted: &[P]) {
        let gold: BTreeSet<Span> = spans(gold).into_iter().collect();
        let predicted = spans(predicted);
        for span in &predicted {
            let counts = self.0.of(&span.kind);
            counts.predicted += 1;
            counts.tp += usize::from(gold.contains(span));
        }
        for span in &gold {
            self.0.of(&span.kind).gold += 1;
        }
    }

    /// Adds what another counter has seen.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// The scores of what was counted so far.
    pub fn scores(&self) -> EntityScores {
        let per_type = self.0.scores();
        EntityScores {
            micro: self.0.micro(),
            macro_: mean(&per_type, |_| 1.0),
            weighted: mean(&per_type, |score| score.gold as f64),
            per_type,
        }
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
    fn nothing_counted_is_zero() {
        assert_eq!(EntityCounter::default().scores().micro, Prf::default());
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
