//! One labelled post, whatever file it came from, and what a set of them says about tags and classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use muse_core::heads::{Classes, Names};
use muse_core::objective::Part;

/// Shares of classes, or of readings, that sum to 1.
pub type Shares = BTreeMap<String, f64>;

/// A class, as a file gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The class.
    pub label: String,
    /// How much of the answer each class has, when the file says more than the class: shares that sum to 1.
    pub shares: Option<Shares>,
}

/// A caption with the labels that its file gives it.
///
/// Readers keep two promises: `tags` has one tag for each word, each `O`, `B-<type>` or `I-<type>`, and a
/// sample without words has no tags (there is nothing to tag). Tags are as the file has them: an `I-` that
/// continues nothing stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The file's name for the post, or the number of its line.
    pub id: String,
    /// The words, in the file's own split or in that of [`muse_core::text::splitter`].
    pub words: Vec<String>,
    /// The picture, when there is one; the file was there when the sample was read.
    pub image: Option<PathBuf>,
    /// A BIO tag for each word, when the file marks entities.
    pub tags: Option<Vec<String>>,
    /// What these may be all in all, when the file says more than the likeliest: see [`super::readings`].
    pub readings: Option<Shares>,
    /// How its entities are annotated, where that is told apart.
    pub style: Option<Arc<str>>,
    /// The types of entity that the file marks, if not all: `O` may stand for any other.
    pub marked: Option<Arc<[String]>>,
    /// The classes that the file has.
    pub classes: Classes<Given>,
}

/// The `known` names, and those of the samples where there are none; styles in the order in which they occur.
pub fn names_of<'a>(known: Names, samples: impl Iterator<Item = &'a Sample> + Clone) -> Names {
    let mut names = known;
    if names.tags.is_empty() {
        names.tags = tags_of(samples.clone());
    }
    for (head, classes) in names.classifiers_mut() {
        if classes.is_empty() {
            *classes = classes_of(samples.clone(), head);
        }
    }
    let styles = &mut names.styles.names;
    if styles.is_empty() {
        for style in samples.filter_map(|sample| sample.style.as_deref()) {
            if !styles.iter().any(|known| known == style) {
                styles.push(style.to_owned());
            }
        }
    }
    names
}

/// The BIO tags of an entity head for these samples: `O`, then `B-` and `I-` of each type in alphabetical
/// order. Empty when no sample is tagged. A type that occurs only under `I-` has its `B-` too.
fn tags_of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Vec<String> {
    let mut tagged = false;
    let mut kinds = BTreeSet::new();
    for sample in samples {
        let readings = sample.readings.iter().flat_map(BTreeMap::keys);
        let tags = readings.flat_map(|reading| reading.split(' '));
        for tag in tags.chain(sample.tags.iter().flatten().map(String::as_str)) {
            tagged = true;
            kinds.extend(tag.split_once('-').map(|(_, kind)| kind));
        }
    }
    let pairs = kinds
        .into_iter()
        .flat_map(|kind| [format!("B-{kind}"), format!("I-{kind}")]);
    tagged
        .then(|| "O".to_owned())
        .into_iter()
        .chain(pairs)
        .collect()
}

/// The classes of a head that occur, in alphabetical order; empty when no sample has one.
fn classes_of<'a>(samples: impl IntoIterator<Item = &'a Sample>, head: Part) -> Vec<String> {
    let mut classes = BTreeSet::new();
    for given in samples.into_iter().filter_map(|s| s.classes.get(&head)) {
        classes.insert(&given.label);
        classes.extend(given.shares.iter().flat_map(BTreeMap::keys));
    }
    classes.into_iter().cloned().collect()
}

/// Checks that a tag is `O`, `B-<type>` or `I-<type>`, and gives its type its new name if it has one.
pub(super) fn checked_tag(tag: &str, rename: &BTreeMap<String, String>) -> anyhow::Result<String> {
    if tag == "O" {
        return Ok(tag.to_owned());
    }
    match tag.split_once('-') {
        Some((prefix @ ("B" | "I"), kind)) if !kind.is_empty() => {
            let kind = rename.get(kind).map_or(kind, String::as_str);
            Ok(format!("{prefix}-{kind}"))
        }
        _ => anyhow::bail!("{tag:?} is not a tag; tags are O, B-<type> or I-<type>"),
    }
}

/// Brings hashtags of one word (`#NBA`, as in Twitter-2015) to the form of Twitter-2017 and of the
/// splitter: `#`, `NBA`.
///
/// The word keeps its tag. The `#` gets `O`, unless it stands inside an entity (the word is `I-` and the
/// one before it has the same type): there it gets the same `I-`, so that the entity stays in one piece.
/// That is how Twitter-2017 is tagged (`New/B-ORG Orleans/I-ORG #/I-ORG Saints/I-ORG`). A `#` before
/// anything but a letter, digit or `_` is left alone.
pub(super) fn split_hashtags(words: &mut Vec<String>, tags: Option<&mut Vec<String>>) {
    let attached: Vec<bool> = words.iter().map(|word| is_attached_hashtag(word)).collect();
    if let Some(tags) = tags {
        let old = std::mem::take(tags);
        for (i, tag) in old.iter().enumerate() {
            if attached[i] {
                let inside = tag.starts_with("I-") && i > 0 && old[i - 1].get(2..) == tag.get(2..);
                tags.push(if inside { tag.clone() } else { "O".to_owned() });
            }
            tags.push(tag.clone());
        }
    }
    let old = std::mem::take(words);
    for (word, attached) in old.into_iter().zip(attached) {
        if attached {
            words.push("#".to_owned());
            words.push(word[1..].to_owned());
        } else {
            words.push(word);
        }
    }
}

