//! Captioned pictures, as Flickr8k is published: a CSV file with the columns `image` and `caption`, a line for each
//! caption, so that a picture may have several:
//!
//! ```text
//! image,caption
//! 1000268201.jpg,A child climbs a set of stairs .
//! ```
//!
//! Other columns are ignored. The captions carry no labels: they train the decoders alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use muse_core::text::splitter;
use serde::Deserialize;

use super::sample::Sample;
use super::{at_line, read_text};

/// A line.
#[derive(Deserialize)]
struct Row {
    image: String,
    caption: String,
}

/// Reads such a file. `images` is the folder of the pictures; by default `images` beside the file, or else the file's own
/// folder. With `no_images` the pictures are not looked for. A caption's id is its picture's name and the number of its
/// line.
///
/// # Errors
/// When the file cannot be read, is not UTF-8 or lacks a column, and for a line of another number of columns or whose
/// picture is not there; the message names the line.
pub fn read(path: &Path, images: Option<&Path>, no_images: bool) -> anyhow::Result<Vec<Sample>> {
    let text = read_text(path)?;
    let folder = match images {
        Some(folder) => folder.to_path_buf(),
        None => default_folder(path),
    };
    parse(&text, &folder, no_images)
        .with_context(|| format!("cannot read {} as captioned pictures", path.display()))
}

fn default_folder(path: &Path) -> PathBuf {
    let own = path.parent().unwrap_or(Path::new(""));
    let beside = own.join("images");
    match beside.is_dir() {
        true => beside,
        false => own.to_path_buf(),
    }
}

fn parse(text: &str, folder: &Path, no_images: bool) -> anyhow::Result<Vec<Sample>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers()?;
    for column in ["image", "caption"] {
        ensure!(
            header.iter().any(|name| name == column),
            "there is no column {column:?}; the first line must name the columns, \"image,caption\""
        );
    }
    let mut samples = Vec::new();
    let mut rows = reader.deserialize::<Row>();
    loop {
        let line = rows.reader().position().line() as usize;
        let Some(row) = rows.next() else {
            return Ok(samples);
        };
        let row = row.map_err(|error| at_line(line, error))?;
        let image = folder.join(&row.image);
        if !no_images && !image.is_file() {
            bail!(at_line(
                line,
                format!("the picture {} is not there", image.display())
            ));
        }
        samples.push(Sample {
            id: format!("{}:{line}", row.image),
            words: splitter::split(&row.caption)
                .into_iter()
                .map(|word| word.text)
                .collect(),
            image: (!no_images).then_some(image),
            ..Sample::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        for name in ["a.jpg", "b.jpg"] {
            std::fs::write(folder.path().join("images").join(name), "x").unwrap();
        }
        std::fs::write(folder.path().join("captions.csv"), text).unwrap();
        folder
    }

    #[test]
    fn a_picture_has_as_many_samples_as_captions() {
        let folder = folder(
            "image,caption\na.jpg,A dog runs .\na.jpg,\"Dogs, and a cat\"\nb.jpg,\"say \"\"hi\"\"\"\n",
        );
        let path = folder.path().join("captions.csv");
        let samples = read(&path, None, false).unwrap();
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0].words, ["A", "dog", "runs", "."]);
        assert_eq!(samples[1].words, ["Dogs", ",", "and", "a", "cat"]);
        assert_eq!(samples[1].image, samples[0].image);
        assert_eq!(samples[1].id, "a.jpg:3");
        assert_eq!(samples[2].image, Some(folder.path().join("images/b.jpg")));
        assert!(
            samples
                .iter()
                .all(|s| s.tags.is_none() && s.classes.is_empty())
        );
        assert!(read(&path, None, true).unwrap()[0].image.is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("picture,caption\na.jpg,x\n", "no column \"image\""),
            ("image,caption\na.jpg,x\nc.jpg,y\n", "line 3: the picture"),
            ("image,caption\na.jpg,x,y\n", "line 2"),
        ] {
            let folder = folder(text);
            let error = read(&folder.path().join("captions.csv"), None, false).unwrap_err();
            assert!(format!("{error:#}").contains(named), "{error:#}");
        }
    }
}
