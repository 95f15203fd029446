//! `cargo xtask build-web`: the page with everything it loads, as a static folder.

mod models;
mod modules;
mod page;
mod scripts;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    project::Project,
    stamp::{Stamp, files},
    tools::{self, WebTools},
};

pub(crate) use modules::MODULES;

/// The profile that is shipped and measured; only its modules are worth wasm-opt's minutes.
pub(crate) const SHIPPED: &str = "web";

/// What the steps need to know.
pub(crate) struct Site {
    project: Project,
    tools: WebTools,
    profile: String,
    /// Where the steps' results are kept.
    work: PathBuf,
    /// Holds off other runs.
    _lock: File,
}

impl Site {
    /// Finds or installs the tools.
    pub(crate) fn new(project: &Project, profile: &str) -> Result<Self> {
        let work = project.target.join("site").join(profile);
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let lock = project.target.join("site/.lock");
        let lock =
            File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
        lock.lock().context("cannot lock the site's folder")?;
        Ok(Self {
            project: project.clone(),
            tools: tools::web(project)?,
            profile: profile.to_owned(),
            work,
            _lock: lock,
        })
    }

    /// The checkout and cargo's folder.
    pub(crate) fn project(&self) -> &Project {
        &self.project
    }

    /// Where the tests' copy of the page lies.
    pub(crate) fn dist(&self) -> PathBuf {
        Self::dist_of(&self.project, &self.profile)
    }

    /// The same, without looking for the tools.
    pub(crate) fn dist_of(project: &Project, profile: &str) -> PathBuf {
        project.target.join("site").join(profile).join("dist")
    }

    /// Builds what is not up to date and puts the page into `out`, whole or not at all.
    pub(crate) fn build(&self, out: &Path) -> Result<()> {
        let built = modules::build(self)?;
        let scripts = scripts::build(self)?;
        let page = page::build(self)?;
        let models = models::list(&self.project.root)?;

        let new = beside(out)?;
        copy(&page, new.path())?;
        let package = new.path().join("muse-web");
        // Of the package's files those that a page loads.
        for name in files(&scripts)?.iter().filter(|name| name.ends_with(".js")) {
            copy_file(&scripts.join(name), &package.join(name))?;
        }
        copy_modules(&built, &package)?;
        models::copy(&self.project.root, &models, &new.path().join("models"))?;
        write_names(new.path())?;
        replace(out, new)?;
        eprintln!("web: {} is up to date", out.display());
        Ok(())
    }

    /// Builds the folder that npm publishes into `out`, whole or not at all.
    pub(crate) fn build_package(&self, out: &Path) -> Result<()> {
        let built = modules::build(self)?;
        let root = &self.project.root;
        let new = beside(out)?;
        copy(&scripts::build(self)?, new.path())?;
        copy_modules(&built, new.path())?;
        models::copy(root, &models::list(root)?, &new.path().join("models"))?;
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            copy_file(&root.join(licence), &new.path().join(licence))?;
        }
        replace(out, new)
    }
}

/// The modules with their glue and types.
fn copy_modules(built: &[(&str, PathBuf)], folder: &Path) -> Result<()> {
    for (name, from) in built {
        copy(from, &folder.join(name))?;
    }
    Ok(())
}

/// The folders of scripts, which are named by their content, and how index.html names them.
const FOLDERS: [(&str, &str, &str); 2] =
    [("muse-web", "data-package=\"", "\""), ("page", "\"./", "/")];

/// Gives the folders of scripts the hashes of their content as parts of their names, so that no browser mixes what it has
/// kept of one version with another; and the whole page a version, which it and its service worker know.
fn write_names(dist: &Path) -> Result<()> {
    let place = dist.join("index.html");
    let mut index = fs::read_to_string(&place).context("cannot read index.html")?;
    for (folder, before, after) in FOLDERS {
        let mut hash = Stamp::new(Path::new(""));
        hash.add_path(dist, folder)?;
        let named = format!("{folder}-{}", &hash.value()[..10]);
        fs::rename(dist.join(folder), dist.join(&named))
            .with_context(|| format!("cannot rename {folder}"))?;
        let (plain, hashed) = (
            format!("{before}{folder}{after}"),
            format!("{before}{named}{after}"),
        );
        ensure!(index.contains(&plain), "index.html does not name {folder}");
        index = index.replace(&plain, &hashed);
    }
    write(&place, &index)?;
    let version = write_precache(dist)?;
    let unnamed = "data-version=\"\"";
    ensure!(index.contains(unnamed), "index.html has no {unnamed}");
    let versioned = format!("data-version=\"{version}\"");
    write(&place, &index.replace(unnamed, &versioned))
}

