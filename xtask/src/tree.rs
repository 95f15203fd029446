//! `cargo xtask check-tree`: what must not be in the repository.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use fs_err as fs;

/// Most bytes that a file may have, and most for a shipped model.
const FILE_LIMIT: u64 = 1 << 20;
const MODEL_LIMIT: u64 = 40_000_000;

/// Below the folders of a machine's users; not the end of another path.
const HOMES: &str = "(^|[^[:alnum:]_./)}-])/(home|Users|root)/";

/// Checks every file that git has or would add; lists all faults before it fails.
pub(crate) fn check(root: &Path) -> Result<()> {
    let list = ["ls-files", "-z", "--cached", "--others"];
    let files = git(root, &[&list[..], &["--exclude-standard"]].concat())?;
    let mut faults = Vec::new();
    for name in files.split_terminator('\0') {
        match fs::symlink_metadata(root.join(name)) {
            Ok(metadata) if metadata.is_file() => {
                faults.extend(size_fault(name, metadata.len()));
            }
            Ok(_) => faults.push(format!("{name}: not an ordinary file")),
            Err(_) => {} // Deleted, and not yet committed so.
        }
    }
    // Absolute paths, in this checkout or in any.
    let here = format!("{}/", root.display());
    for pattern in [["-E", HOMES], ["-F", &here]] {
        let found = git(
            root,
            &[&["grep", "--untracked", "-nI"], &pattern[..]].concat(),
        )?;
        faults.extend(
            found
                .lines()
                .map(|line| format!("a machine's path: {line}")),
        );
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    match faults.len() {
        0 => Ok(()),
        n => bail!("{n} faults in the tree"),
    }
}

/// What git prints; to find nothing is no error.
fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .current_dir(root)
        .args(arguments)
        .output()
        .context("git does not run")?;
    if output.status.code().is_none_or(|code| code > 1) {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn size_fault(name: &str, bytes: u64) -> Option<String> {
    let limit = if name.starts_with("models/") {
        MODEL_LIMIT
    } else {
        FILE_LIMIT
    };
    (bytes > limit).then(|| format!("{name}: {bytes} bytes, the limit is {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_found_and_other_paths_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(check(root).is_err(), "no checkout");
        git(root, &["init", "--quiet"]).unwrap();
        let right = |text: &str| {
            fs::write(root.join("a"), text).unwrap();
            check(root).is_ok()
        };
        for (folder, rest) in [("home", "me/x"), ("Users", "me"), ("root", ".cache")] {
            assert!(!right(&format!("data = \"/{folder}/{rest}\"")));
            assert!(!right(&format!("one\n/{folder}/{rest}")));
        }
        assert!(!right(&format!("see {}/core", root.display())));
        for line in [
            "see https://example.org/home/page",
            "$HOME/.cache",
            "../home/x and ./home/y",
            "a /homely/ word, 1/root/2",
            "core/src/x, /srcs/y",
        ] {
            assert!(right(line), "{line}");
        }
    }

    #[test]
    fn large_files_are_for_models_only() {
        assert!(size_fault("tests/fixtures/x", FILE_LIMIT + 1).is_some());
        assert!(size_fault("tests/fixtures/x", FILE_LIMIT).is_none());
        assert!(size_fault("models/m.muse", MODEL_LIMIT + 1).is_some());
        assert!(size_fault("models/m.muse", MODEL_LIMIT).is_none());
    }
}
