//! `cargo xtask test`: every check of the project, timed.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    command::{self, cargo},
    tools, tree, weights,
};

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

/// Tests counted over all their programs.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Count {
    /// Adds a line like `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines count nothing.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// One run of the checks.
struct Checks {
    root: PathBuf,
    weights: PathBuf,
    /// Nobody watches: nothing may be skipped, nor Cargo.lock changed.
    ci: bool,
    /// Whether the machine has software Vulkan, once that has been looked for.
    vulkan: Option<Result<(), String>>,
    count: Count,
}

type Stage = fn(&mut Checks) -> Outcome;

const STAGES: [(&str, Stage); 9] = [
    ("format", Checks::format),
    ("tree", Checks::tree),
    ("weights", Checks::weights),
    ("vulkan", Checks::vulkan),
    ("clippy", Checks::clippy),
    ("wasm", Checks::wasm),
    ("tests", Checks::tests),
    ("gpu", Checks::gpu),
    ("docs", Checks::docs),
];

/// Runs all stages, or those with the given names, and sums up.
pub(crate) fn run(root: &Path, weights: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        if !STAGES.iter().any(|(stage, _)| stage == name) {
            let all: Vec<_> = STAGES.iter().map(|(stage, _)| *stage).collect();
            bail!("no stage is called `{name}`; there are {}", all.join(", "));
        }
    }
    let mut checks = Checks {
        root: root.to_owned(),
        weights: weights.to_owned(),
        ci: std::env::var("CI").is_ok_and(|value| value == "true" || value == "1"),
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
        let mut cargo = cargo(&self.root);
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
        tree::check(&self.root).into()
    }

    fn weights(&mut self) -> Outcome {
        weights::ensure(&self.weights, None).into()
    }

    fn vulkan(&mut self) -> Outcome {
        let found = tools::software_vulkan().map_err(|error| format!("{error:#}"));
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

    fn wasm(&mut self) -> Outcome {
        tools::wasm_target()
            .and_then(|()| {
                command::run(
                    self.cargo("check")
                        .args(["--release", "-p", "muse-core", "-p", "muse-web"])
                        .args(["--target", tools::WASM]),
                )
            })
            .into()
    }

    fn tests(&mut self) -> Outcome {
        let mut cargo = self.cargo("test");
        cargo
            .args(["--release", "--workspace", "--no-fail-fast"])
            .env("MUSE_TEST_DEVICE", "flex");
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
    fn test_results_are_added_up() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s",
            "test result_is_printed ... ok",
        ] {
            count.add(line);
        }
        assert_eq!((count.passed, count.failed, count.ignored), (13, 2, 1));
    }

    #[test]
    fn times_read_well() {
        assert_eq!(minutes(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(minutes(Duration::from_secs(754)), "12 min 34 s");
    }
}
