//! JSON lines, one object for each post:
//!
//! ```text
//! {"id": "16", "text": "Eileen Collins at Kennedy Space Center", "image": "images/16.jpg",
//!  "entities": [[0, 14, "PER"], [18, 38, "LOC"]], "sentiment": "positive"}
//! ```
//!
//! (on one line). `text` is split into words by [`muse_core::text::splitter`]; `words`, a list, is taken
//! as it is. `entities` are half-open spans in Unicode scalars of `text`, or of the words joined by single
//! spaces where there is no `text`. An object with `start`, `end` and `type` does too, and so does a
//! `sentiment` with a `label`, with the `probabilities` of all classes, or both, so that the tagger's output can be read again:
//! the head then learns the probabilities; what counts as right in scoring is the label. Instead of `entities` there
//! may be `tags`, one for each word; where there are both, the tags count. `readings` are the `probabilities` of tags: shares of
//! whole sequences of them, such as `{"B-PER I-PER O": 0.8, "O O O": 0.2}`. `style` says how a post's entities are annotated, and
//! `labels` which types, as a source does. Other fields are ignored, blank lines are passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use muse_core::heads::Classes;
use muse_core::objective::Part;
use muse_core::text::splitter::{self, Word};
use serde::Deserialize;
use serde_json::{Value, json};

use super::sample::{Given, Sample, Shares, checked_tag, split_hashtags};
use super::{at_line, read_text, readings};

/// One line as it is written. What may have more than one form stays a value until it is looked at, for
/// the sake of the errors.
#[derive(Deserialize)]
struct Line {
    id: Option<Value>,
    text: Option<String>,
    words: Option<Vec<String>>,
    image: Option<String>,
    entities: Option<Vec<Value>>,
    tags: Option<Vec<String>>,
    readings: Option<Value>,
    style: Option<String>,
    labels: Option<Vec<String>>,
    sentiment: Option<Value>,
}

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The folder that image paths are relative to; the file's own when `None`.
    pub images: Option<&'a Path>,
    /// Leave the pictures out, without looking for them.
    pub no_images: bool,
    /// Other names for entity types.
    pub rename: &'a BTreeMap<String, String>,
    /// Split `#NBA` of a `words` list into `#` and `NBA`; a `text` is split so anyway.
    pub hashtags_apart: bool,
}

/// Reads a file of JSON lines. A line without an `id` has its number as its id.
///
/// A span that begins or ends inside a word takes the whole word, since tags belong to words; white space
/// at its ends does not count.
///
/// # Errors
/// When the file cannot be read or is not UTF-8, and for a line that is no such object, has neither text
/// nor words, names a picture that is not there, or has labels that do not fit its words: a wrong number of
/// tags, or spans that hold no word, end beyond the text or share a word. The message names the line.
pub fn read(path: &Path, options: Options) -> anyhow::Result<Vec<Sample>> {
    let text = read_text(path)?;
    let folder = options.images.or(path.parent()).unwrap_or(Path::new(""));
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            parse(number, line, folder, options)
                .map_err(|error| at_line(number, format!("{error:#}")))
        })
        .collect::<anyhow::Result<_>>()
        .with_context(|| format!("cannot read {} as JSON lines", path.display()))
}

fn parse(number: usize, line: &str, folder: &Path, options: Options) -> anyhow::Result<Sample> {
    let line = Line::parse(line)?;
    let id = line.id(number)?;
    let mut words = line.words()?;
    let readings = line.readings(&words, options)?;
    let mut tags = line.tags(&words, options.rename)?;
    if options.hashtags_apart {
        split_hashtags(&mut words, tags.as_mut());
    }
    let likeliest = || readings::likeliest(readings.as_ref()?);
    let tags = tags.or_else(|| likeliest().map(|(reading, _)| readings::apart(reading)));
    let classes = line.classes()?;
    Ok(Sample {
        id,
        image: match options.no_images {
            true => None,
            false => line.image(folder)?,
        },
        words,
        tags,
        readings,
        classes,
        style: line.style.map(Arc::from),
        marked: line.labels.map(Arc::from),
    })
}

impl Line {
    fn parse(line: &str) -> anyhow::Result<Self> {
        // serde would also take an array of the fields.
        ensure!(
            line.trim_start().starts_with('{'),
            "not a JSON object; each line is one"
        );
        serde_json::from_str(line).map_err(|error| {
            // The line that serde_json names is always 1.
            let text = error.to_string();
            let what = text.split(" at line 1 column ").next().unwrap_or(&text);
            anyhow::anyhow!(
                "column {}: {what}; each line is a JSON object",
                error.column()
            )
        })
    }

