//! The WebAssembly modules: one for the CPU, one for WebGPU.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use wasm_bindgen_cli_support::Bindgen;

use crate::{
    command::{self, cargo},
    new::New,
    progress,
    project::{self, Project, files},
    tools,
};

/// The modules by their devices, each a crate in `web`, the sooner ready one first.
pub(crate) const MODULES: [&str; 2] = ["cpu", "webgpu"];

/// How a module is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// Soon ready.
    Dev,
    /// Small, as visitors get it.
    Shipped,
}

impl Build {
    /// Cargo's profile.
    fn profile(self) -> &'static str {
        match self {
            Self::Dev => "page",
            Self::Shipped => "web",
        }
    }
}

/// What a module depends on. Cargo would know, but thinks that all of a fresh clone has changed.
const SOURCES: [&str; 9] = [
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "core",
    "kernels",
    "web",
    "xtask/npm/minify.mjs",
    "xtask/npm/package-lock.json",
    "xtask/src/modules.rs",
];

/// What rustc may use for this target, and nothing that a browser with SIMD might lack.
const OPTIMISE: [&str; 13] = [
    "-Oz",
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-call-indirect-overlong",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--strip-debug",
    "--strip-producers",
    "--strip-target-features",
];

/// Builds a module unless it is up to date; returns the folder with its script and its binary.
///
/// `stopped` ends it, in an error.
pub(crate) fn build(
    project: &Project,
    name: &str,
    build: Build,
    stopped: &dyn Fn() -> bool,
) -> Result<PathBuf> {
    let folder = place(project, name, build);
    let made_of = sources(&project.root)?;
    if fs::read_to_string(folder.join(".sources")).is_ok_and(|known| known == made_of) {
        return Ok(folder);
    }
    let wasm = compile(project, name, build, stopped)?;
    let new = New::beside(project, &folder)?;
    Bindgen::new()
        .input_path(wasm)
        .web(true)?
        .typescript(false)
        .out_name("muse_web")
        .generate(new.path())
        .context("wasm-bindgen")?;
    if build == Build::Shipped {
        optimise(project, new.path())?;
        tools::minify(project, new.path())?;
    }
    // What was changed meanwhile may be in it, or not.
    if sources(&project.root)? == made_of {
        fs::write(new.path().join(".sources"), &made_of)?;
    }
    new.replace()?;
    Ok(folder)
}

/// Where the module lies.
pub(crate) fn place(project: &Project, name: &str, build: Build) -> PathBuf {
    let profile = build.profile();
    let site = project.target.join("site");
    site.join(format!("{name}-{profile}"))
}

/// What tells apart all that a module is made of; where the checkout lies is no matter.
fn sources(root: &Path) -> Result<String> {
    let mut names = Vec::new();
    for source in SOURCES {
        if root.join(source).is_dir() {
            let below = files(&root.join(source))?.into_iter();
            names.extend(below.map(|name| format!("{source}/{name}")));
        } else {
            names.push(source.to_owned());
        }
    }
    // What the browser gets beside the module is no part of it.
    names.retain(|name| !name.starts_with("web/js/") && !name.starts_with("web/page/"));
    let rustc = command::output("rustc", &["-vV"]).context("rustc does not run")?;
    Ok(rustc + &project::hash(root, &names)?)
}

fn compile(
    project: &Project,
    name: &str,
    build: Build,
    stopped: &dyn Fn() -> bool,
) -> Result<PathBuf> {
    tools::wasm_target()?;
    let profile = build.profile();
    let mut cargo = cargo(&project.root);
    cargo
        // They would take the place of this target's own.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["build", "--profile", profile, "--target", tools::WASM])
        .args(["--package", &format!("muse-web-{name}")])
        .args(["--config", &without_home()?])
        .arg("--target-dir")
        .arg(&project.target);
    if project::on_ci() {
        cargo.arg("--locked");
    }
    progress::run(&mut cargo, &format!("{name} module"), stopped)?;
    let built = project.target.join(tools::WASM).join(profile);
    Ok(built.join(format!("muse_web_{name}.wasm")))
}

/// A setting of cargo's, added to those of `.cargo/config.toml`: panics name the dependencies' files, which else would
/// tell everybody where the builder's home lies.
fn without_home() -> Result<String> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()
            .context("there is no home folder, and CARGO_HOME is not set")?
            .join(".cargo"),
    };
    let Some(home) = home.to_str() else {
        bail!("{} is not Unicode", home.display());
    };
    let flags = serde_json::json!([format!("--remap-path-prefix={home}=cargo")]);
    Ok(format!("target.{}.rustflags={flags}", tools::WASM))
}

fn optimise(project: &Project, folder: &Path) -> Result<()> {
    let npm = tools::node_modules(project)?;
    let (bound, optimised) = (folder.join("muse_web_bg.wasm"), folder.join("optimised"));
    command::run(
        Command::new("node")
            .arg(npm.join("node_modules/binaryen/bin/wasm-opt"))
            .args(OPTIMISE)
            .arg(&bound)
            .arg("--output")
            .arg(&optimised),
    )?;
    fs::rename(&optimised, &bound).context("wasm-opt wrote nothing")
}
