//! Folders that are there whole or not at all.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder that is being filled, and then takes the place of another, whole or not at all.
pub(crate) struct New {
    out: PathBuf,
    temporary: TempDir,
    /// Holds off others that fill a folder beside it.
    _lock: File,
}

/// The prefix of our temporary folders, which a killed run leaves behind.
const TEMPORARY: &str = ".muse-web-";

impl New {
    /// On the same file system as `out`, whose place it is to take.
    pub(crate) fn beside(out: &Path) -> Result<Self> {
        let parent = out.parent().context("not a folder of its own")?;
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        let lock = File::create(parent.join(".muse-web-lock"))
            .with_context(|| format!("cannot write to {}", parent.display()))?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another build");
            lock.lock()?;
        }
        for entry in parent.read_dir()? {
            let entry = entry?;
            let ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
            if ours && entry.path().is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(parent)
            .with_context(|| format!("cannot write to {}", parent.display()))?;
        let new = Self {
            out: out.to_owned(),
            temporary,
            _lock: lock,
        };
        // The temporary folder is for its owner's eyes only; what lies in it is not.
        fs::create_dir(new.path())?;
        Ok(new)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.temporary.path().join("new")
    }

    pub(crate) fn replace(self) -> Result<()> {
        let out = &self.out;
        if out.exists() {
            fs::rename(out, self.temporary.path().join("old"))
                .with_context(|| format!("cannot replace {}", out.display()))?;
        }
        fs::rename(self.path(), out).with_context(|| format!("cannot write {}", out.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{files, write};

    #[test]
    fn a_folder_is_replaced_whole() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("some/out");
        for file in ["first", "second"] {
            // What a killed run leaves behind goes.
            {
                let killed = New::beside(&out).unwrap();
                write(&killed.path().join("half"), "ha").unwrap();
                let _ = killed.temporary.keep();
            }
            let new = New::beside(&out).unwrap();
            write(&new.path().join(file), file).unwrap();
            new.replace().unwrap();
            assert_eq!(files(&out).unwrap(), [file]);
            let beside = out.parent().unwrap().read_dir().unwrap();
            assert_eq!(beside.count(), 2, "it and the lock");
        }
    }
}
