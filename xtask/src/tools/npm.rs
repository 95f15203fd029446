//! Programs from npm, pinned by the lock file in xtask/npm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    command,
    project::{Project, copy},
};

/// The oldest Node.js that the pinned packages run on.
const NODE: (u32, u32) = (20, 19);

/// Installs the pinned packages, unless they are there; returns the folder that holds `node_modules` and the files of xtask/npm.
pub(crate) fn node_modules(project: &Project) -> Result<PathBuf> {
    check_node()?;
    let (from, to) = (project.root.join("xtask/npm"), project.target.join("npm"));
    let locked = |folder: &Path| fs::read(folder.join("package-lock.json")).ok();
    // npm writes the hidden file when all packages are there.
    let whole = to.join("node_modules/.package-lock.json").is_file();
    let fresh = whole && locked(&from) == locked(&to);
    copy(&from, &to)?;
    if !fresh {
        // No package of ours needs its install script, so none may run.
        command::run(npm(&to).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))
            .context("the packages of xtask/npm could not be installed")?;
    }
    Ok(to)
}

/// npm, in `folder`.
fn npm(folder: &Path) -> Command {
    let mut npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    npm.current_dir(folder)
        .env("npm_config_update_notifier", "false");
    npm
}

fn check_node() -> Result<()> {
    let wanted = format!(
        "Node.js {}.{} or newer with npm (Debian: nodejs and npm, or from nodejs.org)",
        NODE.0, NODE.1
    );
    let Some(version) = command::output("node", &["--version"]) else {
        bail!("node is missing; install {wanted}");
    };
    if parse(version.trim()).is_none_or(|version| version < NODE) {
        bail!("node is {}; install {wanted}", version.trim());
    }
    if command::output(npm(Path::new(".")).get_program(), &["--version"]).is_none() {
        bail!("npm is missing; install {wanted}");
    }
    Ok(())
}

/// `(20, 19)` of `v20.19.2`.
fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse("v20.20.2"), Some((20, 20)));
        assert!(parse("v20.9.0").unwrap() < NODE);
        assert!(parse("v22.0.0").unwrap() > NODE);
        assert_eq!(parse("20"), None);
    }
}
