//! Where things lie.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

/// The checkout and the folder that cargo builds into, both absolute.
#[derive(Clone)]
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Project {
    /// From what cargo tells who runs us, and from where it has put us.
    pub(crate) fn find() -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").context("run it by `cargo xtask`")?;
        let root = Path::new(&package).parent().context("no checkout")?;
        let program = std::env::current_exe().context("where is this program?")?;
        let target = program.ancestors().nth(2).context("no target folder")?;
        Ok(Self {
            root: root.to_owned(),
            target: target.to_owned(),
        })
    }

    /// Where the pretrained encoders lie; absolute, because cargo runs each test in its own package's folder.
    pub(crate) fn weights(&self) -> Result<PathBuf> {
        match std::env::var_os("MUSE_WEIGHTS") {
            Some(folder) if !folder.is_empty() => std::path::absolute(&folder)
                .with_context(|| format!("MUSE_WEIGHTS={}", folder.display())),
            _ => Ok(self.root.join("weights")),
        }
    }
}

/// Nobody watches: nothing may be skipped, nor Cargo.lock changed.
pub(crate) fn on_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// All files below `folder`, relative to it, with slashes, sorted; those that begin with a dot are editors' and not ours.
pub(crate) fn files(folder: &Path) -> Result<Vec<String>> {
    let visible = |entry: &DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
    };
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).into_iter().filter_entry(visible) {
        let entry = entry?;
        if !entry.file_type().is_dir() {
            let name = entry.path().strip_prefix(folder)?.to_string_lossy();
            found.push(name.replace('\\', "/"));
        }
    }
    found.sort();
    Ok(found)
}

/// A hash of files and of their names below `root`.
pub(crate) fn hash(root: &Path, names: &[String]) -> Result<String> {
    let mut hash = Sha256::new();
    for name in names {
        let bytes = fs::read(root.join(name))?;
        hash.update(format!("{name} {}\n", bytes.len()));
        hash.update(bytes);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// Copies all files below a folder; those that begin with a dot stay behind.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    for name in files(from)? {
        copy_file(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
    fs::copy(from, to)?;
    Ok(())
}
