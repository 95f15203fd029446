//! The package as npm packs it: through Vite, and through TypeScript.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use muse_tests::server::{Options, Server};
use serde_json::json;
use tempfile::TempDir;

use crate::support::page::PATIENCE;
use crate::support::{Browser, Gpu, Setup, run};

/// Runs a program to its end, and gives what it prints.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}\n{complaint}");
    said
}

/// npm leaves nothing of the package out.
#[track_caller]
fn expect_listed(package: &Path, folder: &Path, listed: &[String]) {
    for entry in folder.read_dir().expect("a folder") {
        let place = entry.expect("an entry").path();
        if place.is_dir() {
            expect_listed(package, &place, listed);
        } else {
            let name = place.strip_prefix(package).expect("within");
            let name = name.to_str().expect("a name").replace('\\', "/");
            assert!(listed.contains(&name), "npm leaves out {name}");
        }
    }
}

/// A project that has installed the packed package, and nothing from any registry.
fn project(setup: &Setup, files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = output(
        Command::new("npm")
            .args(["pack", "--json", "--ignore-scripts", "--pack-destination"])
            .arg(folder.path())
            .current_dir(&setup.package),
    );
    let packed: serde_json::Value =
        serde_json::from_str(&packed).expect("npm tells what it packed");
    let files_of = |entry: &serde_json::Value| entry["path"].as_str().expect("a path").to_owned();
    let listed = packed[0]["files"].as_array().expect("its files");
    let listed: Vec<_> = listed.iter().map(files_of).collect();
    expect_listed(&setup.package, &setup.package, &listed);
    let packed = packed[0]["filename"].as_str().expect("a file").to_owned();
    for (name, text) in files {
        muse_tests::write(folder.path(), name, text);
    }
    let manifest = json!({ "name": "somebody", "private": true, "type": "module" });
    muse_tests::write(folder.path(), "package.json", manifest.to_string());
    output(
        Command::new("npm")
            .args([
                "install",
                "--offline",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ])
            .arg(format!("./{packed}"))
            .current_dir(folder.path()),
    );
    assert!(
        folder
            .path()
            .join("node_modules/muse-web/models/muse-small.muse")
            .is_file()
    );
    folder
}

/// A program of the tools' folder.
fn tool(setup: &Setup, path: &str, folder: &Path) -> Command {
    let script: PathBuf = setup.npm.join("node_modules").join(path);
    assert!(script.is_file(), "{} is missing", script.display());
    let mut node = Command::new("node");
    node.arg(script).current_dir(folder);
    node
}

#[test]
fn vite_bundles_it() {
    run(|setup| {
        let main = "
            import { Muse } from 'muse-web';
            import model from 'muse-web/models/muse-small.muse?url';
            try {
                const muse = await Muse.load(model, { device: 'cpu', warm: false });
                const { entities } = await muse.tag({ caption: 'Angela Merkel in Berlin' });
                document.title = entities.map(({ type, text }) => `${type} ${text}`).join(', ');
            } catch (error) {
                document.title = `${error.code}: ${error.message}`;
            }";
        let index = "<!doctype html><link rel=\"icon\" href=\"data:,\"><title>Waiting</title><script type=\"module\" src=\"main.js\"></script>";
        let project = project(setup, &[("main.js", main), ("index.html", index)]);
        // Not at the site's root, where an address that is off by a folder would still be right.
        output(tool(setup, "vite/bin/vite.js", project.path()).args([
            "build",
            "--base",
            "./",
            "--logLevel",
            "warn",
        ]));
        let options = Options {
            prefix: "/deep/down".into(),
            ..Options::default()
        };
        let server = Server::start(project.path().join("dist"), options).expect("it is served");
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&server.url("index.html"));
        let title = browser.until("a title", PATIENCE, || {
            let title: String = browser.run("return document.title", &[]);
            (title != "Waiting").then_some(title)
        });
        assert_eq!(title, "PER Angela Merkel, LOC Berlin");
        let large = server
            .requests()
            .into_iter()
            .filter(|r| r.path.contains("webgpu"));
        assert_eq!(large.count(), 0, "only the module that is needed is loaded");
        browser.expect_no_errors(&[]);
    });
}

#[test]
fn typescript_knows_its_types() {
    run(|setup| {
        let good = "
            import { Muse, MuseError, type TagResult } from 'muse-web';
            import 'muse-web/element.js';

            export async function use(model: Uint8Array, picture: Blob | ImageBitmap | null): Promise<TagResult[]> {
                const control = new AbortController();
                const muse = await Muse.load(model, {
                    device: 'auto',
                    signal: control.signal,
                    cache: false,
                    onProgress: ({ phase, loaded, total }) => console.log(phase.toUpperCase(), loaded / total),
                });
                muse.addEventListener('devicechange', ({ detail }) => console.log(detail.device.kind, detail.reason));
                try {
                    const { entities, sentiment, exchange, device, timings } = await muse.tag({ caption: 'a', image: picture });
                    for (const { type, text, start, end, score } of entities) console.log(type + text, start + end + score);
                    console.log(sentiment?.label.length, exchange?.layers[0]?.regions[0]?.attention, device.kind, timings.total);
                    return await muse.tagBatch([{ caption: 'b' }], { exchange: false });
                } catch (error) {
                    if (error instanceof MuseError && error.code === 'image') return [];
                    throw error;
                } finally {
                    muse.dispose();
                }
            }

            document.querySelector('muse-tagger')?.addEventListener('muse-result', ({ detail }) => console.log(detail.entities.length));
            const kept: boolean = await Muse.cached('model.muse', { sha256: '' });
            const { ok, reason }: { ok: boolean; reason: string } = Muse.supported();
            console.log(kept, ok, reason);";
        let bad = "
            import { Muse } from 'muse-web';
            const muse = await Muse.load('model.muse', { device: 'abacus' });
            const answer: string = await muse.tag({ image: null });
            new Muse();
            export { answer };";
        let project = project(setup, &[("good.ts", good), ("bad.ts", bad)]);
        let check = |file: &str| {
            let mut tsc = tool(setup, "typescript/bin/tsc", project.path());
            tsc.args([
                "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext",
            ]);
            tsc.args(["--lib", "es2023,dom,dom.iterable", "--types", "", file]);
            tsc
        };
        output(&mut check("good.ts"));
        let refused = check("bad.ts").output().expect("tsc runs");
        let complaint = String::from_utf8_lossy(&refused.stdout);
        let lines = complaint
            .lines()
            .filter(|line| line.starts_with("bad.ts"))
            .count();
        assert_eq!(lines, 4, "four mistakes: {complaint}");
    });
}
