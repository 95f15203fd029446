//! What the subcommands do, one file each.

pub mod caption;
pub mod eval;
pub mod export;
pub mod imagine;
pub mod info;
pub mod post;
pub mod stream;
pub mod tag;

use std::fs::File;
use std::io::Read;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use anyhow::{Context, bail};
use muse_core::file::ModelFile;
use muse_core::pixels::{self, Pixels};
use muse_core::tagger::TaggerError;
use muse_core::{Request, Tagged, Tagger};

use crate::device::DeviceChoice;

/// No picture file is this long: an uncompressed one at the pixel limit is shorter.
const MAX_PICTURE_BYTES: u64 = 1 << 29;

/// The bytes of a file that the command line named.
fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A model's contents.
fn load_model_file(path: &Path) -> anyhow::Result<ModelFile> {
    let bytes = read_bytes(path)?;
    ModelFile::from_bytes(&bytes)
        .with_context(|| format!("cannot use {} as a model", path.display()))
}

/// A model, and how captions are best put to it.
#[derive(Debug)]
pub struct Crew {
    tagger: Tagger,
    /// Captions in a batch.
    batch_size: usize,
    /// Batches side by side.
    workers: usize,
}

impl Crew {
    /// Opens the device and loads the model; `batch_size` is what suits the device when `None`.
    ///
    /// # Errors
    ///
    /// When the device cannot be opened, or the file is not a model.
    pub fn load(
        model: &Path,
        device: DeviceChoice,
        batch_size: Option<usize>,
    ) -> anyhow::Result<Self> {
        let bytes = read_bytes(model)?;
        let chosen = device.open()?;
        let tagger = Tagger::from_bytes(&bytes, &chosen.device)
            .with_context(|| format!("cannot use {} as a model", model.display()))?;
        Ok(Self {
            tagger,
            batch_size: batch_size.unwrap_or(chosen.batch_size),
            workers: chosen.workers,
        })
    }

    /// As many captions as keep every worker busy once.
    fn capacity(&self) -> usize {
        self.batch_size * self.workers
    }

    /// Tags captions, the answers in the same order.
    fn tag(&self, requests: &[Request]) -> Result<Vec<Tagged>, TaggerError> {
        let share = requests
            .len()
            .div_ceil(self.workers)
            .clamp(1, self.batch_size);
        let tag = |batch| self.tagger.tag_batch(batch);
        if requests.len() <= share {
            return tag(requests);
        }
        thread::scope(|scope| {
            let batches: Vec<_> = requests
                .chunks(share)
                .map(|batch| scope.spawn(move || tag(batch)))
                .collect();
            let mut tagged = Vec::with_capacity(requests.len());
            for batch in batches {
                let batch = batch.join().unwrap_or_else(|panic| resume_unwind(panic));
                tagged.append(&mut batch?);
            }
            Ok(tagged)
        })
    }
}

/// Reads and decodes a picture.
fn read_picture(path: &Path) -> anyhow::Result<Pixels> {
    let read = || -> anyhow::Result<Pixels> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_PICTURE_BYTES + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_PICTURE_BYTES {
            bail!("the file is over {} MiB", MAX_PICTURE_BYTES >> 20);
        }
        Ok(pixels::decode(&bytes)?)
    };
    read().with_context(|| format!("cannot use {} as a picture", path.display()))
}
