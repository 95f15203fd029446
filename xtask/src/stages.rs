//! `cargo xtask test`: every check of the project, timed.

mod count;

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    command::{self, cargo},
    package,
    project::{self, Project},
    site::{SHIPPED, Site},
    sizes,
    tools::{browser, vulkan},
    tree, weights,
};
use count::Count;

/// What a stage came to.
enum Outcome {
    Passed,
    /// It could not run here, and why.
    Skipped(String),
    Failed(String),
}

impl From<Result<()>> for Outcome {
    fn from(result: Result<()>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

/// One run of the checks.
struct Checks {
    project: Project,
    weights: PathBuf,
    /// Nobody watches: nothing may be skipped, nor Cargo.lock changed.
    ci: bool,
    /// Whether the machine has software Vulkan, once that has been looked for.
    vulkan: Option<Result<(), String>>,
    count: Count,
}

type Stage = fn(&mut Checks) -> Outcome;

const STAGES: [(&str, Stage); 11] = [
    ("format", Checks::format),
    ("tree", Checks::tree),
    ("weights", Checks::weights),
    ("vulkan", Checks::vulkan),
    ("clippy", Checks::clippy),
    ("tests", Checks::tests),
    ("gpu", Checks::gpu),
    ("docs", Checks::docs),
    ("web", Checks::web),
    ("sizes", Checks::sizes),
    ("browser", Checks::browser),
];

/// Runs all stages, or those with the given names, and sums up.
pub(crate) fn run(project: &Project, names: &[&str]) -> Result<()> {
    for name in names {
        if !STAGES.iter().any(|(stage, _)| stage == name) {
            let all: Vec<_> = STAGES.iter().map(|(stage, _)| *stage).collect();
            bail!("no stage is called `{name}`; there are {}", all.join(", "));
        }
    }
    let mut checks = Checks {
        project: project.clone(),
        weights: project.weights()?,
        ci: project::on_ci(),
        vulkan: None,
        count: Count::default(),
    };
    let start = Instant::now();
    let mut summary = Vec::new();
    for (name, stage) in STAGES {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        eprintln!("\n=== {name}");
        let began = Instant::now();
        let outcome = match stage(&mut checks) {
            Outcome::Skipped(why) if checks.ci => {
                Outcome::Failed(format!("skipped, which CI does not allow: {why}"))
            }
            outcome => outcome,
        };
        match &outcome {
            Outcome::Passed => {}
            Outcome::Skipped(why) => eprintln!("SKIPPED {name}: {why}"),
            Outcome::Failed(why) => eprintln!("FAILED {name}: {why}"),
        }
        summary.push((name, outcome, began.elapsed()));
    }
    checks.sum_up(&summary, start.elapsed())
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

    fn format(&mut self) -> Outcome {
        command::run(self.cargo("fmt").args(["--all", "--check"])).into()
    }

    fn tree(&mut self) -> Outcome {
        tree::check(&self.project.root).into()
    }

    fn weights(&mut self) -> Outcome {
        weights::ensure(&self.weights, None).into()
    }

    fn vulkan(&mut self) -> Outcome {
        let found = vulkan::ensure().map_err(|error| format!("{error:#}"));
        self.vulkan = Some(found.clone());
        match found {
            Ok(()) => Outcome::Passed,
            Err(why) => Outcome::Skipped(why),
        }
    }

    fn clippy(&mut self) -> Outcome {
        command::run(
            self.cargo("clippy")
                .args(["--release", "--workspace", "--all-targets"])
                .args(["--", "-D", "warnings"]),
        )
        .into()
    }

    fn tests(&mut self) -> Outcome {
        let mut cargo = self.cargo("test");
        cargo
            .args(["--release", "--workspace", "--no-fail-fast"])
            .env("MUSE_TEST_DEVICE", "flex")
            // They have a stage of their own.
            .env("MUSE_BROWSER", "0");
        command::run_lines(&mut cargo, |line| self.count.add(line)).into()
    }

    /// The golden tests once more, on Vulkan in software: the kernels that a GPU runs, on any machine.
    fn gpu(&mut self) -> Outcome {
        if self.vulkan.is_none() {
            self.vulkan();
        }
        if let Some(Err(why)) = &self.vulkan {
            return Outcome::Skipped(why.clone());
        }
        let mut cargo = self.cargo("test");
        cargo
            .args(["--release", "--workspace", "--no-fail-fast"])
            .args(["--test", "golden*"])
            .env("MUSE_TEST_DEVICE", "wgpu")
            .env("MUSE_TEST_GPU", "1")
            .env("CUBECL_WGPU_DEFAULT_DEVICE", "Cpu");
        command::run_lines(&mut cargo, |line| self.count.add(line)).into()
    }

    fn docs(&mut self) -> Outcome {
        // The whole workspace, since a part of it would build burn again with fewer features.
        command::run(
            self.cargo("doc")
                .args(["--release", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
        .into()
    }

    /// The tools of the web stages; that they are missing is no fault of the code's.
    fn site(&self) -> Result<Site, Outcome> {
        Site::new(&self.project, SHIPPED).map_err(|error| Outcome::Skipped(format!("{error:#}")))
    }

    /// Both modules, the page and the package, as they are shipped.
    fn web(&mut self) -> Outcome {
        let site = match self.site() {
            Ok(site) => site,
            Err(outcome) => return outcome,
        };
        let folder = package::folder(&self.project);
        site.build(&site.dist())
            .and_then(|()| site.build_package(&folder))
            .and_then(|()| package::check(&self.project, &folder))
            .into()
    }

    fn sizes(&mut self) -> Outcome {
        match self.site() {
            Ok(site) => sizes::run(&site, false).into(),
            Err(outcome) => outcome,
        }
    }

    /// The page and the package in a real browser, as the stage `web` left them.
    fn browser(&mut self) -> Outcome {
        let browser = match browser::ensure() {
            Ok(browser) => browser,
            Err(error) => return Outcome::Skipped(format!("{error:#}")),
        };
        let dist = match self.web() {
            Outcome::Passed => Site::dist_of(&self.project, SHIPPED),
            other => return other,
        };
        let mut cargo = self.cargo("test");
        cargo
            .args(["--release", "--workspace", "--test", "browser"])
            // One browser at a time: they share the processor, and some tests measure time.
            .args(["--", "--test-threads=1"])
            .env("MUSE_BROWSER", "1")
            .env("MUSE_DIST", dist)
            .env("MUSE_PACKAGE", package::folder(&self.project))
            .env("MUSE_NPM", self.project.target.join("npm"))
            .env("CHROME", browser.chrome)
            .env("CHROMEDRIVER", browser.driver);
        command::run_lines(&mut cargo, |line| self.count.add(line)).into()
    }

    fn sum_up(&self, summary: &[(&str, Outcome, Duration)], total: Duration) -> Result<()> {
        println!("\n=== summary");
        for (name, outcome, time) in summary {
            let (word, why) = match outcome {
                Outcome::Passed => ("passed", String::new()),
                Outcome::Skipped(why) => ("SKIPPED", format!("  {why}")),
                Outcome::Failed(why) => ("FAILED", format!("  {why}")),
            };
            println!("{name:<8} {word:<8} {:>9}{why}", minutes(*time));
        }
        println!("{:<17} {:>9}", "total", minutes(total));
        let Count {
            passed,
            failed,
            ignored,
        } = self.count;
        if passed + failed + ignored > 0 {
            println!("{passed} passed, {failed} failed, {ignored} skipped");
        }
        let failures = summary
            .iter()
            .filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
            .count();
        if failures > 0 {
            bail!("{failures} of {} stages failed", summary.len());
        }
        Ok(())
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", seconds as u64 / 60, seconds as u64 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(minutes(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(minutes(Duration::from_secs(754)), "12 min 34 s");
    }
}
