//! Programs from npm, pinned by the lock file in xtask/npm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{command, project::Project, stamp::Stamp};

/// The oldest Node.js that the pinned packages run on.
const NODE: (u32, u32) = (20, 19);

/// Installs the pinned packages, unless they are there; returns the folder that holds `node_modules`.
pub(crate) fn ensure(project: &Project) -> Result<PathBuf> {
    check_node()?;
    let folder = project.target.join("npm");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut stamp = Stamp::new(&folder.join(".installed"));
    let mut files = Vec::new();
    for name in ["package.json", "package-lock.json"] {
        let bytes = fs::read(project.root.join("xtask/npm").join(name))
            .with_context(|| format!("cannot read xtask/npm/{name}"))?;
        stamp.add(name, &bytes);
        files.push((name, bytes));
    }
    if stamp.is_fresh() && folder.join("node_modules").is_dir() {
        return Ok(folder);
    }
    stamp.clear()?;
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).with_context(|| format!("writing {name}"))?;
    }
    // No package of ours needs its install script, so none may run.
    command::run(npm(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))
        .context("the packages of xtask/npm could not be installed")?;
    stamp.write()?;
    Ok(folder)
}

/// npm, in `folder`.
pub(crate) fn npm(folder: &Path) -> Command {
    let mut npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    npm.current_dir(folder)
        .env("npm_config_update_notifier", "false");
    npm
}

/// Node.js with a script.
pub(crate) fn node(script: &Path) -> Command {
    let mut node = Command::new("node");
    node.arg(script);
    node
}

fn check_node() -> Result<()> {
    let wanted = format!(
        "Node.js {}.{} or newer with npm (Debian: nodejs and npm, or from nodejs.org)",
        NODE.0, NODE.1
    );
    let Some(version) = command::output("node", &["--version"]) else {
        bail!("node is missing; install {wanted}");
    };
    let version = version.trim();
    if parse(version).is_none_or(|version| version < NODE) {
        bail!("node is {version}; install {wanted}");
    }
    let npm = npm(Path::new("."));
    if command::output(npm.get_program(), &["--version"]).is_none() {
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
