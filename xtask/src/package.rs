//! `cargo xtask package`: the folder that npm publishes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    project::Project,
    site::{MODULES, SHIPPED, Site},
    stamp::files,
    tools::npm,
};

/// Where the package lies unless another place is named; the tests take it from here.
pub(crate) fn folder(project: &Project) -> PathBuf {
    project.target.join("package/muse-web")
}

/// Builds the package into `out` and has npm look at it.
pub(crate) fn run(project: &Project, out: &Path) -> Result<()> {
    Site::new(project, SHIPPED)?.build_package(out)?;
    check(project, out)
}

/// What npm would publish is all that is there, under the workspace's version.
pub(crate) fn check(project: &Project, folder: &Path) -> Result<()> {
    let text =
        fs::read_to_string(folder.join("package.json")).context("web/js has no package.json")?;
    let manifest: Value = serde_json::from_str(&text).context("web/js/package.json")?;
    let ours = version(&project.root)?;
    if manifest["version"] != ours.as_str() {
        bail!(
            "web/js/package.json is version {}, the workspace is {ours}",
            manifest["version"]
        );
    }
    let output = npm::npm(folder)
        .args(["pack", "--dry-run", "--json", "--ignore-scripts"])
        .output()
        .context("npm does not run")?;
    if !output.status.success() {
        bail!("npm pack: {}", String::from_utf8_lossy(&output.stderr));
    }
    let report: Value = serde_json::from_slice(&output.stdout).context("npm pack's report")?;
    // An array in npm up to 11; by the package's name later.
    let pack = match &report {
        Value::Array(packs) => packs.first(),
        Value::Object(packs) => packs.values().next(),
        _ => None,
    }
    .context("npm pack reports nothing")?;
    let packed: Vec<&str> = pack["files"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|file| file["path"].as_str())
        .collect();
    let missing: Vec<_> = files(folder)?
        .into_iter()
        .filter(|file| !packed.contains(&file.as_str()))
        .collect();
    if !missing.is_empty() {
        bail!(
            "npm would leave out {}: see `files` in web/js/package.json",
            missing.join(", ")
        );
    }
    for (module, _) in MODULES {
        for file in ["muse_web.js", "muse_web_bg.wasm"] {
            if !packed.contains(&format!("{module}/{file}").as_str()) {
                bail!("the package has no {module}/{file}");
            }
        }
    }
    println!(
        "{}: {} files, {:.1} MB as a tarball, {:.1} MB unpacked",
        folder.display(),
        packed.len(),
        megabytes(&pack["size"]),
        megabytes(&pack["unpackedSize"])
    );
    Ok(())
}

/// The version that all of the workspace's crates have.
fn version(root: &Path) -> Result<String> {
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml"))?.parse()?;
    manifest["workspace"]["package"]["version"]
        .as_str()
        .map(str::to_owned)
        .context("the workspace has no version")
}

fn megabytes(bytes: &Value) -> f64 {
    bytes.as_f64().unwrap_or_default() / 1e6
}
