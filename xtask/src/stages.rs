//! `cargo xtask test`: every check of the project, timed.

use std::{
    cell::OnceCell,
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::{
    command::{self, cargo},
    modules::Build,
    progress::clock,
    project::{self, Project},
    site, tools, tree, weights,
};

/// What is missing on this machine for a stage to run; no fault of the code's.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Missing(anyhow::Error);

/// One run of the checks.
struct Checks {
    project: Project,
    weights: PathBuf,
    /// Nobody watches: nothing may be skipped, nor Cargo.lock changed.
    ci: bool,
    /// What is wrong with the page and the package, once they were to be built.
    built: OnceCell<Option<String>>,
}

/// The web stage, begun before its turn; it ends with us.
struct Ahead(Child);

impl Drop for Ahead {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

type Stage = fn(&Checks) -> Result<()>;

const STAGES: [(&str, Stage); 11] = [
    ("format", Checks::format),
    ("tree", Checks::tree),
    ("weights", Checks::weights),
    ("clippy", Checks::clippy),
    ("tests", Checks::tests),
    ("gpu", Checks::gpu),
    ("docs", Checks::docs),
    ("web", Checks::web),
    ("sizes", Checks::sizes),
    ("trunk", Checks::trunk),
    ("browser", Checks::browser),
];

/// What the stages are called, in their order.
pub(crate) fn names() -> [&'static str; STAGES.len()] {
    STAGES.map(|(name, _)| name)
}

/// Runs all stages, or those with the given names, and sums up.
pub(crate) fn run(project: &Project, names: &[String]) -> Result<()> {
    let checks = Checks {
        project: project.clone(),
        weights: project.weights()?,
        ci: project::on_ci(),
        built: OnceCell::new(),
    };
    let start = Instant::now();
    let mut ahead = names.is_empty().then(|| checks.web_ahead()).transpose()?;
    let (mut summary, mut failures) = (Vec::new(), 0);
    for (name, stage) in STAGES {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("\n=== {name}");
        let began = Instant::now();
        if name == "web"
            && let Some(mut ahead) = ahead.take()
        {
            ahead.0.wait()?;
        }
        let outcome = match stage(&checks) {
            Ok(()) => "passed".to_owned(),
            Err(error) if error.is::<Missing>() && !checks.ci => format!("SKIPPED: {error:#}"),
            Err(error) => {
                failures += 1;
                format!("FAILED: {error:#}")
            }
        };
        if outcome != "passed" {
            eprintln!("{name} {outcome}");
        }
        summary.push(format!(
            "{name:<8} {:>6}  {outcome}",
            clock(began.elapsed())
        ));
    }
    println!("\n=== summary\n{}", summary.join("\n"));
    println!("{:<8} {:>6}", "total", clock(start.elapsed()));
    if failures > 0 {
        bail!("{failures} of {} stages failed", summary.len());
    }
    Ok(())
}

impl Checks {
    fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = cargo(&self.project.root);
        cargo.arg(subcommand).env("MUSE_WEIGHTS", &self.weights);
        if self.ci && subcommand != "fmt" {
            cargo.arg("--locked");
        }
        cargo
    }

    fn format(&self) -> Result<()> {
        command::run(self.cargo("fmt").args(["--all", "--check"]))
    }

    fn tree(&self) -> Result<()> {
        tree::check(&self.project.root)
    }

    fn weights(&self) -> Result<()> {
        weights::ensure(&self.weights)
    }

    fn clippy(&self) -> Result<()> {
        command::run(
            self.cargo("clippy")
                .args(["--release", "--workspace", "--all-targets"])
                .args(["--", "-D", "warnings"]),
        )
    }

    fn tests(&self) -> Result<()> {
        command::run(
            self.cargo("test")
                .args(["--release", "--workspace", "--no-fail-fast"])
                .env("MUSE_TEST_DEVICE", "flex")
                // They have a stage of their own.
                .env("MUSE_BROWSER", "0"),
        )
    }

    /// The golden tests once more, on Vulkan in software: the kernels that a GPU runs, on any machine.
    fn gpu(&self) -> Result<()> {
        tools::vulkan().map_err(Missing)?;
        command::run(
            self.cargo("test")
                .args(["--release", "--workspace", "--no-fail-fast"])
                .args(["--test", "golden*"])
                .env("MUSE_TEST_DEVICE", "wgpu")
                .env("MUSE_TEST_GPU", "1")
                .env("CUBECL_WGPU_DEFAULT_DEVICE", "Cpu"),
        )
    }

    fn docs(&self) -> Result<()> {
        // The whole workspace, since a part of it would build burn again with fewer features.
        command::run(
            self.cargo("doc")
                .args(["--release", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    }

    /// Both modules, the page and the package, as they are shipped; built once a run.
    fn web(&self) -> Result<()> {
        tools::node_modules(&self.project).map_err(Missing)?;
        tools::wasm_target().map_err(Missing)?;
        let (dist, package) = site::places(&self.project);
        let fault = self.built.get_or_init(|| {
            site::build(&self.project, Build::Shipped, &dist)
                .and_then(|()| site::package(&self.project, &package))
                .err()
                .map(|error| format!("{error:#}"))
        });
        match fault {
            Some(fault) => bail!("the page could not be built: {fault}"),
            None => Ok(()),
        }
    }

    /// Builds them meanwhile: linking keeps a single core busy for minutes. The stage tells what is wrong with it.
    fn web_ahead(&self) -> Result<Ahead> {
        let site = self.project.target.join("site");
        fs::create_dir_all(&site)?;
        let log = site.join("web.log");
        eprintln!(
            "web: is built beside the other stages, log in {}",
            log.display()
        );
        let log = File::create(log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["test", "web"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        Ok(Ahead(child.context("cannot start the web stage ahead")?))
    }

    /// What a visitor loads, beside the limits in xtask/npm/package.json.
    fn sizes(&self) -> Result<()> {
        self.web()?;
        let npm = tools::node_modules(&self.project).map_err(Missing)?;
        let program = npm.join("node_modules/size-limit/bin.js");
        command::run(Command::new("node").current_dir(&npm).arg(program))
    }

    /// Trunk makes the same page.
    fn trunk(&self) -> Result<()> {
        self.web()?;
        let trunk = tools::trunk(&self.project).map_err(Missing)?;
        let folder = tempfile::tempdir()?;
        command::run(
            Command::new(trunk)
                .current_dir(&self.project.root)
                .args(["build", "--release", "--offline", "--dist"])
                .arg(folder.path())
                .env("CARGO_TARGET_DIR", &self.project.target)
                // Trunk takes this variable for an option of its own and stops at most of its values.
                .env_remove("NO_COLOR"),
        )?;
        let (dist, _) = site::places(&self.project);
        let contents = |folder| site::hash(folder).context("the page");
        if contents(folder.path())? != contents(&dist)? {
            bail!("trunk's page is not that of build-web");
        }
        Ok(())
    }

    /// The page and the package in a real browser, as the stage `web` left them.
    fn browser(&self) -> Result<()> {
        let browser = tools::browser().map_err(Missing)?;
        self.web()?;
        let npm = tools::node_modules(&self.project).map_err(Missing)?;
        let (dist, package) = site::places(&self.project);
        command::run(
            self.cargo("test")
                .args(["--release", "--workspace", "--test", "browser"])
                // What measures time runs alone in any case.
                .args(["--", "--test-threads=2"])
                .env("MUSE_BROWSER", "1")
                .env("MUSE_DIST", dist)
                .env("MUSE_PACKAGE", package)
                .env("MUSE_NPM", npm)
                .env("CHROME", browser.chrome)
                .env("CHROMEDRIVER", browser.driver),
        )
    }
}
