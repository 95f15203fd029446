//! Programs from npm, pinned by the lock file in xtask/npm.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use fs_err as fs;

use crate::{
    command,
    project::{Project, copy},
};

/// Installs the pinned packages, unless they are there; returns the folder that holds `node_modules` and the files of xtask/npm.
pub(crate) fn node_modules(project: &Project) -> Result<PathBuf> {
    let (from, to) = (project.root.join("xtask/npm"), project.target.join("npm"));
    let locked = |folder: &Path| fs::read(folder.join("package-lock.json")).ok();
    // npm writes the hidden file when all packages are there.
    let whole = to.join("node_modules/.package-lock.json");
    let fresh = whole.is_file() && locked(&from) == locked(&to);
    if !fresh && whole.is_file() {
        fs::remove_file(whole)?;
    }
    copy(&from, &to)?;
    if !fresh {
        // No package of ours needs its install script, so none may run; too old a Node.js is an error.
        let flags = [
            "--ignore-scripts",
            "--engine-strict",
            "--no-audit",
            "--no-fund",
        ];
        let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
        command::run(Command::new(npm).current_dir(&to).arg("ci").args(flags)).context(
            "the packages of xtask/npm need Node.js 20.19 or newer with npm (Debian: nodejs and npm, or from nodejs.org)",
        )?;
    }
    Ok(to)
}

/// Makes the scripts in `folder` smaller.
pub(crate) fn minify(project: &Project, folder: &Path) -> Result<()> {
    let npm = node_modules(project)?;
    command::run(Command::new("node").arg(npm.join("minify.mjs")).arg(folder))
}
