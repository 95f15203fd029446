//! What the chores need besides cargo: found, installed where that is safe to do unasked, or named.

pub(crate) mod browser;
mod debian;
pub(crate) mod npm;
pub(crate) mod vulkan;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    command::{self, cargo},
    project::Project,
};

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

/// The programs that turn the crate into a page.
pub(crate) struct WebTools {
    pub(crate) wasm_bindgen: PathBuf,
    /// The version of `wasm_bindgen`.
    pub(crate) bindgen_version: String,
    pub(crate) trunk: PathBuf,
    /// The folder with node_modules.
    pub(crate) npm: PathBuf,
}

/// The version of trunk that the page is built with.
pub(crate) const TRUNK: &str = "0.21.14";

/// Finds the programs, or installs them below the target folder: about ten minutes, once.
pub(crate) fn web(project: &Project) -> Result<WebTools> {
    wasm_target()?;
    let npm = npm::ensure(project)?;
    let bindgen_version = locked_bindgen(project)?;
    Ok(WebTools {
        wasm_bindgen: program(
            project,
            "wasm-bindgen",
            &["wasm-bindgen-cli", "--version", &bindgen_version],
            &bindgen_version,
        )?,
        bindgen_version,
        trunk: program(
            project,
            "trunk",
            &["trunk", "--version", TRUNK, "--locked"],
            TRUNK,
        )?,
        npm,
    })
}

/// The version of wasm-bindgen in Cargo.lock: glue and module agree in nothing but the same version.
fn locked_bindgen(project: &Project) -> Result<String> {
    let lock = fs::read_to_string(project.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let lock: toml::Table = lock.parse().context("reading Cargo.lock")?;
    lock.get("package")
        .and_then(|packages| packages.as_array())
        .into_iter()
        .flatten()
        .find(|package| package.get("name").and_then(|n| n.as_str()) == Some("wasm-bindgen"))
        .and_then(|package| package.get("version")?.as_str())
        .map(str::to_owned)
        .context("Cargo.lock has no wasm-bindgen")
}

/// A program of cargo's registry in exactly this version: ours, else the machine's, else installed.
fn program(project: &Project, name: &str, install: &[&str], version: &str) -> Result<PathBuf> {
    let tools = project.target.join("tools");
    let ours = tools
        .join("bin")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let is_right = |program: &PathBuf| {
        command::output(program, &["--version"])
            .is_some_and(|line| line.split_whitespace().nth(1) == Some(version))
    };
    for candidate in [&ours, &PathBuf::from(name)] {
        if is_right(candidate) {
            return Ok(candidate.clone());
        }
    }
    eprintln!("tools: building {name} {version}, once; this takes some minutes");
    let build = project.target.join("tools-build").join(name);
    command::run(
        cargo(&project.root)
            .arg("install")
            .args(install)
            .arg("--root")
            .arg(&tools)
            .env("CARGO_TARGET_DIR", &build),
    )
    .with_context(|| format!("{name} {version} could not be installed"))?;
    // The program is all that is wanted; what it was built from is several hundred megabytes.
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    if !is_right(&ours) {
        bail!("{name} was installed, yet does not say that it is {version}");
    }
    Ok(ours)
}
