//! What the subcommands do, one file each.

pub mod caption;
pub mod eval;
pub mod export;
pub mod imagine;
pub mod info;
pub mod line;
pub mod stream;
pub mod tag;

use std::path::Path;

use anyhow::Context;
use muse_core::file::ModelFile;

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
