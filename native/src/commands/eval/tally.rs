//! What `muse eval` counts, and how the scores are printed.

use std::io::{self, Write};

use muse_core::Tagged;
use muse_core::heads::entities::spans;
use muse_core::heads::score::{Mean, Row, Table};
use muse_core::heads::{Classes, Counters, Scores};
use muse_core::objective::Part;
use serde::Serialize;

use crate::data::Sample;
use crate::output::plain;
use crate::reliability::{Calibrated, Reliability, judged};

/// What was counted on one set, or on several.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    captions: usize,
    pub(super) pictures: usize,
    pub(super) unreadable: usize,
    split_otherwise: usize,
    heads: Counters,
    /// Of each head, the entities' among them.
    sureness: Classes<Reliability>,
}

/// The scores of a set, as they are printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    name: String,
    captions: usize,
    pictures: usize,
    #[serde(skip_serializing_if = "is_zero")]
    unreadable_pictures: usize,
    /// Captions that our splitter splits otherwise than the data, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    split_otherwise: Option<usize>,
    #[serde(flatten)]
    heads: Scores,
    calibration: Classes<Calibrated>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// An entity by its characters: type, first, one past the last.
type CharSpan = (String, usize, usize);

impl Tally {
    /// Nothing counted yet of so many captions.
    pub(super) fn new(captions: usize) -> Self {
        Self {
            captions,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, sample: &Sample, tagged: &Tagged, resplit: bool) {
        let split_otherwise = || !tagged.words.iter().map(|word| &word.text).eq(&sample.words);
        self.split_otherwise += usize::from(resplit && split_otherwise());
        if let Some(gold) = &sample.tags {
            let counter = self.heads.entities.get_or_insert_default();
            let sureness = self.sureness.entry(Part::Entities).or_default();
            if resplit {
                let gold = gold_spans(&sample.words, gold);
                let predicted = tagged
                    .entities
                    .iter()
                    .map(|e| (e.kind.clone(), e.start, e.end))
                    .collect::<Vec<_>>();
                counter.add(&char_tags(&gold), &char_tags(&predicted));
                for (span, entity) in predicted.iter().zip(&tagged.entities) {
                    sureness.add(f64::from(entity.score), gold.contains(span));
                }
            } else {
                counter.add(gold, &tagged.tags);
                for (confidence, right) in judged(tagged, gold) {
                    sureness.add(confidence, right);
                }
            }
        }
        for (head, predicted) in tagged.classes() {
            if let Some(gold) = sample.classes.get(&head) {
                let counter = self.heads.classes.entry(head).or_default();
                counter.add(&gold.label, &predicted.label);
                let sureness = self.sureness.entry(head).or_default();
                sureness.add(f64::from(predicted.score), gold.label == predicted.label);
            }
        }
    }

    /// Whether there was a label that could be scored on.
    pub(super) fn is_scored(&self) -> bool {
        self.heads.entities.is_some() || !self.heads.classes.is_empty()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.captions += other.captions;
        self.pictures += other.pictures;
        self.unreadable += other.unreadable;
        self.split_otherwise += other.split_otherwise;
        self.heads.merge(&other.heads);
        for (head, sureness) in &other.sureness {
            self.sureness.entry(*head).or_default().merge(sureness);
        }
    }

    pub(super) fn report(&self, name: String, resplit: bool) -> Report {
        Report {
            name,
            captions: self.captions,
            pictures: self.pictures,
            unreadable_pictures: self.unreadable,
            split_otherwise: resplit.then_some(self.split_otherwise),
            heads: self.heads.scores(),
            calibration: (self.sureness.iter())
                .filter_map(|(head, sureness)| Some((*head, sureness.calibrated()?)))
                .collect(),
        }
    }
}

/// Where the entities stand in the words joined by single spaces.
fn gold_spans(words: &[String], tags: &[String]) -> Vec<CharSpan> {
    let mut at = 0;
    let places: Vec<(usize, usize)> = words
        .iter()
        .map(|word| {
            let start = at;
            let end = start + word.chars().count();
            at = end + 1;
            (start, end)
        })
        .collect();
    spans(tags)
        .into_iter()
        .map(|span| (span.kind, places[span.first].0, places[span.last].1))
        .collect()
}

/// BIO tags over characters, so that the scorer of words scores character spans.
fn char_tags(entities: &[CharSpan]) -> Vec<String> {
    let length = entities.iter().map(|(_, _, end)| *end).max().unwrap_or(0);
    let mut tags = vec!["O".to_owned(); length];
    for (kind, start, end) in entities {
        tags[*start..*end].fill(format!("I-{kind}"));
        tags[*start] = format!("B-{kind}");
    }
    tags
}

impl Report {
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let pictures = match self.pictures {
            0 => "no pictures".into(),
            count => format!("{count} with a picture"),
        };
        writeln!(
            out,
            "{}: {} captions, {pictures}",
            plain(&self.name),
            self.captions
        )?;
        if self.unreadable_pictures > 0 {
            writeln!(
                out,
                "{} pictures could not be read; their captions went without",
                self.unreadable_pictures
            )?;
        }
        if let Some(count) = self.split_otherwise {
            writeln!(out, "{count} captions are split otherwise than in the data")?;
        }
        for table in self.heads.tables() {
            writeln!(out)?;
            write_table(out, &table)?;
            if let Some(Calibrated {
                error, by_chance, ..
            }) = self.calibration.get(&table.head)
            {
                let [error, by_chance] = [error, by_chance].map(|value| 100.0 * value);
                writeln!(
                    out,
                    "calibration error {error:.2} (by chance {by_chance:.2})"
                )?;
            }
        }
        Ok(())
    }
}

