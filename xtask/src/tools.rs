//! What the chores need besides cargo: found, installed where that is safe to do unasked, or named.

mod browser;
mod debian;
mod npm;

use std::{env::consts::EXE_SUFFIX, ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    command::{self, cargo},
    project::Project,
};

pub(crate) use browser::browser;
pub(crate) use debian::vulkan;
pub(crate) use npm::{minify, node_modules};

pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Makes sure that Rust's library for WebAssembly is there.
pub(crate) fn wasm_target() -> Result<()> {
    let installed = || {
        command::output("rustc", &["--print", "target-libdir", "--target", WASM])
            .is_some_and(|folder| PathBuf::from(folder.trim()).is_dir())
    };
    if !installed() && command::output("rustup", &["--version"]).is_some() {
        command::run(Command::new("rustup").args(["target", "add", WASM]))?;
    }
    ensure!(
        installed(),
        "Rust's {WASM} target is missing; install it with `rustup target add {WASM}`"
    );
    Ok(())
}

/// The version of trunk that the page is tested with.
const TRUNK: &str = "0.21.14";

/// Trunk: ours, else the machine's, else installed below the target folder: three minutes, once.
pub(crate) fn trunk(project: &Project) -> Result<OsString> {
    let tools = project.target.join("tools");
    let ours = tools.join(format!("bin/trunk{EXE_SUFFIX}"));
    let is_right = |program: &OsString| {
        command::output(program, &["--version"])
            .is_some_and(|line| line.split_whitespace().nth(1) == Some(TRUNK))
    };
    for candidate in [ours.clone().into(), "trunk".into()] {
        if is_right(&candidate) {
            return Ok(candidate);
        }
    }
    let mut install = cargo(&project.root);
    if command::output("cargo-binstall", &["-V"]).is_some() {
        install.args(["binstall", "--no-confirm"]);
    } else {
        // It is to be there soon; how fast it runs is no matter, and nobody here needs its TLS.
        install
            .args(["install", "--locked", "--no-default-features"])
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    }
    command::run(
        install
            .args(["trunk", "--version", TRUNK, "--root"])
            .arg(&tools)
            .env("CARGO_TARGET_DIR", project.target.join("tools-build")),
    )
    .with_context(|| format!("trunk {TRUNK} could not be installed"))?;
    if !is_right(&ours.clone().into()) {
        bail!("trunk was installed, yet does not say that it is {TRUNK}");
    }
    // The program is all that is wanted; what it was built from is several hundred megabytes.
    let _ = std::fs::remove_dir_all(project.target.join("tools-build"));
    Ok(ours.into())
}
