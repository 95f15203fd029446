//! Vulkan on the CPU, so that GPU kernels can be tested on any machine.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::debian;
use crate::command;

/// Debian's packages for the loader and Mesa's lavapipe.
const PACKAGES: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];

const WHAT: &str = "software Vulkan (Mesa's lavapipe)";

/// Makes sure that there is a software Vulkan device.
pub(crate) fn ensure() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    if !cfg!(target_os = "linux") {
        bail!("{WHAT} is looked for on Linux only");
    }
    debian::install(WHAT, &PACKAGES)?;
    if !is_there() {
        bail!("{WHAT} was installed, yet no driver file lvp_icd*.json is there");
    }
    Ok(())
}

fn is_there() -> bool {
    let loader = ["ldconfig", "/sbin/ldconfig"]
        .iter()
        .find_map(|ldconfig| command::output(ldconfig, &["-p"]))
        .is_some_and(|libraries| libraries.contains("libvulkan.so.1"));
    loader && has_lavapipe()
}

/// Looks where the Vulkan loader looks for its drivers.
fn has_lavapipe() -> bool {
    let data = std::env::var("XDG_DATA_DIRS")
        .ok()
        .filter(|dirs| !dirs.is_empty())
        .unwrap_or_else(|| "/usr/local/share:/usr/share".to_owned());
    data.split(':')
        .chain(["/etc", "/usr/share"])
        .filter_map(|folder| PathBuf::from(folder).join("vulkan/icd.d").read_dir().ok())
        .flatten()
        .filter_map(Result::ok)
        .any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("lvp_icd") && name.ends_with(".json")
        })
}
