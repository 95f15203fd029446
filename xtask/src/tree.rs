//! `cargo xtask check-tree`: what must not be in the repository.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{command, weights};

const MIB: u64 = 1 << 20;

/// Most that a file may weigh, and most for a shipped model.
const FILE_LIMIT: u64 = MIB;
const MODEL_LIMIT: u64 = 40_000_000;

/// Folders of the users of a machine.
const HOMES: [&str; 3] = ["/home/", "/Users/", "/root/"];

/// Checks every file that git has or would add; lists all faults before it fails.
pub(crate) fn check(root: &Path) -> Result<()> {
    let files = files(root)?;
    let mut faults = Vec::new();
    for name in &files {
        let path = root.join(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue; // Deleted, and not yet committed so.
        };
        if !metadata.is_file() {
            faults.push(format!("{name}: not an ordinary file"));
            continue;
        }
        faults.extend(size_fault(name, metadata.len()));
        let bytes = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        let place = root.to_string_lossy();
        faults.extend(path_faults(name, &bytes, &place));
        if name.starts_with("models/") {
            faults.extend(model_faults(root, name, metadata.len(), &bytes)?);
        }
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    match faults.len() {
        0 => {
            eprintln!("tree: {} files are as they should be", files.len());
            Ok(())
        }
        n => bail!("{n} faults in the tree"),
    }
}

fn files(root: &Path) -> Result<BTreeSet<String>> {
    let folder = root
        .to_str()
        .context("the checkout's path is not Unicode")?;
    let list = command::output(
        "git",
        &[
            "-C",
            folder,
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
    )
    .context("git cannot list the files: not a git checkout, or no git")?;
    Ok(list
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

fn size_fault(name: &str, bytes: u64) -> Option<String> {
    let limit = if name.starts_with("models/") {
        MODEL_LIMIT
    } else {
        FILE_LIMIT
    };
    (bytes > limit).then(|| format!("{name}: {bytes} bytes, the limit is {limit}"))
}

/// Absolute paths of a machine in a text file, by line: below somebody's home, or in this checkout.
fn path_faults(name: &str, bytes: &[u8], root: &str) -> Vec<String> {
    if bytes.contains(&0) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.contains(&format!("{root}/")) || has_home(line))
        .map(|(i, _)| format!("{name}:{}: an absolute path of somebody's machine", i + 1))
        .collect()
}

fn has_home(line: &str) -> bool {
    HOMES.iter().any(|home| {
        line.match_indices(home).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "_.-/})".contains(c))
        })
    })
}

/// A shipped model has its checksum beside it, `<model>.sha256` as `sha256sum` writes it, and it is right.
fn model_faults(root: &Path, name: &str, size: u64, bytes: &[u8]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    if name.ends_with(".sha256") {
        for line in String::from_utf8_lossy(bytes).lines() {
            let Some((hash, file)) = line.split_once("  ") else {
                faults.push(format!("{name}: `{line}` is not `<sha256>  <file>`"));
                continue;
            };
            let path = root.join("models").join(file);
            match weights::sha256_of(&path)? {
                Some(actual) if actual == hash => {}
                Some(actual) => faults.push(format!("{name}: {file} has SHA-256 {actual}")),
                None => faults.push(format!("{name}: there is no models/{file}")),
            }
        }
    } else if size > FILE_LIMIT && !root.join(format!("{name}.sha256")).is_file() {
        faults.push(format!("{name}: there is no {name}.sha256"));
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_found_and_other_paths_are_not() {
        for (folder, rest) in [("home", "me/x"), ("Users", "me"), ("root", ".cache")] {
            assert!(has_home(&format!("data = \"/{folder}/{rest}\"")));
            assert!(has_home(&format!("/{folder}/{rest}")));
        }
        for line in [
            "see https://example.org/home/page",
            "$HOME/.cache",
            "../home/x and ./home/y",
            "a /homely/ word, 1/root/2",
        ] {
            assert!(!has_home(line), "{line}");
        }
        let faults = |text: &str| path_faults("a", text.as_bytes(), "/some/checkout");
        assert_eq!(faults("see\n/some/checkout/core").len(), 1);
        assert_eq!(faults("see /some/check").len(), 0);
    }

    #[test]
    fn a_model_needs_its_checksum_and_the_right_one() {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join("models");
        fs::create_dir(&models).unwrap();
        fs::write(models.join("m.muse"), b"model").unwrap();
        let fault = |name: &str, bytes: &[u8]| {
            model_faults(root.path(), name, 2 * MIB, bytes)
                .unwrap()
                .join("\n")
        };
        assert!(fault("models/m.muse", b"model").contains("there is no models/m.muse.sha256"));
        let right = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4  m.muse\n";
        fs::write(models.join("m.muse.sha256"), right).unwrap();
        assert_eq!(fault("models/m.muse", b"model"), "");
        assert_eq!(fault("models/m.muse.sha256", right.as_bytes()), "");
        let wrong = right.replacen('9', "8", 1);
        assert!(fault("models/m.muse.sha256", wrong.as_bytes()).contains("has SHA-256 9372"));
        assert!(fault("models/m.muse.sha256", b"x").contains("is not"));
    }

    #[test]
    fn large_files_are_for_models_only() {
        assert!(size_fault("tests/fixtures/x", MIB + 1).is_some());
        assert!(size_fault("tests/fixtures/x", MIB).is_none());
        assert!(size_fault("models/m.muse", 39 * MIB).is_some());
        assert!(size_fault("models/m.muse", 30 * MIB).is_none());
    }
}
