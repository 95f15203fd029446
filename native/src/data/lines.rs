//! Plain text, one text a line. It carries no labels: it is for `muse pretrain`.

use std::path::Path;

use muse_core::text::splitter;

use super::read_text;
use super::sample::Sample;

/// Reads such a file. Blank lines are passed over; a text's id is the number of its line.
///
/// # Errors
/// When the file cannot be read or is not UTF-8; the message names the line.
pub fn read(path: &Path) -> anyhow::Result<Vec<Sample>> {
    let text = read_text(path)?;
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let sample = |(number, line): (usize, &str)| Sample {
        id: number.to_string(),
        words: splitter::split(line)
            .into_iter()
            .map(|word| word.text)
            .collect(),
        ..Sample::default()
    };
    Ok(lines.map(sample).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tweets.txt");
        std::fs::write(&path, "\u{feff}Go #NBA!\r\n\n \t\nme too").unwrap();
        let samples = read(&path).unwrap();
        let texts: Vec<_> = (samples.iter())
            .map(|sample| (sample.id.as_str(), sample.words.join(" ")))
            .collect();
        assert_eq!(
            texts,
            [("1", "Go # NBA !".to_owned()), ("4", "me too".to_owned())]
        );
        std::fs::write(&path, b"fine\n\xff").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("tweets.txt, line 2: not UTF-8"), "{error}");
    }
}
