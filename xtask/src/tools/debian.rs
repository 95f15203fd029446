//! Packages of Debian and its kin.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};

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
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
        apt
    };
    command::run(apt().arg("update"))
        .and_then(|()| {
            let flags = ["install", "--yes", "--no-install-recommends"];
            command::run(apt().args(flags).args(packages))
        })
        .with_context(|| format!("{what} could not be installed with `{how}`"))
}

const VULKAN: &str = "software Vulkan (Mesa's lavapipe)";

/// Makes sure that there is Vulkan on the CPU, so that GPU kernels can be tested on any machine.
pub(crate) fn vulkan() -> Result<()> {
    if !has_vulkan() {
        ensure!(
            cfg!(target_os = "linux"),
            "{VULKAN} is looked for on Linux only"
        );
        install(VULKAN, &["libvulkan1", "mesa-vulkan-drivers"])?;
        ensure!(
            has_vulkan(),
            "{VULKAN} was installed, yet its driver is not there"
        );
    }
    Ok(())
}

/// Looks for the Vulkan loader, and where it looks for its drivers.
fn has_vulkan() -> bool {
    let loader = ["ldconfig", "/sbin/ldconfig"]
        .iter()
        .find_map(|ldconfig| command::output(ldconfig, &["-p"]))
        .is_some_and(|libraries| libraries.contains("libvulkan.so.1"));
    let folders = std::env::var("XDG_DATA_DIRS").unwrap_or_default() + ":/usr/local/share";
    loader
        && folders
            .split(':')
            .chain(["/etc", "/usr/share"])
            .filter_map(|folder| PathBuf::from(folder).join("vulkan/icd.d").read_dir().ok())
            .flatten()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("lvp_icd"))
}
