//! What a crossfit says in the end: scores of the held-out answers, and the samples with soft labels.

use std::collections::BTreeMap;
use std::io::{self, Write};

use muse_core::heads::classifier::ClassCounter;
use muse_core::heads::entities::EntityCounter;
use muse_core::objective::Part;

use super::Options;
use super::soften::{self, log_loss, mixed, tempered};
use crate::data::{Sample, Shares, jsonl, readings};
use crate::output::write_file;
use crate::studies::answer::Answer;

/// A label beside the shares that a model gives.
type Pair<'a> = (&'a str, &'a Shares);

/// Scores the answers, and writes the samples with soft labels.
pub(super) fn write(
    options: &Options,
    samples: &[Sample],
    answers: &[Answer],
) -> anyhow::Result<()> {
    let tags: Vec<Option<String>> = samples.iter().map(certain).collect();
    let of_tags: Vec<Pair> = (tags.iter().zip(answers))
        .filter_map(|(tags, answer)| Some((tags.as_deref()?, answer.readings.as_ref()?)))
        .collect();
    let of_classes: Vec<Pair> = (samples.iter().zip(answers))
        .filter_map(|(sample, answer)| {
            let given = sample.classes.get(&Part::Sentiment)?;
            Some((given.label.as_str(), answer.probabilities.as_ref()?))
        })
        .collect();
    let [for_tags, for_classes] = [&of_tags, &of_classes].map(|pairs| soften::temperature(pairs));

    let share = f64::from(options.share);
    let mut text = String::new();
    for ((sample, answer), tags) in samples.iter().zip(answers).zip(&tags) {
        let mut sample = sample.clone();
        if let (Some(tags), Some(answer)) = (tags, &answer.readings) {
            let own = sample.readings.take();
            let own = own.unwrap_or_else(|| [(tags.clone(), 1.0)].into());
            sample.readings = Some(mixed(&own, &tempered(answer, for_tags), share));
        }
        let given = sample.classes.get_mut(&Part::Sentiment);
        if let (Some(given), Some(answer)) = (given, &answer.probabilities) {
            let own = given.shares.take();
            let own = own.unwrap_or_else(|| [(given.label.clone(), 1.0)].into());
            given.shares = Some(mixed(&own, &tempered(answer, for_classes), share));
        }
        text += &format!("{}\n", jsonl::line(&sample)?);
    }
    let path = options.out.join("soft.jsonl");
    write_file(&path, text.as_bytes())?;

    let mut out = io::stdout().lock();
    write_entities(&mut out, samples, answers)?;
    write_loss(&mut out, &of_tags, for_tags)?;
    write_sentiment(&mut out, &of_classes)?;
    write_loss(&mut out, &of_classes, for_classes)?;
    let shown = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    writeln!(
        out,
        "soft labels: {}\nto train with them: muse train {} --set 'data.train=[{{path = {}}}]' --out ...",
        path.display(),
        options.config.display(),
        toml::Value::String(shown.to_string_lossy().into_owned())
    )?;
    Ok(out.flush()?)
}

/// The tags of a sample, if its file marks all types: an `O` of others is not to be learnt.
fn certain(sample: &Sample) -> Option<String> {
    let tags = sample.tags.as_ref().filter(|_| sample.marked.is_none());
    tags.map(|tags| readings::joined(tags))
}

fn write_entities(
    out: &mut impl Write,
    samples: &[Sample],
    answers: &[Answer],
) -> anyhow::Result<()> {
    let mut counters: BTreeMap<&str, (usize, EntityCounter)> = BTreeMap::new();
    for (sample, answer) in samples.iter().zip(answers) {
        let best = answer.readings.as_ref().and_then(readings::likeliest);
        let whole = sample.marked.is_none();
        if let (Some(gold), Some((best, _)), true) = (&sample.tags, best, whole) {
            let style = sample.style.as_deref().unwrap_or_default();
            let (count, counter) = counters.entry(style).or_default();
            *count += 1;
            counter.add(gold, &readings::apart(best));
        }
    }
    for (style, (count, counter)) in counters {
        let style = match style {
            "" => String::new(),
            style => format!(" in the style {style}"),
        };
        writeln!(
            out,
            "entities of {count} held-out samples{style}: strict F1 {:.2}",
            100.0 * counter.scores().micro.f1
        )?;
    }
    Ok(())
}

fn write_sentiment(out: &mut impl Write, pairs: &[Pair]) -> anyhow::Result<()> {
    let mut counter = ClassCounter::default();
    for (label, answer) in pairs {
        if let Some((best, _)) = readings::likeliest(answer) {
            counter.add(label, best);
        }
    }
    if !pairs.is_empty() {
        let scores = counter.scores();
        writeln!(
            out,
            "sentiment of {} held-out samples: accuracy {:.2}, weighted F1 {:.2}",
            pairs.len(),
            100.0 * scores.accuracy,
            100.0 * scores.weighted_f1
        )?;
    }
    Ok(())
}

fn write_loss(out: &mut impl Write, pairs: &[Pair], temperature: f64) -> anyhow::Result<()> {
    if !pairs.is_empty() {
        writeln!(
            out,
            "log-loss {:.4}, at the temperature {temperature:.2} {:.4}",
            log_loss(pairs, 1.0),
            log_loss(pairs, temperature)
        )?;
    }
    Ok(())
}
