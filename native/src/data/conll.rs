//! CoNLL files with `IMGID:<id>` lines, as the Twitter sets are published:
//!
//! ```text
//! IMGID:17_06_4705
//! Eileen<TAB>B-PER
//! Collins<TAB>I-PER
//!
//! ```
//!
//! A sentence ends at a blank line, at the next `IMGID:` line or at the end of the file; blank lines before
//! its first word do not count. Columns are separated by a tab, or by spaces where a line has no tab; the
//! first is the word and the last its tag, whatever lies between. Words are taken as they are: a lone
//! zero-width joiner or no-break space is a word. A byte order mark, Windows line ends and `-DOCSTART-`
//! lines are passed over.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::sample::{Sample, checked_tag, split_hashtags};
use super::{at_line, read_text};

/// Endings of a picture's file name, in the order in which they are looked for.
const IMAGE_ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "gif"];

/// Reads a tagged file.
///
/// `images` is the folder that holds `<id>.jpg` (or jpeg, png, webp, gif) for the ids of the `IMGID:`
/// lines; an id without such a file is a caption without a picture. `rename` gives entity types other names
/// (`OTHER` to `MISC`, say). `hashtags_apart` splits `#NBA` into `#` and `NBA`, so that Twitter-2015 has
/// the form of Twitter-2017. A sentence without an `IMGID:` line has the number of its first line as its
/// id.
///
/// # Errors
/// When the file cannot be read or is not UTF-8, when `images` is no folder, and for a line without a tag
/// or with a tag that is not BIO; the message names the line.
pub fn read(
    path: &Path,
    images: Option<&Path>,
    rename: &BTreeMap<String, String>,
    hashtags_apart: bool,
) -> anyhow::Result<Vec<Sample>> {
    if let Some(folder) = images.filter(|folder| !folder.is_dir()) {
        bail!(
            "the image folder {} of {} is not there",
            folder.display(),
            path.display()
        );
    }
    let text = read_text(path)?;
    let mut samples =
        parse(&text, rename).with_context(|| format!("cannot read {} as CoNLL", path.display()))?;
    for sample in &mut samples {
        if hashtags_apart {
            split_hashtags(&mut sample.words, sample.tags.as_mut());
        }
        sample.image = images.and_then(|folder| picture(folder, &sample.id));
    }
    Ok(samples)
}

fn picture(folder: &Path, id: &str) -> Option<PathBuf> {
    IMAGE_ENDINGS
        .iter()
        .map(|ending| folder.join(format!("{id}.{ending}")))
        .find(|path| path.is_file())
}

/// A sentence that is being read; it counts once it has an `IMGID:` line or a word.
#[derive(Default)]
struct Sentence {
    id: Option<String>,
    words: Vec<String>,
    tags: Vec<String>,
}

impl Sentence {
    fn finish(&mut self, samples: &mut Vec<Sample>) {
        let Self { id, words, tags } = std::mem::take(self);
        if let Some(id) = id {
            let tags = (!words.is_empty()).then_some(tags);
            samples.push(Sample {
                id,
                words,
                tags,
                ..Sample::default()
            });
        }
    }
}

fn parse(text: &str, rename: &BTreeMap<String, String>) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut sentence = Sentence::default();
    for (number, line) in (1..).zip(text.lines()) {
        // Only ASCII counts as space: a no-break space can be a word.
        let line = line.trim_end_matches([' ', '\t']);
        if line.is_empty() || line.starts_with("-DOCSTART-") {
            if !sentence.words.is_empty() {
                sentence.finish(&mut samples);
            }
        } else if let Some(id) = image_id(line) {
            if id.is_empty() {
                return Err(at_line(
                    number,
                    "IMGID: without an id; give the image's name without its ending",
                ));
            }
            sentence.finish(&mut samples);
            sentence.id = Some(id.to_owned());
        } else {
            let (word, tag) = word_and_tag(line).map_err(|error| at_line(number, error))?;
            let tag = checked_tag(tag, rename)
                .map_err(|error| at_line(number, format!("{error:#} (word {word:?})")))?;
            sentence.id.get_or_insert_with(|| number.to_string());
            sentence.words.push(word.to_owned());
            sentence.tags.push(tag);
        }
    }
    sentence.finish(&mut samples);
    Ok(samples)
}

