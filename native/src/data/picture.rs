//! A picture file that the command line or a line of data names.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use muse_core::pixels::{self, Pixels};

/// SHA-256 of a picture's bytes.
pub type PictureHash = [u8; 32];

/// No picture file is this long: an uncompressed one at the pixel limit is shorter.
const MAX_PICTURE_BYTES: u64 = 1 << 29;

/// Reads and decodes a picture.
///
/// # Errors
///
/// When the file cannot be read, is too long, or is not a picture.
pub fn read_picture(path: &Path) -> anyhow::Result<Pixels> {
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
