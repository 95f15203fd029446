//! JavaScript: our own, whose sources run as they are, and the modules' glue; both are shipped smaller.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{SHIPPED, Site, beside, copy, replace};
use crate::{command, stamp::Stamp, tools::npm};

/// The script in xtask/npm that does it.
const MINIFY: &str = "minify.mjs";

/// The sources of the package, as the profile wants them.
pub(super) fn build(site: &Site) -> Result<PathBuf> {
    let root = &site.project.root;
    let folder = site.work.join("js");
    let mut stamp = Stamp::new(&site.work.join("js.stamp"));
    stamp.add_path(root, "web/js")?;
    add_tools(site, &mut stamp)?;
    if !(stamp.is_fresh() && folder.is_dir()) {
        stamp.clear()?;
        let new = beside(&folder)?;
        copy(&root.join("web/js"), new.path())?;
        minify(site, new.path())?;
        replace(&folder, new)?;
        stamp.write()?;
    }
    Ok(folder)
}

/// What the scripts depend on besides their sources.
pub(super) fn add_tools(site: &Site, stamp: &mut Stamp) -> Result<()> {
    for file in [MINIFY, "package-lock.json"] {
        stamp.add_path(&site.project.root, &format!("xtask/npm/{file}"))?;
    }
    Ok(())
}

/// Makes the scripts in `folder` smaller, where they are to be shipped.
pub(super) fn minify(site: &Site, folder: &Path) -> Result<()> {
    if site.profile != SHIPPED {
        return Ok(());
    }
    // Node looks for packages beside the script.
    let script = site.tools.npm.join(MINIFY);
    fs::copy(site.project.root.join("xtask/npm").join(MINIFY), &script)
        .with_context(|| format!("cannot write {}", script.display()))?;
    command::run(npm::node(&script).arg(folder))
}
