//! What the checks need besides cargo: found, installed where that is safe to do unasked, or named.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::command;

pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Makes sure that Rust's library for WebAssembly is there.
pub(crate) fn wasm_target() -> Result<()> {
    let installed = || {
        command::output("rustc", &["--print", "target-libdir", "--target", WASM])
            .is_some_and(|folder| PathBuf::from(folder.trim()).is_dir())
    };
    if installed() {
        return Ok(());
    }
    if command::output("rustup", &["--version"]).is_some() {
        command::run(Command::new("rustup").args(["target", "add", WASM]))?;
        if installed() {
            return Ok(());
        }
    }
    bail!("Rust's {WASM} target is missing; install it with `rustup target add {WASM}`");
}

/// Debian's packages for Vulkan on the CPU (Mesa's lavapipe) and the loader.
const VULKAN: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];

/// Makes sure that there is a software Vulkan device, so that GPU kernels can be tested on any machine.
pub(crate) fn software_vulkan() -> Result<()> {
    if has_software_vulkan() {
        return Ok(());
    }
    let how = format!("apt-get install {}", VULKAN.join(" "));
    if !cfg!(target_os = "linux") {
        bail!("software Vulkan (Mesa's lavapipe) is looked for on Linux only");
    }
    if command::output("apt-get", &["--version"]).is_none() {
        bail!("software Vulkan (Mesa's lavapipe) is missing; on Debian it is `{how}`");
    }
    if command::output("id", &["-u"]).is_none_or(|id| id.trim() != "0") {
        bail!("software Vulkan (Mesa's lavapipe) is missing; install it with `sudo {how}`");
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
                    .args(VULKAN),
            )
        })
        .with_context(|| format!("software Vulkan could not be installed with `{how}`"))?;
    if !has_software_vulkan() {
        bail!("`{how}` succeeded, yet no driver file lvp_icd*.json is there");
    }
    Ok(())
}

fn has_software_vulkan() -> bool {
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
