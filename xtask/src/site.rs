//! `cargo xtask build-web` and `package`: the page as a static folder, and the folder that npm publishes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use fs_err as fs;
use serde_json::{Value, json};
use xtask::preview::without_trunks;

use crate::{
    command,
    modules::{self, Build, MODULES},
    new::New,
    project::{self, Project, copy, copy_file, files},
    tools,
    weights::sha256_of,
};

/// Where the tests find the page and the package.
pub(crate) fn places(project: &Project) -> (PathBuf, PathBuf) {
    let site = project.target.join("site");
    (site.join("dist"), site.join("muse-web"))
}

/// Puts the page into `out`, whole or not at all.
pub(crate) fn build(project: &Project, build: Build, out: &Path) -> Result<()> {
    let modules = modules(project, build)?;
    let new = New::beside(project, out)?;
    let (root, dist) = (&project.root, new.path());
    let index = fs::read_to_string(root.join("index.html"))?;
    fs::write(dist.join("index.html"), without_trunks(&index))?;
    copy(&root.join("web/page"), &dist.join("page"))?;
    // What is named by its place, and not by its content.
    for name in ["sw.js", "manifest.json", "icon.svg", "samples"] {
        fs::rename(dist.join("page").join(name), dist.join(name))?;
    }
    copy_scripts(root, &modules, &dist.join("muse-web"))?;
    if build == Build::Shipped {
        tools::minify(project, dist)?;
    }
    for (name, module) in modules {
        copy(&module, &dist.join("muse-web").join(name))?;
    }
    copy_models(root, &dist.join("models"))?;
    write_names(dist)?;
    new.replace()?;
    eprintln!("web: {} is up to date", out.display());
    Ok(())
}

/// Puts the npm package into `out`, whole or not at all.
pub(crate) fn package(project: &Project, out: &Path) -> Result<()> {
    let modules = modules(project, Build::Shipped)?;
    let new = New::beside(project, out)?;
    let (root, folder) = (&project.root, new.path());
    copy_scripts(root, &modules, folder)?;
    for name in ["package.json", "README.md"] {
        copy_file(&root.join("web/js").join(name), &folder.join(name))?;
    }
    declare(project, folder)?;
    tools::minify(project, folder)?;
    for (name, module) in modules {
        copy(&module, &folder.join(name))?;
    }
    copy_models(root, &folder.join("models"))?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy_file(&root.join(licence), &folder.join(licence))?;
    }
    new.replace()?;
    println!("package: {} is up to date", out.display());
    Ok(())
}

/// How `store.js` calls the modules' version, of which nothing is known before they are built.
const UNVERSIONED: &str = "\"of the modules\"";

/// Puts the package's scripts there, which then know the version of these modules.
fn copy_scripts(root: &Path, modules: &[(&str, PathBuf)], to: &Path) -> Result<()> {
    let from = root.join("web/js");
    for name in files(&from)?.iter().filter(|name| name.ends_with(".js")) {
        copy_file(&from.join(name), &to.join(name))?;
    }
    let parts = modules
        .iter()
        .map(|(_, module)| Ok(hash(module)?[..8].to_owned()));
    let version = parts.collect::<Result<String>>()?;
    let store = fs::read_to_string(to.join("store.js"))?;
    ensure!(
        store.contains(UNVERSIONED),
        "store.js does not have {UNVERSIONED}"
    );
    let versioned = store.replace(UNVERSIONED, &format!("\"{version}\""));
    Ok(fs::write(to.join("store.js"), versioned)?)
}

/// Has TypeScript check the package's scripts and write down their types.
fn declare(project: &Project, folder: &Path) -> Result<()> {
    let npm = tools::node_modules(project)?;
    let mut tsc = Command::new("node");
    tsc.arg(npm.join("node_modules/typescript/bin/tsc"))
        .arg("--project")
        .arg(project.root.join("web/js/tsconfig.json"));
    command::run(tsc.arg("--outDir").arg(folder))
}

