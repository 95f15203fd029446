//! Checkpoints that are whole or absent: written beside, then renamed; the one before is kept until the next is complete.

use std::path::{Path, PathBuf};

use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;

/// The three files of a checkpoint. Their number is that of the steps done.
pub const PARTS: [&str; 3] = ["model", "optimizer", "scheduler"];

/// Saves one part of the checkpoints.
pub struct AtomicCheckpointer {
    folder: PathBuf,
    part: &'static str,
}

impl AtomicCheckpointer {
    /// For the part `part` (one of [`PARTS`]) in `folder`, which exists.
    pub fn new(folder: &Path, part: &'static str) -> Self {
        Self {
            folder: folder.to_path_buf(),
            part,
        }
    }

    fn path(&self, step: usize) -> PathBuf {
        path(&self.folder, self.part, step)
    }
}

fn path(folder: &Path, part: &str, step: usize) -> PathBuf {
    folder.join(format!("{part}-{step}.bpk"))
}

impl<R: Checkpoint> Checkpointer<R> for AtomicCheckpointer {
    fn save(&self, step: usize, record: R) -> Result<(), CheckpointerError> {
        let target = self.path(step);
        let beside = self.folder.join(format!(".{}-{step}.part.bpk", self.part));
        record.save(beside.clone())?;
        let synced = std::fs::File::open(&beside).and_then(|file| file.sync_all());
        synced
            .and_then(|()| std::fs::rename(&beside, &target))
            .map_err(CheckpointerError::IOError)
    }

    fn delete(&self, step: usize) -> Result<(), CheckpointerError> {
        match std::fs::remove_file(self.path(step)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CheckpointerError::IOError(error))
            }
            _ => Ok(()),
        }
    }

    fn restore(&self, step: usize) -> Result<R, CheckpointerError> {
        R::load(self.path(step))
    }
}

/// Saves whenever asked, and keeps the last two.
///
/// The parts are written by a thread each, which takes the next order only when the last is carried out: once all three
/// have taken the order to save checkpoint n, checkpoint n − 1 is complete, and n − 2 may go.
#[derive(Default)]
pub struct KeepTwo {
    saved: Vec<usize>,
}

impl KeepTwo {
    /// With a checkpoint that is there already.
    pub fn after(step: Option<usize>) -> Self {
        Self {
            saved: step.into_iter().collect(),
        }
    }
}

impl CheckpointingStrategy for KeepTwo {
    fn checkpointing(&mut self, step: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        self.saved.push(step);
        let mut actions = vec![CheckpointingAction::Save];
        while self.saved.len() > 2 {
            actions.push(CheckpointingAction::Delete(self.saved.remove(0)));
        }
        actions
    }
}

/// The newest complete checkpoint of a folder, in steps. Removes what a killed run left half-written.
pub fn newest(folder: &Path) -> std::io::Result<Option<usize>> {
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains(".part") {
            std::fs::remove_file(&path)?;
        } else if let Some(step) = name
            .strip_prefix("model-")
            .and_then(|rest| rest.strip_suffix(".bpk")?.parse().ok())
        {
            steps.push(step);
        }
    }
    Ok(steps
        .into_iter()
        .filter(|&step| PARTS.iter().all(|part| path(folder, part, step).exists()))
        .max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_checkpoints_count() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
        assert_eq!(newest(folder.path()).unwrap(), None);
        for part in PARTS {
            touch(&format!("{part}-20.bpk"));
        }
        touch("model-30.bpk");
        touch("optimizer-30.bpk");
        touch(".scheduler-30.part.bpk");
        assert_eq!(newest(folder.path()).unwrap(), Some(20));
        assert!(!folder.path().join(".scheduler-30.part.bpk").exists());
    }
}