/// Scores in per cent.
fn write_table(out: &mut impl Write, table: &Table) -> io::Result<()> {
    let title = table.head.name();
    let named = |row: &Row| plain(&row.name).into_owned();
    let names = table.rows.iter().map(|row| named(row).chars().count());
    let width = names.chain([title.len(), 12]).max().unwrap_or(0);
    writeln!(
        out,
        "{title:width$}  {:>9}  {:>9}  {:>9}  {:>9}",
        "precision", "recall", "F1", "support"
    )?;
    for row in &table.rows {
        let Mean {
            precision,
            recall,
            f1,
        } = row.mean;
        let [precision, recall, f1] = [precision, recall, f1].map(|value| 100.0 * value);
        writeln!(
            out,
            "{:width$}  {precision:>9.2}  {recall:>9.2}  {f1:>9.2}  {:>9}",
            named(row),
            row.support
        )?;
    }
    if !table.further.is_empty() {
        let further = table.further.iter();
        let further: Vec<String> = further
            .map(|(name, value)| format!("{name} {:.2}", 100.0 * value))
            .collect();
        let samples = table.samples;
        writeln!(out, "{} on {samples} captions", further.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn gold_entities_have_characters() {
        let words = strings(&["😀", "Zoë", "Ray", "in", "Köln"]);
        let tags = strings(&["O", "B-PER", "I-PER", "O", "B-LOC"]);
        let gold = gold_spans(&words, &tags);
        assert_eq!(gold, [("PER".into(), 2, 9), ("LOC".into(), 13, 17)]);
        let chars = char_tags(&gold);
        let back = spans(&chars);
        let back: Vec<_> = back
            .into_iter()
            .map(|span| (span.kind, span.first, span.last + 1))
            .collect();
        assert_eq!(back, gold);
    }

    #[test]
    fn a_wrong_split_counts_as_an_error() {
        let sample = Sample {
            words: strings(&["Ann", "B-52s"]),
            tags: Some(strings(&["B-PER", "B-ORG"])),
            ..Sample::default()
        };
        let entity = |kind: &str, start, end| muse_core::Entity {
            kind: kind.into(),
            text: String::new(),
            start,
            end,
            first_word: 0,
            last_word: 0,
            score: 1.0,
        };
        let tagged = Tagged {
            tags: strings(&["B-PER", "B-ORG", "O", "O"]),
            entities: vec![entity("PER", 0, 3), entity("ORG", 4, 5)],
            ..Tagged::default()
        };
        let mut tally = Tally::default();
        tally.add(&sample, &tagged, true);
        let scores = tally.heads.scores().entities.expect("entities");
        assert_eq!(
            (scores.micro.tp, scores.micro.predicted, scores.micro.gold),
            (1, 2, 2)
        );
        assert_eq!(tally.split_otherwise, 1);
        // Sure of both, and one is right.
        let sureness = &tally.report(String::new(), true).calibration[&Part::Entities];
        assert_eq!((sureness.answers, sureness.error), (2, 0.5));
    }
}
