//! One training, by the same program as a child process: its memory is the system's again when it ends, and Ctrl-C reaches
//! it as it reaches `muse train`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::device::DeviceChoice;
use crate::output;
use crate::train::folder::lock;

/// How long a training that a killed program left behind may take to notice that.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a training ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// With all epochs done.
    Complete,
    /// By Ctrl-C, or before it began for the same reason.
    Interrupted,
    /// With an error.
    Failed(String),
}

/// What all trainings of a sweep, say, have in common.
#[derive(Debug)]
pub struct Launcher {
    program: PathBuf,
    base: PathBuf,
    device: DeviceChoice,
    stopped: Arc<AtomicBool>,
}

impl Launcher {
    /// Listens for Ctrl-C from now on.
    ///
    /// # Errors
    ///
    /// When the program does not know where it is, or cannot listen.
    pub fn new(base: &Path, device: DeviceChoice) -> anyhow::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stopped);
        ctrlc::set_handler(move || {
            if !asked.swap(true, Ordering::SeqCst) {
                output::tell("stopping when the running training has ended");
            }
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(Self {
            program: std::env::current_exe().context("cannot find this program's file")?,
            base: base.to_path_buf(),
            device,
            stopped,
        })
    }

    /// Whether Ctrl-C was pressed.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Trains into `folder`, or goes on there, with `key=value` overrides; what the training says is passed on and kept in
    /// `log.txt`.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written or the program cannot be started. An error of the training is an [`Ended::Failed`].
    pub fn train(&self, overrides: &[String], folder: &Path) -> anyhow::Result<Ended> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the run's folder {}", folder.display()))?;
        self.wait_for(folder)?;
        if self.stopped() {
            return Ok(Ended::Interrupted);
        }
        let mut command = Command::new(&self.program);
        command
            .arg("train")
            .arg(&self.base)
            .arg("--out")
            .arg(folder)
            .args(["--device", self.device.name()])
            .args(folder.join("config.toml").exists().then_some("--resume"));
        for pair in overrides {
            command.args(["--set", pair]);
        }
        let log = folder.join("log.txt");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let said = match child.stderr.take() {
            Some(stderr) => pass_on(stderr, log)?,
            None => Vec::new(),
        };
        let status = child.wait().context("cannot wait for a training")?;
        Ok(if status.success() {
            Ended::Complete
        } else if self.stopped() {
            Ended::Interrupted
        } else {
            Ended::Failed(reason(&said).unwrap_or_else(|| status.to_string()))
        })
    }

    /// Waits until no other process trains into the folder.
    fn wait_for(&self, folder: &Path) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut told = false;
        loop {
            match lock(folder) {
                Ok(_) => return Ok(()),
                Err(error) if error.is::<std::io::Error>() || start.elapsed() > PATIENCE => {
                    return Err(error);
                }
                Err(_) if self.stopped() => return Ok(()),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        output::tell(format_args!("{error:#}; waiting for its end"));
                    }
                    sleep(Duration::from_millis(200));
                }
            }
        }
    }
}

/// Shows and keeps what comes, line by line; gives the lines.
fn pass_on(from: impl Read, mut log: impl Write) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for line in BufReader::new(from).split(b'\n') {
        let line = line.context("cannot read what a training says")?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        output::tell(format_args!("  {line}"));
        // The log is a convenience: a disk that is full fails where it matters.
        let _ = writeln!(log, "{line}");
        lines.push(line);
    }
    Ok(lines)
}

/// The error, from where it begins, or where the program panicked.
fn reason(said: &[String]) -> Option<String> {
    let at = said
        .iter()
        .rposition(|line| line.starts_with("error: "))
        .or_else(|| said.iter().position(|line| line.contains("panicked at")))?;
    let lines = said[at..].iter().take(8).map(|line| line.trim());
    let text = lines.collect::<Vec<_>>().join(" ");
    Some(text.strip_prefix("error: ").unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_error() {
        let said = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let log = said("training: 2 epochs\nerror: cannot write x:\n  no space\n");
        assert_eq!(reason(&log).unwrap(), "cannot write x: no space");
        let log = said("epoch 1\nthread 'main' panicked at a.rs:1:\nboom\n");
        assert_eq!(
            reason(&log).unwrap(),
            "thread 'main' panicked at a.rs:1: boom"
        );
        assert_eq!(reason(&said("epoch 1: loss 2\n")), None);
    }
}
