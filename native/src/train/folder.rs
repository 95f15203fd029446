//! A run's folder: whose it is, what is in it, and how far the run has come.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::checkpoint;
use crate::output::write_file;

/// The files of a run's folder. Nobody else trains into it while this lives.
pub struct RunFolder {
    /// The scores of each epoch.
    pub metrics: PathBuf,
    /// The best model so far.
    pub best: PathBuf,
    /// What to resume from.
    pub checkpoints: PathBuf,
    /// Echo of the configuration. It says that there is a run.
    config: PathBuf,
    echo: String,
    /// Copy of the model that the run started from, with `--init`: a resumed run needs its shape, its labels and its
    /// tokenizer, wherever the original is by then.
    init: PathBuf,
    resumed: bool,
    _lock: File,
}

impl RunFolder {
    /// Opens the folder for a run with `config`, new or resumed; gives the steps after which there are checkpoints, ascending.
    ///
    /// # Errors
    ///
    /// When a new run finds one there, a resumed run finds none or one of another configuration, or another process is
    /// at it.
    pub fn open(
        out: &Path,
        config: &impl Serialize,
        resume: bool,
    ) -> anyhow::Result<(Self, Vec<usize>)> {
        let shown = out.display();
        let checkpoints = out.join("checkpoints");
        std::fs::create_dir_all(&checkpoints)
            .with_context(|| format!("cannot make the run's folder {shown}"))?;
        let folder = Self {
            config: out.join("config.toml"),
            metrics: out.join("metrics.csv"),
            best: out.join("best.muse"),
            init: out.join("init.muse"),
            echo: toml::to_string(config)?,
            resumed: resume,
            _lock: lock(out)?,
            checkpoints,
        };
        let known = match std::fs::read_to_string(&folder.config) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read {}", folder.config.display()));
            }
        };
        let unreadable = || format!("cannot read {}", folder.checkpoints.display());
        let saved = match (known, resume) {
            (Some(_), false) => bail!(
                "{shown} holds a run already; --resume goes on with it, another --out begins anew"
            ),
            (Some(known), true) if known != folder.echo => bail!(
                "the configuration is not that of the run in {shown} (see {}); resume with the same one, or begin \
                 anew with another --out",
                folder.config.display()
            ),
            (None, true) => bail!("there is no run in {shown}; leave out --resume to begin one"),
            (None, false) => {
                let stray = checkpoint::complete(&folder.checkpoints).with_context(unreadable)?;
                ensure!(
                    stray.is_empty(),
                    "{} holds checkpoints, but the run's config.toml is gone; begin anew with another --out",
                    folder.checkpoints.display()
                );
                Vec::new()
            }
            (Some(_), true) => checkpoint::tidy(&folder.checkpoints).with_context(unreadable)?,
        };
        Ok((folder, saved))
    }

    /// The model file that the run starts from, if any; `asked` is what the command line names.
    pub fn init<'a>(&'a self, asked: Option<&'a Path>) -> Option<&'a Path> {
        match self.resumed {
            true => Some(self.init.as_path()).filter(|path| path.exists()),
            false => asked,
        }
    }

    /// Says that the run begins; until then a failure leaves the folder free for another attempt.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written, or the model to start from not be read.
    pub fn begin(&self, asked: Option<&Path>) -> anyhow::Result<()> {
        if self.resumed {
            return Ok(());
        }
        match asked {
            Some(path) => {
                let bytes = std::fs::read(path)
                    .with_context(|| format!("cannot read the model {}", path.display()))?;
                write_file(&self.init, &bytes)?;
            }
            // Of an attempt that was killed right here.
            None => match std::fs::remove_file(&self.init) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", self.init.display()));
                }
                _ => {}
            },
        }
        write_file(&self.config, self.echo.as_bytes())
    }
}

/// Held as long as the process lives, however it ends.
pub(crate) fn lock(out: &Path) -> anyhow::Result<File> {
    let path = out.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another muse trains into {} right now", out.display())
        }
        // A file system without locks.
        Err(std::fs::TryLockError::Error(_)) => {}
    }
    Ok(file)
}
