//! Skipping what is done: a file beside a result says from what it was made.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Gathers all that a result depends on.
pub(crate) struct Stamp {
    path: PathBuf,
    hash: Sha256,
}

impl Stamp {
    /// A stamp that is kept in `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            hash: Sha256::new(),
        }
    }

    /// Adds something of that name. The lengths keep two neighbours from changing places of bytes unseen.
    pub(crate) fn add(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        for part in [name.as_bytes(), bytes] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
    }

    /// Adds a file, or all files below a folder, which lies in `root`.
    pub(crate) fn add_path(&mut self, root: &Path, path: &str) -> Result<()> {
        let place = root.join(path);
        if place.is_dir() {
            for file in files(&place)? {
                self.add_path(root, &format!("{path}/{file}"))?;
            }
        } else {
            let bytes =
                fs::read(&place).with_context(|| format!("cannot read {}", place.display()))?;
            self.add(path, bytes);
        }
        Ok(())
    }

    /// What was added, as a number in hexadecimal.
    pub(crate) fn value(&self) -> String {
        format!("{:x}", self.hash.clone().finalize())
    }

    /// Whether the result was made from just this.
    pub(crate) fn is_fresh(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|value| value == self.value())
    }

    /// To be called before the result is touched.
    pub(crate) fn clear(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    /// To be called when the result is whole.
    pub(crate) fn write(&self) -> Result<()> {
        fs::write(&self.path, self.value())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// All files below `folder`, relative to it, with slashes, sorted; those that begin with a dot are editors' and not ours.
pub(crate) fn files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = folder
        .read_dir()
        .with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .with_context(|| format!("{} is not Unicode", entry.path().display()))?;
        if name.starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            let below = files(&entry.path())?;
            found.extend(below.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_fresh_until_an_input_changes_or_it_is_being_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/x"), "1").unwrap();
        fs::write(root.join("a/.swp"), "junk").unwrap();
        let stamp = |option: &str| {
            let mut stamp = Stamp::new(&root.join("stamp"));
            stamp.add("option", option);
            stamp.add_path(root, "a").unwrap();
            stamp
        };
        assert!(!stamp("-O").is_fresh());
        stamp("-O").write().unwrap();
        assert!(stamp("-O").is_fresh());
        assert!(!stamp("-Os").is_fresh());
        fs::write(root.join("a/.swp"), "more junk").unwrap();
        assert!(stamp("-O").is_fresh());
        fs::write(root.join("a/b/x"), "2").unwrap();
        assert!(!stamp("-O").is_fresh());
        fs::rename(root.join("a/b/x"), root.join("a/b/y")).unwrap();
        fs::write(root.join("a/b/y"), "1").unwrap();
        assert!(!stamp("-O").is_fresh());
        fs::rename(root.join("a/b/y"), root.join("a/b/x")).unwrap();
        assert!(stamp("-O").is_fresh());
        stamp("-O").clear().unwrap();
        assert!(!stamp("-O").is_fresh());
        stamp("-O").clear().unwrap();
    }

    #[test]
    fn neighbours_do_not_run_into_each_other() {
        let value = |parts: [(&str, &str); 2]| {
            let mut stamp = Stamp::new(Path::new("unused"));
            for (name, bytes) in parts {
                stamp.add(name, bytes);
            }
            stamp.value()
        };
        assert_ne!(
            value([("a", "12"), ("b", "3")]),
            value([("a", "1"), ("2b", "3")])
        );
        assert_ne!(
            value([("a", "1b"), ("", "")]),
            value([("a", ""), ("1b", "")])
        );
    }
}