/// The folders of the modules, up to date.
fn modules(project: &Project, build: Build) -> Result<Vec<(&'static str, PathBuf)>> {
    let built = |name| Ok((name, modules::build(project, name, build, &|| false)?));
    MODULES.into_iter().map(built).collect()
}

/// The shipped models as the page asks for them; one that does not fit its checksum is an error.
pub(crate) fn models(root: &Path) -> Result<Value> {
    let folder = root.join("models");
    let mut models = Vec::new();
    for file in files(&folder)? {
        let Some(name) = file.strip_suffix(".muse") else {
            continue;
        };
        let place = folder.join(&file);
        let line = fs::read_to_string(folder.join(format!("{file}.sha256")))?;
        let sha256 = line.split_whitespace().next().unwrap_or_default();
        ensure!(
            sha256_of(&place)?.as_deref() == Some(sha256),
            "{} is damaged: its SHA-256 is not that of {file}.sha256",
            place.display()
        );
        let bytes = fs::metadata(&place)?.len();
        models.push(json!({ "name": name, "file": file, "bytes": bytes, "sha256": sha256 }));
    }
    if models.is_empty() {
        bail!("there is no model in {}", folder.display());
    }
    Ok(models.into())
}

fn copy_models(root: &Path, to: &Path) -> Result<()> {
    copy(&root.join("models"), to)?;
    let list = format!("{}\n", models(root)?);
    Ok(fs::write(to.join("models.json"), list)?)
}

/// As trunk's hook: fills the folder that trunk is about to serve. Of what trunk put there only the script stays that reloads
/// the page, under a word that the page's policy knows.
pub(crate) fn for_trunk(project: &Project) -> Result<()> {
    let given =
        |name: &str| std::env::var(name).with_context(|| format!("{name}: run it by trunk"));
    let staging = PathBuf::from(given("TRUNK_STAGING_DIR")?);
    let shipped = given("TRUNK_PROFILE")? == "release";
    let place = staging.join("index.html");
    let trunks = fs::read_to_string(&place)?;
    let kind = if shipped { Build::Shipped } else { Build::Dev };
    build(project, kind, &staging)?;
    let ours = fs::read_to_string(&place)?;
    Ok(fs::write(&place, with_reload(&ours, &trunks))?)
}

/// `index` with the script that `trunks` ends with, if there is one.
fn with_reload(index: &str, trunks: &str) -> String {
    let script = trunks.rsplit_once("<script>");
    let Some((script, _)) = script.and_then(|(_, rest)| rest.split_once("</script>")) else {
        return index.to_owned();
    };
    index
        .replace("script-src ", "script-src 'nonce-trunk' ")
        .replace(
            "</body>",
            &format!("<script nonce=\"trunk\">{script}</script></body>"),
        )
}

/// The folders of scripts, which are named by their content, and how index.html names them.
const FOLDERS: [(&str, &str, &str); 2] =
    [("data-package=\"", "muse-web", "\""), ("=\"", "page", "/")];

/// Gives the folders of scripts the hashes of their content as parts of their names, so that no browser mixes what it has
/// kept of one version with another; and the whole page a version, which it and its service worker know.
fn write_names(dist: &Path) -> Result<()> {
    let place = dist.join("index.html");
    let mut index = fs::read_to_string(&place)?;
    for (before, folder, after) in FOLDERS {
        let named = format!("{folder}-{}", &hash(&dist.join(folder))?[..10]);
        fs::rename(dist.join(folder), dist.join(&named))?;
        let plain = format!("{before}{folder}{after}");
        ensure!(index.contains(&plain), "index.html does not name {folder}");
        index = index.replace(&plain, &format!("{before}{named}{after}"));
    }
    fs::write(&place, &index)?;
    let version = &hash(dist)?[..16];
    // The service worker keeps these; the element is for embedders, the page never asks for it.
    let mut entries = Vec::new();
    for name in files(dist)? {
        if !name.starts_with("models/") && name != "sw.js" && !name.ends_with("/element.js") {
            let bytes = fs::metadata(dist.join(&name))?.len();
            entries.push(json!({ "path": name, "bytes": bytes }));
        }
    }
    let precache = json!({ "version": version, "files": entries });
    fs::write(dist.join("precache.json"), format!("{precache}\n"))?;
    let unnamed = "data-version=\"\"";
    ensure!(index.contains(unnamed), "index.html has no {unnamed}");
    let versioned = format!("data-version=\"{version}\"");
    Ok(fs::write(&place, index.replace(unnamed, &versioned))?)
}

