//! `cargo xtask check-tree`: what must not be in the repository.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{command, site};

const MIB: u64 = 1 << 20;

/// Most that a file may weigh, and most for a shipped model.
const FILE_LIMIT: u64 = MIB;
const MODEL_LIMIT: u64 = 40_000_000;

/// Folders of the users of a machine.
const HOMES: [&str; 3] = ["home", "Users", "root"];

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
    }
    // Each has its checksum beside it.
    site::models(root)?;
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
    let mut folders = HOMES.map(|home| format!("/{home}/")).to_vec();
    folders.push(format!("{root}/"));
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .enumerate()
        .filter(|(_, line)| folders.iter().any(|folder| has(line, folder)))
        .map(|(i, _)| format!("{name}:{}: an absolute path of somebody's machine", i + 1))
        .collect()
}

/// Whether the path begins there, and is not the end of another.
fn has(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_.-/})".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_found_and_other_paths_are_not() {
        let faults = |text: &str| path_faults("a", text.as_bytes(), "/src").len();
        for (folder, rest) in [("home", "me/x"), ("Users", "me"), ("root", ".cache")] {
            assert_eq!(faults(&format!("data = \"/{folder}/{rest}\"")), 1);
            assert_eq!(faults(&format!("one\n/{folder}/{rest}")), 1);
        }
        assert_eq!(faults("see /src/core"), 1);
        for line in [
            "see https://example.org/home/page",
            "$HOME/.cache",
            "../home/x and ./home/y",
            "a /homely/ word, 1/root/2",
            "core/src/x, /srcs/y",
        ] {
            assert_eq!(faults(line), 0, "{line}");
        }
    }

    #[test]
    fn large_files_are_for_models_only() {
        assert!(size_fault("tests/fixtures/x", MIB + 1).is_some());
        assert!(size_fault("tests/fixtures/x", MIB).is_none());
        assert!(size_fault("models/m.muse", 39 * MIB).is_some());
        assert!(size_fault("models/m.muse", 30 * MIB).is_none());
    }
}