/// The id of an `IMGID:` line. With a tab behind it, it is a word that looks like one.
fn image_id(line: &str) -> Option<&str> {
    line.strip_prefix("IMGID:")
        .filter(|id| !id.contains('\t'))
        .map(|id| id.trim_matches(' '))
}

fn word_and_tag(line: &str) -> Result<(&str, &str), String> {
    let separator = if line.contains('\t') { '\t' } else { ' ' };
    let (word, _) = line.split_once(separator).ok_or_else(|| {
        format!("the word {line:?} has no tag; each line is a word, a tab and its tag (O, B-<type> or I-<type>)")
    })?;
    let (_, tag) = line.rsplit_once(separator).unwrap_or_default();
    let word = word.trim_matches(' ');
    if word.is_empty() {
        return Err(format!("the tag {tag:?} has no word before it"));
    }
    Ok((word, tag.trim_matches(' ')))
}

/// Writes one tagged sentence, with an `IMGID:` line when it has an id, so that [`read`] gives the same
/// words and tags back. A tab or line break inside a word, and white space around it, would break the
/// format: the former becomes a space, the latter is cut; a word that is only white space becomes U+FFFD.
///
/// # Errors
/// When `out` cannot be written.
///
/// # Panics
/// When there are not as many tags as words.
pub fn write<W: AsRef<str>, T: AsRef<str>>(
    out: &mut impl Write,
    id: Option<&str>,
    words: &[W],
    tags: &[T],
) -> io::Result<()> {
    assert_eq!(words.len(), tags.len(), "one tag for each word");
    if let Some(id) = id {
        writeln!(out, "IMGID:{}", one_line(id))?;
    }
    for (word, tag) in words.iter().zip(tags) {
        writeln!(out, "{}\t{}", one_line(word.as_ref()), tag.as_ref())?;
    }
    writeln!(out)
}

