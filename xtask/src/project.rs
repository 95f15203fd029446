//! Where things lie.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

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
    let mut found = Vec::new();
    let entries = folder
        .read_dir()
        .with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            let below = files(&entry.path())?;
            found.extend(below.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// Copies all files below a folder; those that begin with a dot stay behind.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    for name in files(from)? {
        copy_file(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