    fn id(&self, number: usize) -> anyhow::Result<String> {
        Ok(match &self.id {
            None | Some(Value::Null) => number.to_string(),
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            Some(other) => bail!("\"id\" is {other}; it must be a string or a number"),
        })
    }

    fn words(&self) -> anyhow::Result<Vec<String>> {
        let words: Vec<String> = match (&self.words, &self.text) {
            (Some(words), _) => words.clone(),
            (None, Some(text)) => splitter::split(text)
                .into_iter()
                .map(|word| word.text)
                .collect(),
            (None, None) => bail!("there is neither \"text\" nor \"words\"; give one of the two"),
        };
        if let Some(empty) = words.iter().position(String::is_empty) {
            bail!("word {empty} of \"words\", counted from 0, is empty");
        }
        Ok(words)
    }

    /// A tag for each word; `None` without a word, too: nothing to tag is nothing to learn from.
    fn tags(
        &self,
        words: &[String],
        rename: &BTreeMap<String, String>,
    ) -> anyhow::Result<Option<Vec<String>>> {
        let tags = if let Some(tags) = &self.tags {
            ensure!(
                tags.len() == words.len(),
                "there are {} tags for {} words: {words:?}",
                tags.len(),
                words.len()
            );
            let tags = tags.iter().map(|tag| checked_tag(tag, rename));
            tags.collect::<anyhow::Result<Vec<_>>>()?
        } else if let Some(entities) = &self.entities {
            match (&self.words, &self.text) {
                (None, Some(text)) => {
                    tags_of_spans(&splitter::split(text), text, entities, rename)?
                }
                (_, text) => {
                    let joined = words.join(" ");
                    let text = text.as_ref().unwrap_or(&joined);
                    tags_of_spans(&located(words, text)?, text, entities, rename)?
                }
            }
        } else {
            Vec::new()
        };
        Ok((!tags.is_empty()).then_some(tags))
    }

    fn readings(&self, words: &[String], options: Options) -> anyhow::Result<Option<Shares>> {
        let given = self.readings.as_ref();
        let given = given.filter(|value| !value.is_null() && !words.is_empty());
        let checked = given.map(|value| {
            let shares = shares("\"readings\"", READINGS, value)?;
            readings::checked(shares, words, options.rename, options.hashtags_apart)
        });
        checked.transpose()
    }

    fn classes(&self) -> anyhow::Result<Classes<Given>> {
        let given = Part::HEADS.into_iter().filter_map(|head| {
            let value = match head {
                Part::Sentiment => self.sentiment.as_ref()?,
                Part::Entities | Part::Captioning | Part::Generation => return None,
            };
            let class = class(head.name(), value).transpose()?;
            Some(class.map(|class| (head, class)))
        });
        given.collect()
    }

    fn image(&self, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
        let image = self.image.as_ref().map(|image| folder.join(image));
        if let Some(image) = &image {
            ensure!(
                image.is_file(),
                "the picture {} is not there; put it there, or leave out the field \"image\" or all pictures (no_images)",
                image.display()
            );
        }
        Ok(image)
    }
}

/// A sample as a line that [`read`] reads again. Its picture's path is made absolute.
///
/// # Errors
///
/// When the current folder, which a relative path starts from, is gone.
pub fn line(sample: &Sample) -> anyhow::Result<Value> {
    let mut line = json!({ "id": sample.id, "words": sample.words });
    if let Some(image) = &sample.image {
        let path = std::path::absolute(image)
            .with_context(|| format!("cannot tell where {} is", image.display()))?;
        line["image"] = json!(path.to_string_lossy());
    }
    if let Some(tags) = &sample.tags {
        line["tags"] = json!(tags);
    }
    if let Some(readings) = &sample.readings {
        line["readings"] = json!(readings);
    }
    if let Some(style) = &sample.style {
        line["style"] = json!(&**style);
    }
    if let Some(marked) = &sample.marked {
        line["labels"] = json!(&**marked);
    }
    for (head, Given { label, shares }) in &sample.classes {
        line[head.name()] = match shares {
            None => json!(label),
            Some(shares) => json!({ "label": label, "probabilities": shares }),
        };
    }
    Ok(line)
}

