//! `muse sweep`: ablations and curves, each setting trained with several seeds.
//!
//! `file` → `plan` (every distinct configuration is one run) → [`launch`](super::launch) in its `folder` →
//! `metrics` → `report` (CSV files and tables) and `figures`.

pub mod figures;
pub mod file;
pub mod folder;
pub mod metrics;
pub mod plan;
pub mod report;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::Args;

use self::file::SweepFile;
use self::folder::{State, SweepFolder};
use self::plan::Plan;
use self::report::Results;
use crate::device::DeviceChoice;
use crate::output;
use crate::studies::launch::{Ended, Launcher};
use crate::values::assignment;

/// What `muse sweep` was asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
Files of the folder: runs.csv (a row for each setting and seed), summary.csv (means and sample standard
deviations), and as .svg and .png table, curve-N-NAME, and for each of them NAME-learning. A sweep that was
interrupted, or whose file has changed, goes on with the same command: complete runs are not repeated.")]
pub struct Options {
    /// The sweep file: a base configuration, seeds, rows and curves, in TOML
    pub file: PathBuf,
    /// Folder of the runs, tables and plots
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Override a setting of every run, unless a row or curve has it; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub overrides: Vec<String>,
    /// Train only this row or curve ("table" is all rows); may be given several times
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// List the runs and how far they are, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Train nothing; write the tables and plots of what is complete
    #[arg(long, conflicts_with_all = ["dry_run", "only"])]
    pub redraw: bool,
    /// Where to train
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
}

/// Trains all runs that are not complete, and writes tables and plots.
///
/// # Errors
///
/// When the sweep file or a configuration cannot be used, before anything is trained; when the folder cannot be written;
/// after an interruption; and in the end, when a run has failed or a score is in no run.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let file = SweepFile::load(&options.file)?;
    let plan = Plan::new(&file, &options.overrides)?;
    let chosen = plan.chosen(&options.only)?;
    if options.dry_run {
        let folder = SweepFolder::look(&options.out)?;
        return list(&plan, &states(&plan, &folder)?, &folder, &chosen);
    }

    let _claim = SweepFolder::claim(&options.out)?;
    let folder = SweepFolder::look(&options.out)?;
    let shown = |run| {
        let path = folder.path(run);
        let inside = path.strip_prefix(&options.out).unwrap_or(&path);
        inside.to_string_lossy().into_owned()
    };
    let mut results = Results {
        plan: &plan,
        states: states(&plan, &folder)?,
        folders: plan.runs.iter().map(shown).collect(),
    };
    let mut interrupted = false;
    if !options.redraw {
        let launcher = Launcher::new(&plan.base, options.device)?;
        interrupted = train(options, &file, &folder, &chosen, &launcher, &mut results)?;
    }

    results.write(&options.out)?;
    figures::draw(&results, &file.scores, &options.out)?;
    io::stdout().write_all(results.markdown(&file.scores).as_bytes())?;
    verdict(&results, &chosen, interrupted, &file.scores)
}

fn states(plan: &Plan, folder: &SweepFolder) -> anyhow::Result<Vec<State>> {
    plan.runs.iter().map(|run| folder.state(run)).collect()
}

/// Trains; gives whether that was interrupted.
fn train(
    options: &Options,
    file: &SweepFile,
    folder: &SweepFolder,
    chosen: &BTreeSet<usize>,
    launcher: &Launcher,
    results: &mut Results,
) -> anyhow::Result<bool> {
    let plan = results.plan;
    for (place, &at) in (1..).zip(chosen) {
        let run = &plan.runs[at];
        let path = folder.path(run);
        if let State::Done(_) = results.states[at] {
            // Of a sweep that was killed right after the run.
            SweepFolder::tidy(&path, file.keep_models)?;
            continue;
        }
        if launcher.stopped() {
            return Ok(true);
        }
        output::tell(format_args!(
            "run {place} of {}: {}",
            chosen.len(),
            run.title
        ));
        SweepFolder::forget_failure(&path)?;
        results.states[at] = match launcher.train(&run.overrides, &path)? {
            Ended::Interrupted => {
                results.states[at] = folder.state(run)?;
                return Ok(true);
            }
            Ended::Complete => State::Done(SweepFolder::finish(&path, file.keep_models)?),
            Ended::Failed(error) => {
                SweepFolder::fail(&path, &error)?;
                State::Failed(error)
            }
        };
        results.write(&options.out)?;
    }
    Ok(false)
}

/// How the sweep ended.
fn verdict(
    results: &Results,
    chosen: &BTreeSet<usize>,
    interrupted: bool,
    scores: &[String],
) -> anyhow::Result<()> {
    let states = || chosen.iter().map(|&run| (run, &results.states[run]));
    let done = states()
        .filter(|(_, state)| matches!(state, State::Done(_)))
        .count();
    if interrupted {
        bail!(
            "interrupted with {done} of {} runs done; the same command goes on",
            chosen.len()
        );
    }
    let mut failed = 0;
    for (run, state) in states() {
        if let State::Failed(error) = state {
            failed += 1;
            output::tell(format_args!(
                "failed: {}: {error}",
                results.plan.runs[run].title
            ));
        }
    }
    ensure!(
        failed == 0,
        "{failed} of {} runs failed; the same command tries them again",
        chosen.len()
    );
    let known = results.scores();
    for score in scores {
        ensure!(
            done == 0 || known.contains(&score.as_str()),
            "no run has a score {score:?}; scores in the sweep file names some of: {}",
            known.join(", ")
        );
    }
    Ok(())
}

/// Lists the runs on standard output.
fn list(
    plan: &Plan,
    states: &[State],
    folder: &SweepFolder,
    chosen: &BTreeSet<usize>,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for &at in chosen {
        let run = &plan.runs[at];
        let wanted_for = plan.parts.iter().flat_map(|part| {
            let settings = part.settings.iter().filter(|s| s.runs.contains(&at));
            settings.map(move |setting| format!("{}: {}", part.name, setting.name))
        });
        writeln!(
            out,
            "{:6} {}",
            states[at].name(),
            folder.path(run).display()
        )?;
        writeln!(
            out,
            "       {}",
            output::plain(&wanted_for.collect::<Vec<_>>().join("; "))
        )?;
        writeln!(out, "       {}", output::plain(&run.overrides.join(" ")))?;
    }
    let settings: usize = plan.parts.iter().map(|part| part.settings.len()).sum();
    writeln!(
        out,
        "{} of {} runs, for {settings} settings with {} seeds",
        chosen.len(),
        plan.runs.len(),
        plan.seeds.len()
    )?;
    Ok(())
}
