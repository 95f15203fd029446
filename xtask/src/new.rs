//! Folders that are there whole or not at all.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use fs_err as fs;

use crate::project::Project;

/// A folder that is being filled, and then takes the place of another.
pub(crate) struct New {
    out: PathBuf,
    /// Beside `out`, so on the same file system; gone when we are.
    new: PathBuf,
    /// Holds off others that fill a folder.
    _lock: File,
}

impl New {
    pub(crate) fn beside(project: &Project, out: &Path) -> Result<Self> {
        let name = out.file_name().context("not a folder of its own")?;
        let lock = File::create(project.target.join(".muse-web-lock"))?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another build");
            lock.lock()?;
        }
        let new = Self {
            new: out.with_file_name(format!(".{}.new", name.display())),
            out: out.to_owned(),
            _lock: lock,
        };
        // A killed run left it behind.
        remove(&new.new)?;
        fs::create_dir_all(&new.new)?;
        Ok(new)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.new
    }

    pub(crate) fn replace(self) -> Result<()> {
        let out = &self.out;
        let old = self.new.with_extension("old");
        remove(&old)?;
        if out.exists() {
            fs::rename(out, &old)?;
        }
        fs::rename(&self.new, out)?;
        remove(&old)
    }
}

impl Drop for New {
    fn drop(&mut self) {
        let _ = remove(&self.new);
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::files;

    #[test]
    fn a_folder_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (root, target) = (folder.path().join("root"), folder.path().to_owned());
        let out = root.join("some/out");
        let project = Project { root, target };
        for file in ["first", "second"] {
            let new = New::beside(&project, &out).unwrap();
            fs::write(new.path().join("half"), "ha").unwrap();
            // A killed run leaves it behind.
            let (path, left) = (new.path().to_owned(), folder.path().join("left"));
            fs::rename(&path, &left).unwrap();
            drop(new);
            fs::rename(left, &path).unwrap();

            let new = New::beside(&project, &out).unwrap();
            fs::write(new.path().join(file), file).unwrap();
            new.replace().unwrap();
            assert_eq!(files(&out).unwrap(), [file]);
            let beside = out.parent().unwrap().read_dir().unwrap();
            assert_eq!(beside.count(), 1, "it alone");
        }
    }
}
