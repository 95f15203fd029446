//! The page itself, by trunk.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use super::{Site, copy, copy_file, scripts, write};
use crate::{command, stamp::Stamp, tools};

/// What the page is made of, in the checkout; trunk finds it in the same places.
const SOURCES: [&str; 2] = ["index.html", "web/page"];

/// Runs trunk in a copy of the sources: beside the workspace's Cargo.toml it would want to build a crate.
pub(super) fn build(site: &Site) -> Result<PathBuf> {
    let root = &site.project.root;
    let page = site.work.join("page");
    let mut stamp = Stamp::new(&site.work.join("page.stamp"));
    stamp.add("trunk", tools::TRUNK);
    for source in SOURCES {
        stamp.add_path(root, source)?;
    }
    scripts::add_tools(site, &mut stamp)?;
    if stamp.is_fresh() && page.is_dir() {
        return Ok(page);
    }
    stamp.clear()?;
    let stage = site.work.join("stage");
    for folder in [&stage, &page] {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    for source in SOURCES {
        let from = root.join(source);
        if from.is_dir() {
            copy(&from, &stage.join(source))?;
        } else {
            copy_file(&from, &stage.join(source))?;
        }
    }
    // Where there is no Cargo.toml, trunk insists on a file of its own.
    write(
        &stage.join("Trunk.toml"),
        "[build]\ntarget = \"index.html\"\n",
    )?;
    // Before trunk, which writes the scripts' hashes into the page.
    scripts::minify(site, &stage)?;
    command::run(
        Command::new(&site.tools.trunk)
            .current_dir(&stage)
            .args(["build", "--release", "--offline", "--public-url", "./"])
            .arg("--dist")
            .arg(&page)
            .env("TRUNK_SKIP_VERSION_CHECK", "true")
            // Trunk takes this variable for an option of its own and stops at most of its values.
            .env_remove("NO_COLOR"),
    )?;
    stamp.write()?;
    Ok(page)
}
