//! Where things lie.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command;

/// The checkout and the folder that cargo builds into, both absolute.
#[derive(Clone)]
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Project {
    /// Asks cargo, which also knows what its configuration files say.
    pub(crate) fn find() -> Result<Self> {
        let root = workspace()?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = root.join("Cargo.toml");
        let manifest = manifest
            .to_str()
            .context("the checkout's path is not Unicode")?;
        let arguments = [
            "metadata",
            "--no-deps",
            "--format-version=1",
            "--manifest-path",
            manifest,
        ];
        let metadata =
            command::output(cargo, &arguments).context("cargo cannot describe the workspace")?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
        let target = metadata["target_directory"]
            .as_str()
            .context("cargo names no target folder")?;
        Ok(Self {
            root,
            target: target.into(),
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

/// The checkout's top folder. Cargo says at run time where this package lies; the build may be older than a move of the checkout.
fn workspace() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package
        .parent()
        .context("the xtask package has no parent folder")?;
    Ok(root.to_owned())
}

/// Nobody watches: nothing may be skipped, nor Cargo.lock changed.
pub(crate) fn on_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
