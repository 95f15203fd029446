//! What models say of samples that they were not trained on, for others to learn from.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use muse_core::Tagged;
use muse_core::tagger::Class;
use serde::{Deserialize, Serialize};

use super::crossfit::soften::mixed;
use crate::data::{Sample, Shares, readings};
use crate::device::DeviceChoice;
use crate::output::write_file;
use crate::tagger_pool::TaggerPool;
use crate::train::progress::bar;

/// Sequences of tags that are asked for: the others are hardly likely.
const READINGS: usize = 8;

/// An answer on a sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of each sentiment class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<Shares>,
    /// Of the likeliest sequences of tags: see [`readings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readings: Option<Shares>,
}

/// A line of a file of answers.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The sample's place in the data.
    sample: usize,
    #[serde(flatten)]
    answer: Answer,
}

impl Answer {
    fn of(tagged: &Tagged) -> Self {
        let sum: f64 = tagged.readings.iter().map(|(_, share)| share).sum();
        let readings = tagged.readings.iter();
        let readings = readings.map(|(tags, share)| (readings::joined(tags), share / sum));
        Self {
            probabilities: tagged.sentiment.as_ref().map(shares),
            readings: (!tagged.words.is_empty() && sum > 0.0).then(|| readings.collect()),
        }
    }

    /// The mean of several models' answers on one sample.
    pub fn mean(answers: impl IntoIterator<Item = Self>) -> Self {
        let mut mean = Self::default();
        for (before, answer) in answers.into_iter().enumerate() {
            let share = 1.0 / (before + 1) as f64;
            let mix = |mean: &mut Option<Shares>, next: Option<Shares>| {
                *mean = match (mean.take(), next) {
                    (Some(mean), Some(next)) => Some(mixed(&mean, &next, share)),
                    (mean, next) => mean.or(next),
                }
            };
            mix(&mut mean.probabilities, answer.probabilities);
            mix(&mut mean.readings, answer.readings);
        }
        mean
    }
}

/// How likely each class is.
pub(super) fn shares(class: &Class) -> Shares {
    let shares = class.probabilities.iter();
    shares
        .map(|(class, share)| (class.clone(), f64::from(*share)))
        .collect()
}

/// A model's answers on the samples at `places`, each in the sample's style, in order of the places. Those that `file` holds are
/// taken from there; or else it will hold them.
///
/// # Errors
///
/// When the model or the file cannot be used, or a sample has a style that the model has not.
pub fn ask(
    model: &Path,
    device: DeviceChoice,
    samples: &[Sample],
    places: &[usize],
    file: &Path,
) -> anyhow::Result<Vec<(usize, Answer)>> {
    if file.exists() {
        return read(file);
    }
    let mut pool = TaggerPool::load(model, device, None)?;
    pool.set_readings(READINGS);
    let mut tags = pool.tagger().config().names.tags.iter();
    if let Some(tag) = tags.find(|tag| tag.contains(char::is_whitespace)) {
        bail!(
            "{}: the tag {tag:?} has a space, so that readings cannot be told; rename the type in the data and train again",
            model.display()
        );
    }
    let mut styles: BTreeMap<Option<&str>, Vec<Sample>> = BTreeMap::new();
    for &place in places {
        let sample = &samples[place];
        let asked = Sample {
            id: place.to_string(),
            ..sample.clone()
        };
        let style = sample.style.as_deref();
        styles.entry(style).or_default().push(asked);
    }
    let bar = bar(places.len(), "samples").with_prefix("asking");
    let mut lines = Vec::new();
    for (style, samples) in styles {
        pool.set_style(style)
            .with_context(|| format!("cannot ask {}", model.display()))?;
        pool.tag_samples(samples, false, |sample, _, tagged| {
            if let Ok(sample) = sample.id.parse() {
                let answer = Answer::of(tagged);
                lines.push(Line { sample, answer });
            }
            bar.inc(1);
        })?;
    }
    bar.finish_and_clear();
    lines.sort_by_key(|line| line.sample);
    let text = lines.iter().map(serde_json::to_string);
    let text = text.collect::<Result<Vec<_>, _>>()?;
    write_file(file, (text.join("\n") + "\n").as_bytes())?;
    let answers = lines.into_iter().map(|line| (line.sample, line.answer));
    Ok(answers.collect())
}

fn read(file: &Path) -> anyhow::Result<Vec<(usize, Answer)>> {
    let context = || {
        format!(
            "cannot read {}; remove it to ask the model again",
            file.display()
        )
    };
    let text = std::fs::read_to_string(file).with_context(context)?;
    let lines = text.lines().map(|line| {
        let line: Line = serde_json::from_str(line)?;
        Ok((line.sample, line.answer))
    });
    lines
        .collect::<Result<_, serde_json::Error>>()
        .with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(pairs: &[(&str, f64)]) -> Shares {
        let pairs = pairs.iter();
        pairs
            .map(|(key, share)| ((*key).to_owned(), *share))
            .collect()
    }

    #[test]
    fn a_mean_gives_each_model_the_same_say() {
        let answer = |pairs: &[(&str, f64)]| Answer {
            probabilities: None,
            readings: Some(shares(pairs)),
        };
        let all = [
            answer(&[("O O", 1.0)]),
            answer(&[("O O", 0.4), ("O B-X", 0.6)]),
            answer(&[("O B-X", 0.9), ("B-X O", 0.1)]),
        ];
        let mean = Answer::mean(all).readings.expect("readings");
        for (reading, share) in [("O O", 1.4), ("O B-X", 1.5), ("B-X O", 0.1)] {
            assert!((mean[reading] - share / 3.0).abs() < 1e-12, "{mean:?}");
        }
        assert_eq!(Answer::mean([]), Answer::default());
        let one = answer(&[("O", 1.0)]);
        assert_eq!(Answer::mean([one.clone()]), one);
    }

    #[test]
    fn readings_are_shares_of_what_is_told() {
        let tags = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect();
        let tagged = Tagged {
            words: muse_core::text::splitter::split("a b"),
            readings: vec![(tags(&["O", "B-X"]), 0.6), (tags(&["O", "O"]), 0.2)],
            ..Tagged::default()
        };
        let told = Answer::of(&tagged).readings.expect("readings");
        assert!((told["O B-X"] - 0.75).abs() < 1e-12 && told.len() == 2);
        // A model without that head tells nothing.
        assert_eq!(Answer::of(&Tagged::default()), Answer::default());
    }
}