fn one_line(word: &str) -> String {
    let line = word.replace(['\t', '\n', '\r'], " ");
    match line.trim_matches(' ') {
        "" => char::REPLACEMENT_CHARACTER.to_string(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_plain(text: &str) -> anyhow::Result<Vec<Sample>> {
        parse(text, &BTreeMap::new())
    }

    /// `id: word/tag word/tag`
    fn shown(samples: &[Sample]) -> Vec<String> {
        let pairs = |sample: &Sample| {
            let tags = sample.tags.clone().unwrap_or_default();
            assert_eq!(tags.len(), sample.words.len());
            sample
                .words
                .iter()
                .zip(tags)
                .map(|(word, tag)| format!(" {word}/{tag}"))
                .collect::<String>()
        };
        samples
            .iter()
            .map(|sample| format!("{}:{}", sample.id, pairs(sample)))
            .collect()
    }

    #[test]
    fn sentences_are_read() {
        let table: [(&str, &[&str]); 12] = [
            ("", &[]),
            ("\n\n \n", &[]),
            (
                "IMGID:O_1926\na\tO\n\nIMGID:17_06\nb\tB-PER\nc\tI-PER\n\n",
                &["O_1926: a/O", "17_06: b/B-PER c/I-PER"],
            ),
            // Neither the last blank line nor the one between is needed; several do no harm.
            ("IMGID:1\na\tO\nIMGID:2\nb\tO", &["1: a/O", "2: b/O"]),
            (
                "\n\nIMGID:1\n\na\tO\n\n\n\nb\tO\n\n\n",
                &["1: a/O", "9: b/O"],
            ),
            // Windows line ends, spaces instead of tabs, columns between, spaces at the end.
            ("IMGID: 1 \r\na\tO\r\n\r\nb\tO\r\n", &["1: a/O", "4: b/O"]),
            ("a B-LOC\nb NN x I-LOC  \n", &["1: a/B-LOC b/I-LOC"]),
            ("-DOCSTART- -X- O O\n\na NN I-NP O\n", &["3: a/O"]),
            // Orphan I- tags and odd characters stay; so does a word that holds a space or looks like an
            // id.
            (
                "\u{200d}\tI-PER\n\u{fe0f}\tO\n\u{a0}\tO\nâ€™\tI-LOC",
                &["1: \u{200d}/I-PER \u{fe0f}/O \u{a0}/O â€™/I-LOC"],
            ),
            (
                "New York\tB-LOC\nIMGID:7\tO\n#\tO",
                &["1: New York/B-LOC IMGID:7/O #/O"],
            ),
            // A line separator of Unicode is no line end.
            ("a\u{2028}b\tO\n", &["1: a\u{2028}b/O"]),
            (
                "IMGID:1\nIMGID:2\na\tO\n\nIMGID:3\n",
                &["1:", "2: a/O", "3:"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(shown(&parse_plain(text).unwrap()), expected, "{text:?}");
        }
        let empty = &parse_plain("IMGID:1\n").unwrap()[0];
        assert_eq!((empty.words.len(), &empty.tags), (0, &None));
    }

    #[test]
    fn faults_name_the_line() {
        let table = [
            ("a\tO\n\nword\n", 3, "the word \"word\" has no tag"),
            ("a\tO\nword\t\n", 2, "the word \"word\" has no tag"),
            ("IMGID:1\n\tO\n", 2, "has no word"),
            ("IMGID:1\n \tO\n", 2, "has no word"),
            ("a\tB-PER\nb\tPER\n", 2, "\"PER\" is not a tag"),
            ("a b\n", 1, "\"b\" is not a tag"),
            ("a\tO\r\nb\tB-\r\n", 2, "\"B-\" is not a tag"),
            ("a\tO\n\nIMGID:\nb\tO", 3, "IMGID: without an id"),
        ];
        for (text, line, expected) in table {
            let error = format!("{:#}", parse_plain(text).unwrap_err());
            assert!(
                error.starts_with(&format!("line {line}: ")) && error.contains(expected),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn files_have_names_pictures_and_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.txt");
        let images = folder.path().join("images");
        std::fs::create_dir(&images).unwrap();
        for name in ["1.jpg", "1.png", "2.webp", "O_3.jpeg"] {
            std::fs::write(images.join(name), b"x").unwrap();
        }
        let text =
            "\u{feff}IMGID:1\n#a\tB-OTHER\n\nIMGID:2\nb\tO\n\nIMGID:O_3\nc\tO\n\nIMGID:4\nd\tO\n";
        std::fs::write(&path, text).unwrap();
        let rename = BTreeMap::from([("OTHER".to_owned(), "MISC".to_owned())]);

        let samples = read(&path, Some(&images), &rename, true).unwrap();
        let names: Vec<_> = samples
            .iter()
            .map(|s| s.image.as_ref().map(|p| p.file_name().unwrap().to_owned()))
            .collect();
        assert_eq!(
            names,
            [
                Some("1.jpg".into()),
                Some("2.webp".into()),
                Some("O_3.jpeg".into()),
                None
            ]
        );
        assert_eq!(shown(&samples[..1]), ["1: #/O a/B-MISC"]);

        let samples = read(&path, None, &BTreeMap::new(), false).unwrap();
        assert!(samples.iter().all(|sample| sample.image.is_none()));
        assert_eq!(shown(&samples[..1]), ["1: #a/B-OTHER"]);

        let missing = format!(
            "{:#}",
            read(&path, Some(&folder.path().join("none")), &rename, true).unwrap_err()
        );
        assert!(
            missing.contains("the image folder") && missing.contains("none"),
            "{missing}"
        );
        std::fs::write(&path, "a\tO\nb\n").unwrap();
        let fault = format!("{:#}", read(&path, None, &rename, true).unwrap_err());
        assert!(
            fault.contains("train.txt") && fault.contains("line 2: "),
            "{fault}"
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = Vec::new();
        write(
            &mut out,
            Some("O_1"),
            &["Eileen", "\u{200d}", "New York", "IMGID:3", "#"],
            &["B-PER", "I-PER", "O", "O", "I-X"],
        )
        .unwrap();
        write(
            &mut out,
            None,
            &["a\tb\nc", " ", "d "],
            &["O", "B-Y", "I-Y"],
        )
        .unwrap();
        write::<&str, &str>(&mut out, Some("empty\n"), &[], &[]).unwrap();
        let samples = parse_plain(std::str::from_utf8(&out).unwrap()).unwrap();
        assert_eq!(
            shown(&samples),
            [
                "O_1: Eileen/B-PER \u{200d}/I-PER New York/O IMGID:3/O #/I-X",
                "8: a b c/O \u{fffd}/B-Y d/I-Y",
                "empty:"
            ]
        );
    }
}
