//! The shipped models.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{copy_file, write};
use crate::weights::sha256_of;

/// A model file in `models/`, whose checksum is right.
#[derive(Debug, PartialEq)]
pub(crate) struct Model {
    /// Its file without the ending.
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// All models of the checkout; one that does not fit its checksum is an error.
pub(crate) fn list(root: &Path) -> Result<Vec<Model>> {
    let folder = root.join("models");
    let mut models = Vec::new();
    for file in crate::stamp::files(&folder)? {
        let Some(name) = file.strip_suffix(".muse") else {
            continue;
        };
        let place = folder.join(&file);
        let check = folder.join(format!("{file}.sha256"));
        let line = fs::read_to_string(&check)
            .with_context(|| format!("cannot read {}", check.display()))?;
        let sha256 = line.split_whitespace().next().unwrap_or_default();
        if sha256_of(&place)?.as_deref() != Some(sha256) {
            bail!(
                "{} is damaged: its SHA-256 is not that of {file}.sha256",
                place.display()
            );
        }
        models.push(Model {
            name: name.to_owned(),
            bytes: fs::metadata(&place)?.len(),
            sha256: sha256.to_owned(),
            file,
        });
    }
    if models.is_empty() {
        bail!("there is no model in {}", folder.display());
    }
    Ok(models)
}

/// Puts the models, their checksums, their card and a list of them into `to`.
pub(super) fn copy(root: &Path, models: &[Model], to: &Path) -> Result<()> {
    let from = root.join("models");
    let mut list = Vec::new();
    for model in models {
        let check = format!("{}.sha256", model.file);
        copy_file(&from.join(&model.file), &to.join(&model.file))?;
        copy_file(&from.join(&check), &to.join(&check))?;
        list.push(json!({
            "name": model.name,
            "file": model.file,
            "bytes": model.bytes,
            "sha256": model.sha256,
        }));
    }
    copy_file(&from.join("README.md"), &to.join("README.md"))?;
    write(
        &to.join("models.json"),
        &format!("{}\n", serde_json::Value::from(list)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_listed_and_a_damaged_one_stops_the_build() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("models");
        fs::create_dir(&folder).unwrap();
        assert!(list(root.path()).is_err());
        fs::write(folder.join("README.md"), "card").unwrap();
        fs::write(folder.join("m.muse"), b"model").unwrap();
        assert!(list(root.path()).is_err());
        let right = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";
        fs::write(folder.join("m.muse.sha256"), format!("{right}  m.muse\n")).unwrap();
        let models = list(root.path()).unwrap();
        copy(root.path(), &models, &root.path().join("out")).unwrap();
        let text = fs::read_to_string(root.path().join("out/models.json")).unwrap();
        let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            listed,
            json!([{ "name": "m", "file": "m.muse", "bytes": 5, "sha256": right }])
        );
        assert!(root.path().join("out/m.muse.sha256").is_file());
        fs::write(folder.join("m.muse"), b"modem").unwrap();
        let error = list(root.path()).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
    }
}
