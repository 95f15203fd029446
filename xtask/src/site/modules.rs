//! The crate as two WebAssembly modules: one for the CPU, one for WebGPU.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{SHIPPED, Site, beside, replace, scripts};
use crate::{
    command::{self, cargo},
    project,
    stamp::Stamp,
    tools::{self, npm},
};

/// The modules and the features of the crate that make them.
pub(crate) const MODULES: [(&str, &[&str]); 2] = [
    ("cpu", &[]),
    ("webgpu", &["--no-default-features", "--features", "webgpu"]),
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

/// Builds both; gives the folder of each.
pub(super) fn build(site: &Site) -> Result<Vec<(&'static str, PathBuf)>> {
    MODULES
        .iter()
        .map(|(name, features)| {
            build_one(site, name, features)
                .map(|folder| (*name, folder))
                .with_context(|| format!("the module `{name}`"))
        })
        .collect()
}

fn build_one(site: &Site, name: &str, features: &[&str]) -> Result<PathBuf> {
    let folder = site.work.join(name);
    let sources = sources(site, name, features)?;
    let whole = folder.join("muse_web_bg.wasm").is_file();
    if sources.is_fresh() && whole {
        return Ok(folder);
    }
    sources.clear()?;
    let wasm = compile(site, features)?;
    let bytes = fs::read(&wasm).with_context(|| format!("cannot read {}", wasm.display()))?;

    // A change of the sources often leaves the module as it was; the slower half of the work can then be spared.
    let mut compiled = Stamp::new(&site.work.join(format!("{name}.wasm.stamp")));
    compiled.add("wasm", bytes);
    compiled.add("wasm-bindgen", &site.tools.bindgen_version);
    compiled.add("wasm-opt", OPTIMISE.join(" "));
    scripts::add_tools(site, &mut compiled)?;
    if !(compiled.is_fresh() && whole) {
        compiled.clear()?;
        let new = beside(&folder)?;
        bind(site, &wasm, new.path())?;
        if site.profile == SHIPPED {
            optimise(site, new.path())?;
            scripts::minify(site, new.path())?;
        }
        replace(&folder, new)?;
        compiled.write()?;
    }
    sources.write()?;
    Ok(folder)
}

/// All that rustc's output depends on. Cargo would know, but the two modules have one file name there, so that it would link
/// each anew after the other.
fn sources(site: &Site, name: &str, features: &[&str]) -> Result<Stamp> {
    let root = &site.project.root;
    let mut stamp = Stamp::new(&site.work.join(format!("{name}.sources.stamp")));
    let rustc = command::output("rustc", &["-vV"]).context("rustc does not run")?;
    stamp.add("rustc", rustc);
    let tree = cargo(root)
        .args(["tree", "--package", "muse-web", "--target", tools::WASM])
        .args(["--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p} {f}"])
        .args(features)
        .output()?;
    if !tree.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    }
    // Where the checkout lies is no matter, so that a fresh clone need not build again.
    let place = root.display().to_string();
    stamp.add(
        "tree",
        String::from_utf8_lossy(&tree.stdout).replace(&place, ""),
    );
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let manifest: toml::Table = manifest.parse()?;
    for part in ["profile", "patch"] {
        if let Some(part_of) = manifest.get(part) {
            stamp.add(part, part_of.to_string());
        }
    }
    stamp.add("flags", "--remap-path-prefix");
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        stamp.add(variable, std::env::var(variable).unwrap_or_default());
    }
    for path in [
        ".cargo/config.toml",
        "core/Cargo.toml",
        "core/src",
        "web/Cargo.toml",
        "web/build.rs",
        "web/src",
    ] {
        stamp.add_path(root, path)?;
    }
    Ok(stamp)
}

fn compile(site: &Site, features: &[&str]) -> Result<PathBuf> {
    let mut build = cargo(&site.project.root);
    build
        .args(["build", "--profile", &site.profile])
        .args(["--package", "muse-web", "--target", tools::WASM])
        .args(["--config", &without_home()?])
        .args(features);
    if project::on_ci() {
        build.arg("--locked");
    }
    command::run(&mut build)?;
    let folder = match site.profile.as_str() {
        "dev" => "debug",
        name => name,
    };
    Ok(site
        .project
        .target
        .join(tools::WASM)
        .join(folder)
        .join("muse_web.wasm"))
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
    let home = home
        .to_str()
        .with_context(|| format!("{} is not Unicode", home.display()))?;
    let flags = toml::Value::from(vec![format!("--remap-path-prefix={home}=cargo")]);
    Ok(format!("target.{}.rustflags={flags}", tools::WASM))
}

fn bind(site: &Site, wasm: &Path, folder: &Path) -> Result<()> {
    command::run(
        Command::new(&site.tools.wasm_bindgen)
            .args(["--target", "web", "--no-typescript"])
            .args(["--out-name", "muse_web", "--out-dir"])
            .arg(folder)
            .arg(wasm),
    )
}

fn optimise(site: &Site, folder: &Path) -> Result<()> {
    let (bound, optimised) = (folder.join("muse_web_bg.wasm"), folder.join("optimised"));
    command::run(
        npm::node(&site.tools.npm.join("node_modules/binaryen/bin/wasm-opt"))
            .args(OPTIMISE)
            .arg(&bound)
            .arg("--output")
            .arg(&optimised),
    )?;
    fs::rename(&optimised, &bound).context("wasm-opt wrote nothing")
}
