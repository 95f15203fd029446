//! The project's chores, run as `cargo xtask <command>`; `cargo xtask --help` lists them.

mod command;
mod modules;
mod new;
mod progress;
mod project;
mod serve;
mod site;
mod stages;
mod tools;
mod train_shipped;
mod tree;
mod weights;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{modules::Build, project::Project};

/// The project's chores.
///
/// What they need and do not find they install below cargo's target folder or by apt-get, or name it in one line.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", after_help = ENVIRONMENT)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

const ENVIRONMENT: &str = "\
Environment:
  MUSE_WEIGHTS          Folder of the pretrained encoders (default: weights/ in the checkout)
  CHROME, CHROMEDRIVER  The browser of the browser stage and its driver (default: Chromium's on the PATH)
  CARGO_TARGET_DIR      Where cargo builds (default: target/ in the checkout)
  CI=true               A stage that cannot run is a failure, and Cargo.lock must be up to date";

#[derive(Subcommand)]
enum Chore {
    /// Build the page for this machine, serve it and reload it when a source changes; needs nothing but Rust
    Serve {
        /// This port instead of the first free one from 8080
        #[arg(long)]
        port: Option<u16>,
        /// Do not build WebGPU's module
        #[arg(long)]
        cpu: bool,
    },
    /// Build the page as a static folder, small, for any host and path; needs Node.js with npm, as package does
    BuildWeb {
        /// The folder (default: dist/ in the checkout)
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Build the npm package muse-web
    Package {
        /// The folder (default: site/muse-web in cargo's target folder)
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Run every check, or only the named stages; a failure does not stop the later ones
    Test {
        #[arg(value_name = "STAGE", value_parser = stages::names())]
        stages: Vec<String>,
    },
    /// Fetch and verify the two default pretrained encoders
    Weights,
    /// Train the model that the page ships, from the pretrained encoders on: hours; an interrupted one goes on
    TrainShipped {
        /// The folder of the data, laid out as docs/training.md says
        #[arg(long, value_name = "DIR", default_value = "data")]
        data: PathBuf,
        /// The folder of all that comes of it
        #[arg(long, value_name = "DIR", default_value = "runs/shipped")]
        out: PathBuf,
        /// Where to train: auto, gpu or cpu
        #[arg(long, default_value = "auto")]
        device: String,
    },
    /// Look for files and paths that do not belong in the repository
    CheckTree,
    /// What Trunk.toml calls: fill the folder that trunk is about to serve
    #[command(hide = true)]
    Trunk,
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    let project = Project::find()?;
    match chore {
        Chore::Serve { port, cpu } => serve::run(&project, port, cpu),
        Chore::BuildWeb { out } => {
            let out = out.unwrap_or_else(|| project.root.join("dist"));
            site::build(&project, Build::Shipped, &std::path::absolute(out)?)
        }
        Chore::Package { out } => {
            let out = out.unwrap_or_else(|| site::places(&project).1);
            site::package(&project, &std::path::absolute(out)?)
        }
        Chore::Test { stages } => stages::run(&project, &stages),
        Chore::Weights => weights::ensure(&project.weights()?),
        Chore::TrainShipped { data, out, device } => {
            train_shipped::run(&project, &data, &out, &device)
        }
        Chore::CheckTree => tree::check(&project.root),
        Chore::Trunk => site::for_trunk(&project),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
