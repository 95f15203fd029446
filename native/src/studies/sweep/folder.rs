//! The folder of a sweep: a folder for each run below `runs/`, and how far each has come.
//!
//! A run's folder is found by the digest of its configuration at the end of its name. So a sweep file may be changed at
//! any time: runs that it still asks for are recognised, and a configuration that is another one is another run. (The data's
//! contents are no part of a configuration: after a change of the data, sweep into another folder.)

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::metrics::Metrics;
use super::plan::Run;
use crate::output::write_file;
use crate::train::folder::lock;

/// Says that a run is complete. What it needs then is this, `config.toml` and `metrics.csv`.
const DONE: &str = "done";
/// Holds the error that a run failed with.
const FAILED: &str = "failed.txt";

/// How far a run has come.
#[derive(Clone, Debug)]
pub enum State {
    /// Not begun.
    Open,
    /// Begun and interrupted.
    Begun,
    /// Complete.
    Done(Metrics),
    /// Ended by this error; it is tried again the next time.
    Failed(String),
}

impl State {
    /// For people and for the CSV.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Begun => "begun",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
        }
    }
}

/// The folder of a sweep.
#[derive(Debug)]
pub struct SweepFolder {
    /// The folder itself.
    pub out: PathBuf,
    /// The runs' folders by the digest of their configuration.
    known: BTreeMap<String, PathBuf>,
}

impl SweepFolder {
    /// Looks at what is there; nothing is written.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn look(out: &Path) -> anyhow::Result<Self> {
        let runs = out.join("runs");
        let unreadable = || format!("cannot read {}", runs.display());
        let mut known = BTreeMap::new();
        match std::fs::read_dir(&runs) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.with_context(unreadable)?.path();
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    if let Some((_, id)) = name.rsplit_once('-') {
                        known.insert(id.to_owned(), path.clone());
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(unreadable),
        }
        Ok(Self {
            out: out.to_path_buf(),
            known,
        })
    }

    /// Makes the folder if it is not there, and keeps other sweeps out as long as the file lives.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or another sweep is at it.
    pub fn claim(out: &Path) -> anyhow::Result<File> {
        std::fs::create_dir_all(out.join("runs"))
            .with_context(|| format!("cannot make the sweep's folder {}", out.display()))?;
        lock(out)
    }

    /// Where a run is, or will be.
    pub fn path(&self, run: &Run) -> PathBuf {
        let new = || self.out.join("runs").join(&run.folder);
        self.known.get(&run.id).cloned().unwrap_or_else(new)
    }

    /// How far a run has come.
    ///
    /// # Errors
    ///
    /// When its files cannot be read, or its `config.toml` has been changed.
    pub fn state(&self, run: &Run) -> anyhow::Result<State> {
        let path = self.path(run);
        let echo = path.join("config.toml");
        let begun = match read(&echo)? {
            Some(text) => {
                ensure!(
                    text == run.echo,
                    "{} is not the configuration that the folder is named after; remove the folder to train anew",
                    echo.display()
                );
                true
            }
            None => false,
        };
        if begun && path.join(DONE).exists() {
            return Ok(State::Done(Metrics::read(&path.join("metrics.csv"))?));
        }
        Ok(match read(&path.join(FAILED))? {
            Some(error) => State::Failed(error),
            None if begun => State::Begun,
            None => State::Open,
        })
    }

    /// Forgets the error of an earlier attempt.
    ///
    /// # Errors
    ///
    /// When the file cannot be removed.
    pub fn forget_failure(path: &Path) -> anyhow::Result<()> {
        remove(&path.join(FAILED))
    }

    /// Keeps the error that a run ended with.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn fail(path: &Path, error: &str) -> anyhow::Result<()> {
        write_file(&path.join(FAILED), error.as_bytes())
    }

    /// Marks a run as complete, then drops what only training needs.
    ///
    /// # Errors
    ///
    /// When the run has left no scores, or a file cannot be written or removed.
    pub fn finish(path: &Path, keep_model: bool) -> anyhow::Result<Metrics> {
        let metrics = Metrics::read(&path.join("metrics.csv"))?;
        write_file(&path.join(DONE), b"")?;
        Self::tidy(path, keep_model)?;
        Ok(metrics)
    }

    /// Drops what a complete run does not need. The checkpoints go last: while they are there, this is to be done again.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn tidy(path: &Path, keep_model: bool) -> anyhow::Result<()> {
        let checkpoints = path.join("checkpoints");
        if !checkpoints.exists() {
            return Ok(());
        }
        if !keep_model {
            remove(&path.join("best.muse"))?;
        }
        std::fs::remove_dir_all(&checkpoints)
            .with_context(|| format!("cannot remove {}", checkpoints.display()))
    }
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