/// The class that the `value` of a `field` gives.
fn class(field: &str, value: &Value) -> anyhow::Result<Option<Given>> {
    let (label, probabilities) = match value {
        Value::Object(fields) => (fields.get("label"), fields.get("probabilities")),
        other => (Some(other), None),
    };
    let label = match label {
        None | Some(Value::Null) => None,
        Some(Value::String(class)) if !class.trim().is_empty() => Some(class.clone()),
        Some(other) => {
            bail!("{field:?} is {other}; it must be the name of a class, such as \"positive\"")
        }
    };
    let probabilities = probabilities.filter(|value| !value.is_null());
    let shares = probabilities
        .map(|p| shares(&format!("\"probabilities\" of the {field}"), CLASSES, p))
        .transpose()?;
    let likeliest = || Some(readings::likeliest(shares.as_ref()?)?.0.clone());
    let label = label.or_else(likeliest);
    Ok(label.map(|label| Given { label, shares }))
}

const CLASSES: &str = r#"classes that sum to 1, such as {"positive": 0.75, "neutral": 0.25}"#;

const READINGS: &str =
    r#"whole sequences of tags that sum to 1, such as {"B-PER O": 0.75, "O O": 0.25}"#;

/// Shares of what is `wanted`, brought to a sum of 1; as written they have few digits.
fn shares(what: &str, wanted: &str, probabilities: &Value) -> anyhow::Result<Shares> {
    let shares: Option<Shares> = probabilities.as_object().and_then(|fields| {
        (fields.iter())
            .map(|(class, share)| {
                let share = share.as_f64().filter(|share| *share >= 0.0)?;
                (!class.trim().is_empty()).then(|| (class.clone(), share))
            })
            .collect()
    });
    let sum = |shares: &Shares| shares.values().sum::<f64>();
    match shares.filter(|shares| (sum(shares) - 1.0).abs() < 0.02) {
        Some(mut shares) => {
            let sum = sum(&shares);
            shares.values_mut().for_each(|share| *share /= sum);
            Ok(shares)
        }
        None => bail!("the {what} are {probabilities}; they must be shares of {wanted}"),
    }
}

/// Where the words stand in `text`, in scalars. Only white space may lie between them.
pub(crate) fn located(words: &[String], text: &str) -> anyhow::Result<Vec<Word>> {
    let (mut rest, mut position) = (text, 0);
    let mut out = Vec::with_capacity(words.len());
    for word in words {
        let trimmed = if rest.starts_with(word.as_str()) {
            rest
        } else {
            rest.trim_start()
        };
        position += rest.chars().count() - trimmed.chars().count();
        let Some(after) = trimmed.strip_prefix(word.as_str()) else {
            bail!(
                "the word {word:?} does not follow in \"text\" at character {position}; \
                 give the words as they stand there, or only one of \"text\" and \"words\""
            );
        };
        let end = position + word.chars().count();
        out.push(Word {
            text: word.clone(),
            start: position,
            end,
        });
        (rest, position) = (after, end);
    }
    Ok(out)
}

fn tags_of_spans(
    words: &[Word],
    text: &str,
    entities: &[Value],
    rename: &BTreeMap<String, String>,
) -> anyhow::Result<Vec<String>> {
    let length = text.chars().count();
    let mut tags = vec!["O".to_owned(); words.len()];
    for entity in entities {
        let Some((start, end, kind)) = span(entity) else {
            bail!(
                "the entity {entity} is not [start, end, \"type\"], with start < end in characters"
            );
        };
        // Words that the span touches, if only in part.
        let first = words.partition_point(|word| word.end <= start);
        let last = words.partition_point(|word| word.start < end);
        ensure!(
            end <= length,
            "the entity {entity} ends beyond the text, which has {length} characters"
        );
        ensure!(first < last, "the entity {entity} holds no word");
        if let Some(word) = (first..last).find(|&word| tags[word] != "O") {
            bail!(
                "the entity {entity} shares the word {:?} with another; a word has one entity",
                words[word].text
            );
        }
        tags[first..last].fill(checked_tag(&format!("I-{kind}"), rename)?);
        tags[first].replace_range(..1, "B");
    }
    Ok(tags)
}

fn span(entity: &Value) -> Option<(usize, usize, &str)> {
    let [start, end, kind] = match entity {
        Value::Array(parts) => parts.iter().collect::<Vec<_>>().try_into().ok()?,
        Value::Object(fields) => [
            fields.get("start")?,
            fields.get("end")?,
            fields.get("type")?,
        ],
        _ => return None,
    };
    let (start, end) = (start.as_u64()?, end.as_u64()?);
    let kind = kind
        .as_str()
        .filter(|kind| !kind.is_empty() && start < end)?;
    Some((start.try_into().ok()?, end.try_into().ok()?, kind))
}

#[cfg(test)]
mod tests;
