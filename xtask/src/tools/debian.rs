//! Packages of Debian and its kin.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// Installs `packages` where we may, else says how `what` is installed.
pub(super) fn install(what: &str, packages: &[&str]) -> Result<()> {
    let how = format!("apt-get install {}", packages.join(" "));
    if command::output("apt-get", &["--version"]).is_none() {
        bail!("{what} is missing; on Debian it is `{how}`");
    }
    if command::output("id", &["-u"]).is_none_or(|id| id.trim() != "0") {
        bail!("{what} is missing; install it with `sudo {how}`");
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    command::run(apt().args(["update", "--quiet"]))
        .and_then(|()| {
            command::run(
                apt()
                    .args(["install", "--yes", "--quiet", "--no-install-recommends"])
                    .args(packages),
            )
        })
        .with_context(|| format!("{what} could not be installed with `{how}`"))
}