fn is_attached_hashtag(word: &str) -> bool {
    let rest = word.strip_prefix('#').and_then(|rest| rest.chars().next());
    rest.is_some_and(|first| first.is_alphanumeric() || first == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tags: Option<&[&str]>, sentiment: Option<&str>) -> Sample {
        let given = |label: &str| Given {
            label: label.to_owned(),
            shares: None,
        };
        let classes = sentiment.map(|class| (Part::Sentiment, given(class)));
        Sample {
            tags: tags.map(|tags| tags.iter().map(|&tag| tag.to_owned()).collect()),
            classes: classes.into_iter().collect(),
            ..Sample::default()
        }
    }

    #[test]
    fn tags_are_o_then_pairs_by_type() {
        let samples = [
            sample(Some(&["O", "I-PER"]), None),
            sample(None, Some("good")),
            sample(Some(&["B-LOC", "O"]), None),
        ];
        assert_eq!(tags_of(&samples), ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]);
        assert_eq!(tags_of(&samples[1..2]), Vec::<String>::new());
        assert_eq!(tags_of(&[sample(Some(&["O"]), None)]), ["O"]);
        // A type may hold a hyphen of its own.
        assert_eq!(
            tags_of(&[sample(Some(&["B-creative-work"]), None)]),
            ["O", "B-creative-work", "I-creative-work"]
        );
    }

    #[test]
    fn classes_are_sorted_and_distinct() {
        let samples = [
            sample(None, Some("positive")),
            sample(None, Some("negative")),
            sample(None, None),
            sample(None, Some("positive")),
        ];
        let classes_of = |samples: &[Sample]| classes_of(samples, Part::Sentiment);
        assert_eq!(classes_of(&samples), ["negative", "positive"]);
        let mut soft = sample(None, Some("positive"));
        let given = soft.classes.get_mut(&Part::Sentiment).unwrap();
        given.shares = Some(BTreeMap::from([("even".to_owned(), 0.5)]));
        assert_eq!(classes_of(&[soft]), ["even", "positive"]);
        assert_eq!(classes_of(&samples[2..3]), Vec::<String>::new());
    }

    #[test]
    fn tags_are_checked_and_renamed() {
        let rename = BTreeMap::from([("OTHER".to_owned(), "MISC".to_owned())]);
        for (tag, expected) in [
            ("O", "O"),
            ("B-OTHER", "B-MISC"),
            ("I-OTHER", "I-MISC"),
            ("I-PER", "I-PER"),
        ] {
            assert_eq!(checked_tag(tag, &rename).unwrap(), expected);
        }
        for tag in ["", "o", "PER", "B-", "E-PER", "B_PER", "-PER", "BPER"] {
            let error = checked_tag(tag, &rename).unwrap_err().to_string();
            assert!(error.contains("is not a tag"), "{tag}: {error}");
        }
    }

    #[test]
    fn hashtags_take_the_form_of_twitter_2017() {
        // (words, tags) before and after, as `word/tag`.
        let table = [
            ("#NBA/B-ORG news/O", "#/O NBA/B-ORG news/O"),
            ("#New/B-LOC York/I-LOC", "#/O New/B-LOC York/I-LOC"),
            (
                "Katie/B-PER #Hopkins/I-PER",
                "Katie/B-PER #/I-PER Hopkins/I-PER",
            ),
            ("#Google/B-X #ads/I-X", "#/O Google/B-X #/I-X ads/I-X"),
            ("#art/O #strachan/I-PER", "#/O art/O #/O strachan/I-PER"),
            ("a/B-ORG #b/I-PER", "a/B-ORG #/O b/I-PER"),
            ("#a/I-PER", "#/O a/I-PER"),
            (
                "#/O NBA/B-ORG ##x/O #!/O a#b/O",
                "#/O NBA/B-ORG ##x/O #!/O a#b/O",
            ),
            ("#2/O #_x/O #été/O", "#/O 2/O #/O _x/O #/O été/O"),
        ];
        let parse = |line: &str| -> (Vec<String>, Vec<String>) {
            line.split(' ')
                .map(|pair| pair.rsplit_once('/').unwrap())
                .map(|(w, t)| (w.to_owned(), t.to_owned()))
                .unzip()
        };
        for (before, after) in table {
            let (mut words, mut tags) = parse(before);
            split_hashtags(&mut words, Some(&mut tags));
            assert_eq!((words, tags), parse(after), "{before}");
            let (mut words, _) = parse(before);
            split_hashtags(&mut words, None);
            assert_eq!(words, parse(after).0, "{before}");
        }
    }
}