/// For the service worker: the files that the page consists of, and a name for exactly this state of them all.
fn write_precache(dist: &Path) -> Result<String> {
    let mut version = Stamp::new(Path::new(""));
    let mut entries = Vec::new();
    for name in files(dist)? {
        let bytes = fs::read(dist.join(&name)).with_context(|| format!("cannot read {name}"))?;
        version.add(&name, &bytes);
        // The element is for embedders; the page never asks for it.
        if !name.starts_with("models/") && name != "sw.js" && !name.ends_with("/element.js") {
            entries.push(json!({ "path": name, "bytes": bytes.len() }));
        }
    }
    let version = version.value()[..16].to_owned();
    let precache = json!({ "version": version, "files": entries });
    write(&dist.join("precache.json"), &format!("{precache}\n"))?;
    Ok(version)
}

/// The prefix of our temporary folders, which a killed run leaves behind.
const TEMPORARY: &str = ".muse-web-";

/// A folder on the same file system as `out`, which goes away unless it takes its place.
fn beside(out: &Path) -> Result<TempDir> {
    let parent = out
        .parent()
        .with_context(|| format!("{} has no parent folder", out.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    for entry in parent.read_dir()? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(parent)
        .with_context(|| format!("cannot write to {}", parent.display()))
}

/// Puts `new` in the place of `out`.
fn replace(out: &Path, new: TempDir) -> Result<()> {
    // A temporary folder is for its owner's eyes only; its contents are not to stay so.
    let inner = new.path().join(".whole");
    fs::create_dir(&inner)?;
    for entry in new.path().read_dir()? {
        let entry = entry?;
        if entry.file_name() != ".whole" {
            fs::rename(entry.path(), inner.join(entry.file_name()))?;
        }
    }
    let old = new.path().join(".old");
    if out.exists() {
        fs::rename(out, &old).with_context(|| format!("cannot replace {}", out.display()))?;
    }
    fs::rename(&inner, out).with_context(|| format!("cannot write {}", out.display()))
}

/// Copies all files below a folder; those that begin with a dot stay behind.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for name in files(from)? {
        copy_file(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    fs::copy(from, to)
        .map(|_| ())
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_precache_names_the_page_and_its_version_follows_every_file() {
        let dist = tempfile::tempdir().unwrap();
        let precache = |name: &str, text: &str| -> serde_json::Value {
            let place = dist.path().join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
            let _ = fs::remove_file(dist.path().join("precache.json"));
            write_precache(dist.path()).unwrap();
            let text = fs::read_to_string(dist.path().join("precache.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        precache("index.html", "<p>");
        precache("a/b.js", "1");
        precache("sw.js", "2");
        let first = precache("models/m.muse", "3");
        assert_eq!(
            first["files"],
            json!([{ "path": "a/b.js", "bytes": 1 }, { "path": "index.html", "bytes": 3 }])
        );
        assert_eq!(first["version"].as_str().unwrap().len(), 16);
        assert_eq!(precache("sw.js", "2"), first);
        assert_ne!(precache("sw.js", "22")["version"], first["version"]);
        precache("sw.js", "2");
        assert_ne!(precache("models/m.muse", "4")["version"], first["version"]);
    }

    #[test]
    fn scripts_are_named_by_their_content_and_the_page_knows_its_version() {
        let named = |script: &str| {
            let dist = tempfile::tempdir().unwrap();
            for (file, text) in [
                ("page/a.js", "1"),
                ("muse-web/muse.js", script),
                (
                    "index.html",
                    "<html data-package=\"muse-web\" data-version=\"\"><script src=\"./page/a.js\">",
                ),
            ] {
                let place = dist.path().join(file);
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::write(place, text).unwrap();
            }
            write_names(dist.path()).unwrap();
            let text = fs::read_to_string(dist.path().join("index.html")).unwrap();
            let part = |before: &str| {
                let rest = text.split_once(before).expect(before).1;
                rest.split(['"', '/']).next().unwrap().to_owned()
            };
            let names = [
                part("data-package=\""),
                part("src=\"./"),
                part("data-version=\""),
            ];
            assert!(dist.path().join(&names[0]).join("muse.js").is_file());
            assert!(dist.path().join(&names[1]).join("a.js").is_file());
            let precache = fs::read_to_string(dist.path().join("precache.json")).unwrap();
            for name in &names {
                assert!(precache.contains(name.as_str()), "{name}: {precache}");
            }
            names
        };
        let (one, other) = (named("1"), named("2"));
        assert_eq!(one, named("1"));
        assert_ne!(one[0], other[0]);
        assert_eq!(one[1], other[1]);
        assert_ne!(one[2], other[2]);
    }

    #[test]
    fn a_folder_is_replaced_whole() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("some/out");
        for file in ["first", "second"] {
            // What a killed run leaves behind goes.
            let killed = beside(&out).unwrap().keep();
            write(&killed.join("half"), "ha").unwrap();
            let new = beside(&out).unwrap();
            write(&new.path().join(file), file).unwrap();
            replace(&out, new).unwrap();
            assert_eq!(files(&out).unwrap(), [file]);
            assert_eq!(out.parent().unwrap().read_dir().unwrap().count(), 1);
        }
    }
}
