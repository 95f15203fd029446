//! What the subcommands do, one file each.

pub mod eval;
pub mod export;
pub mod info;
pub mod stream;
pub mod tag;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use burn::tensor::Device;
use muse_core::Tagger;
use muse_core::file::ModelFile;
use muse_core::image::pixels::{self, Pixels};

/// No picture file is this long: an uncompressed one at the pixel limit is shorter.
const MAX_PICTURE_BYTES: u64 = 1 << 29;

/// The bytes of a file that the command line named.
fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A model that is ready to tag.
fn load_tagger(path: &Path, device: &Device) -> anyhow::Result<Tagger> {
    let bytes = read_bytes(path)?;
    Tagger::from_bytes(&bytes, device)
        .with_context(|| format!("cannot use {} as a model", path.display()))
}

/// A model's contents.
fn load_model_file(path: &Path) -> anyhow::Result<ModelFile> {
    let bytes = read_bytes(path)?;
    ModelFile::from_bytes(&bytes)
        .with_context(|| format!("cannot use {} as a model", path.display()))
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
