//! Checkpoints that are whole or absent: written beside, then renamed; the one before is kept until the next is complete.
//!
//! One that is made in the middle of an epoch has a fourth file, the sums of the epoch's losses so far. It is written
//! first, so that it is there if the other three are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::store::ModuleRecord;
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
        let last = PARTS.last() == Some(&self.part);
        let losses = last.then(|| losses_path(&self.folder, step));
        std::iter::once(self.path(step))
            .chain(losses)
            .try_for_each(|path| remove(&path))
            .map_err(CheckpointerError::IOError)
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
    /// With checkpoints that are there already, after these steps.
    pub fn after(saved: Vec<usize>) -> Self {
        Self { saved }
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

/// Where the losses of an unfinished epoch are kept.
pub fn losses_path(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("losses-{step}.toml"))
}

/// The steps after which a folder has complete checkpoints, ascending.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn complete(folder: &Path) -> std::io::Result<Vec<usize>> {
    let mut steps = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let step = step_of(&entry?.path());
        steps.extend(step.filter(|&step| is_complete(folder, step)));
    }
    Ok(steps.into_iter().collect())
}

/// Removes what a killed run left: files half-written, and checkpoints that lack a part. Those parts must not meet the
/// parts of a later attempt at the same step: the optimiser knows the weights by numbers that are drawn anew at each start.
///
/// Gives the complete ones, as [`complete`] does.
///
/// # Errors
///
/// When the folder cannot be read, or a file not be removed.
pub fn tidy(folder: &Path) -> std::io::Result<Vec<usize>> {
    let paths = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<BTreeSet<_>>>()?;
    // First what is left of all steps, then what to remove: a step is judged by all of its parts.
    let broken: Vec<_> = paths
        .iter()
        .filter(|path| {
            is_partial(path) || step_of(path).is_some_and(|step| !is_complete(folder, step))
        })
        .collect();
    broken.into_iter().try_for_each(|path| remove(path))?;
    complete(folder)
}

/// Checks that a checkpoint can be read and is one of `model`; burn panics where it is not. `best` is the run's best model.
///
/// # Errors
///
/// Names the file at fault, or what to do with a run that an earlier version began.
pub fn verify<M: Module>(folder: &Path, step: usize, model: &M, best: &Path) -> anyhow::Result<()> {
    let (record, _, _) = restore(folder, step)?;
    let Err(error) = model.clone().try_load_record(record) else {
        return Ok(());
    };
    let weights = path(folder, PARTS[0], step);
    let (weights, problem) = (weights.display(), error.to_string());
    // Whatever the labels are, there is a text encoder: if its weights are missing, they had other names.
    ensure!(
        !(problem.contains("Missing tensors") && problem.contains("\"muse.text.")),
        "the checkpoint {weights} is of an earlier version of this program, and the run cannot be resumed; {}",
        match best.exists() {
            true => format!(
                "its best model is whole, and this begins a run with it: muse train CONFIG --init {} --out NEW",
                best.display()
            ),
            false => "begin anew with another --out".to_owned(),
        }
    );
    Err(error).context(format!(
        "the checkpoint {weights} does not fit the model; is the data what it was, with the same labels?"
    ))
}

/// The parts of a checkpoint.
///
/// # Errors
///
/// Names the file that cannot be read.
pub(crate) fn restore(
    folder: &Path,
    step: usize,
) -> anyhow::Result<(ModuleRecord, OptimizerRecord, LrSchedulerRecord)> {
    let [weights, optimizer, scheduler] = PARTS.map(|part| path(folder, part, step));
    Ok((load(&weights)?, load(&optimizer)?, load(&scheduler)?))
}

fn load<R: Checkpoint>(path: &Path) -> anyhow::Result<R> {
    R::load(path.to_path_buf()).with_context(|| {
        format!(
            "the checkpoint {} is damaged; remove it to go on from the one before",
            path.display()
        )
    })
}

fn is_partial(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.')
}

/// The step of a checkpoint's file.
fn step_of(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    let (part, rest) = name.split_once('-')?;
    let (step, ending) = rest.split_once('.')?;
    let known = match ending {
        "bpk" => PARTS.contains(&part),
        "toml" => part == "losses",
        _ => false,
    };
    step.parse().ok().filter(|_| known)
}

fn is_complete(folder: &Path, step: usize) -> bool {
    PARTS.iter().all(|part| path(folder, part, step).exists())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn only_whole_checkpoints_count() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
        let here = |name: &str| folder.path().join(name).exists();
        assert!(tidy(folder.path()).unwrap().is_empty());
        for part in PARTS {
            touch(&format!("{part}-20.bpk"));
        }
        touch("losses-20.toml");
        touch("model-30.bpk");
        touch("optimizer-30.bpk");
        touch("losses-30.toml");
        touch(".scheduler-30.part.bpk");
        touch("notes.txt");
        assert_eq!(complete(folder.path()).unwrap(), [20]);
        assert!(here(".scheduler-30.part.bpk"), "looking removes nothing");
        assert_eq!(tidy(folder.path()).unwrap(), [20]);
        for name in [
            "model-30.bpk",
            "optimizer-30.bpk",
            "losses-30.toml",
            ".scheduler-30.part.bpk",
        ] {
            assert!(!here(name), "{name}");
        }
        assert!(here("losses-20.toml") && here("notes.txt"));

        let model: Linear = LinearConfig::new(2, 3).init(&Device::flex());
        let error = verify(folder.path(), 20, &model, Path::new("none")).unwrap_err();
        assert!(
            format!("{error:#}").contains("model-20.bpk is damaged"),
            "{error:#}"
        );
    }

    #[test]
    fn a_deleted_checkpoint_takes_its_losses_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = losses_path(folder.path(), 20);
        std::fs::write(&path, "").unwrap();
        for part in PARTS {
            let checkpointer = AtomicCheckpointer::new(folder.path(), part);
            Checkpointer::<()>::delete(&checkpointer, 20).unwrap();
        }
        assert!(!path.exists());
    }
}