/// A hash of all files of a folder.
pub(crate) fn hash(folder: &Path) -> Result<String> {
    project::hash(folder, &files(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that a page with these files gets: of the package's folder, of the page's, and its version.
    fn named(script: &str, worker: &str) -> [String; 3] {
        let dist = tempfile::tempdir().unwrap();
        let index = "<html data-package=\"muse-web\" data-version=\"\"><script src=\"page/a.js\">";
        for (file, text) in [
            ("page/a.js", "1"),
            ("muse-web/muse.js", script),
            ("muse-web/element.js", "2"),
            ("sw.js", worker),
            ("models/m.muse", "3"),
            ("index.html", index),
        ] {
            let place = dist.path().join(file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        }
        write_names(dist.path()).unwrap();
        let text = fs::read_to_string(dist.path().join("index.html")).unwrap();
        let names = ["data-package=\"", "src=\"", "data-version=\""].map(|before| {
            let rest = text.split_once(before).expect(before).1;
            rest.split(['"', '/']).next().unwrap().to_owned()
        });
        let precache = fs::read_to_string(dist.path().join("precache.json")).unwrap();
        let precache: Value = serde_json::from_str(&precache).unwrap();
        assert_eq!(precache["version"], names[2]);
        let files = precache["files"].as_array().unwrap();
        let mut kept: Vec<_> = files.iter().map(|f| f["path"].as_str().unwrap()).collect();
        kept.sort_unstable();
        let (package, page) = (
            format!("{}/muse.js", names[0]),
            format!("{}/a.js", names[1]),
        );
        assert_eq!(kept, ["index.html", &package, &page]);
        assert!(dist.path().join(package).is_file());
        names
    }

    #[test]
    fn scripts_are_named_by_their_content_and_the_version_follows_every_file() {
        let one = named("1", "x");
        assert_eq!(one, named("1", "x"));
        let [package, page, version] = named("2", "x");
        assert_ne!((&one[0], &one[2]), (&package, &version));
        assert_eq!(one[1], page);
        let other = named("1", "y");
        assert_eq!(one[..2], other[..2]);
        assert_ne!(one[2], other[2]);
    }

    #[test]
    fn of_trunks_page_its_reloading_script_stays() {
        let index = "<meta content=\"script-src 'self'\"><body></body></html>";
        let trunks = "<script>1</script><body><script>reload()</script></body></html>";
        let both = "<meta content=\"script-src 'nonce-trunk' 'self'\"><body><script nonce=\"trunk\">reload()</script></body></html>";
        assert_eq!(with_reload(index, trunks), both);
        assert_eq!(with_reload(index, "<body></body>"), index);
    }

    #[test]
    fn the_package_has_the_workspaces_version() {
        let manifest: Value =
            serde_json::from_str(include_str!("../../web/js/package.json")).unwrap();
        assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_model_that_is_damaged_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("models");
        fs::create_dir(&folder).unwrap();
        assert!(
            models(root.path())
                .unwrap_err()
                .to_string()
                .contains("no model")
        );
        fs::write(folder.join("m.muse"), "model").unwrap();
        let right = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";
        fs::write(folder.join("m.muse.sha256"), format!("{right}  m.muse\n")).unwrap();
        let listed = json!([{ "name": "m", "file": "m.muse", "bytes": 5, "sha256": right }]);
        assert_eq!(models(root.path()).unwrap(), listed);
        fs::write(folder.join("m.muse"), "mode1").unwrap();
        assert!(
            models(root.path())
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
    }
}
