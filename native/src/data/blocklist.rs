//! Texts that are not to be learned from, such as those of a test set that other data may hold in another form: a file with the
//! SHA-256 of each one's key, 64 hexadecimal digits a line. So the list holds nobody's words.

use std::path::Path;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use super::{at_line, read_text};

/// Longest key that is never blocked: so little is said by many.
const SHORT: usize = 12;

/// The hashes of a file, sorted.
pub struct Blocklist(Vec<[u8; 32]>);

impl Blocklist {
    /// Reads a list, in whatever order.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or a line is not such a hash, or there is none; the message names the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read_text(path)?;
        let lines = (1..).zip(text.lines().map(str::trim));
        let hashes = lines.filter(|(_, line)| !line.is_empty());
        let hashes = hashes.map(|(number, line)| {
            hash(line).ok_or_else(|| {
                let what = format!("{line:?} is not a SHA-256, which has 64 hexadecimal digits");
                at_line(number, what)
            })
        });
        let mut hashes = hashes
            .collect::<anyhow::Result<Vec<_>>>()
            .with_context(|| format!("cannot read {} as a blocklist", path.display()))?;
        ensure!(
            !hashes.is_empty(),
            "there is not one hash in the blocklist {}",
            path.display()
        );
        hashes.sort_unstable();
        Ok(Self(hashes))
    }

    /// Whether a text of these words is listed.
    pub fn blocks(&self, words: &[String]) -> bool {
        let key = key(&words.join(" "));
        key.len() > SHORT && self.0.binary_search(&Sha256::digest(key).into()).is_ok()
    }
}

/// What is left of a text that others may write with other links, spaces and signs: its small letters a to z and digits, without
/// whatever begins with `http`, up to the next white space.
fn key(text: &str) -> String {
    let text = text.to_lowercase();
    let chunks = text.split_whitespace().map(|chunk| {
        let link = chunk.find("http").filter(|at| at + 4 < chunk.len());
        &chunk[..link.unwrap_or(chunk.len())]
    });
    let kept = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit();
    chunks.flat_map(str::chars).filter(kept).collect()
}

fn hash(digits: &str) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| {
        let digits = pair.map(|digit| char::from(digit).to_digit(16));
        Some((digits[0]? << 4 | digits[1]?) as u8)
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn list(lines: &str) -> anyhow::Result<Blocklist> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blocked.txt");
        std::fs::write(&path, lines).unwrap();
        Blocklist::read(&path)
    }

    #[test]
    fn a_key_is_letters_and_digits_without_links() {
        for (text, right) in [
            ("RT @nba_fan: It's 7:30 in Köln", "rtnbafanits730inkln"),
            ("see HTTPS://t.co/Ab1, now", "seenow"),
            ("seehttp://t.co/x…more now", "seenow"),
            ("http is https http:", "httpis"),
            ("xhttp ahttpb", "xhttpa"),
            ("東 🏀", ""),
        ] {
            assert_eq!(key(text), right, "{text}");
        }
    }

    #[test]
    fn what_is_listed_is_blocked_however_it_is_written() {
        let hashes = ["anastronautsmiles", "tenletters12", "another one"]
            .map(|key| format!("{:x}", Sha256::digest(key)));
        let list = list(&format!(
            "{}\n\n{}\r\n{}\n",
            hashes[0], hashes[1], hashes[2]
        ))
        .unwrap();
        for (text, blocked) in [
            ("An astronaut smiles .", true),
            ("an Astronaut , # SMILES https://t.co/x", true),
            ("An astronaut smiled .", false),
            ("ten letters 12", false), // listed, but short
        ] {
            assert_eq!(list.blocks(&words(text)), blocked, "{text}");
        }
    }

    #[test]
    fn what_is_no_hash_is_named() {
        let long = "0".repeat(66);
        for (lines, named) in [
            ("\nabc\n", "line 2: \"abc\" is not a SHA-256"),
            (long.as_str(), "line 1"),
            (&format!("{}g", &long[..63]), "line 1"),
            ("", "not one hash"),
        ] {
            let error = format!("{:#}", list(lines).err().expect("no list"));
            assert!(error.contains(named), "{error}");
            assert!(error.contains("blocked.txt"), "{error}");
        }
    }
}
