//! What a frozen CNN sees in each picture, kept on disk as f16, so that a picture is decoded and looked at
//! once, not once an epoch; and the picture shrunk to what the image generator draws.
//!
//! An entry is the 64 × C feature map (163 840 bytes for EfficientNet-Lite0) behind a small header, in a
//! file named by its [`Key`]: `ab/cdef….f16`. Files are written beside and renamed, so that several
//! processes may share a folder; an entry that is cut, foreign or damaged counts as absent and is computed
//! again.
//!
//! An entry's time of modification says when it was last used. Where there is no room for a new one, those
//! unused for the longest time go, but none that has been used since the cache was opened: an epoch comes
//! round to its pictures again and again, and if they do not all fit, dropping the oldest each time would
//! drop every one just before it is wanted. The rest is then computed each time. Nothing but entries, and
//! what a killed process has left of them, is ever removed.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use half::f16;
use muse_core::encoders::image::{CnnKind, REGIONS};
use muse_core::pixels::ImagePreparation;
use sha2::{Digest, Sha256};

use super::picture::PictureHash;
use super::views::View;

/// Magic and version, the key, the number of channels, and the SHA-256 of the values.
const HEADER: usize = 8 + 32 + 4 + 32;
/// To be raised when the same weights and picture give other features: another resampling filter, another
/// pooling.
const MAGIC: &[u8; 8] = b"MuSEf16\x01";
const ENDING: &str = "f16";
/// Beginning of the names of files that are being written.
const PARTIAL: &str = "partial-";
/// Nobody takes so long to write one; its writer was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Length of the entry of a picture with so many channels, in bytes.
pub const fn entry_bytes(channels: usize) -> usize {
    HEADER + 2 * REGIONS * channels
}

/// What the features of a picture depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    digest: [u8; 32],
    channels: usize,
}

impl Key {
    /// The key of the features of a picture's view under a CNN: `weights_hash` names its weights (their SHA-256,
    /// say), `picture` is the hash of the picture's bytes.
    pub fn new(
        weights_hash: &str,
        preparation: &ImagePreparation,
        kind: CnnKind,
        picture: &PictureHash,
        view: View,
    ) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(MAGIC);
        hasher.update(format!("{kind:?}\0{}\0", preparation.size));
        for value in preparation.mean.iter().chain(&preparation.std) {
            hasher.update(value.to_le_bytes());
        }
        hasher.update(picture);
        if view != View::WHOLE {
            hasher.update(format!("view {}\0", view.0));
        }
        // Last, as the only part whose length varies and that no zero byte ends.
        hasher.update(weights_hash);
        Self {
            digest: hasher.finalize().into(),
            channels: kind.channels(),
        }
    }

    /// The key of a picture shrunk to 32×32: its 3 × 32 × 32 bytes are kept as if they were 64 regions of 48 channels.
    pub fn thumbnail(picture: &PictureHash) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(MAGIC);
        hasher.update("thumbnail\0");
        hasher.update(picture);
        Self {
            digest: hasher.finalize().into(),
            channels: 3 * 32 * 32 / REGIONS,
        }
    }

    /// Values of an entry: 64 × C.
    pub fn values(&self) -> usize {
        REGIONS * self.channels
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A folder of features. All methods may be called from several threads at once.
#[derive(Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    limit: u64,
    opened: SystemTime,
    size: Mutex<Size>,
    pictures: Mutex<HashMap<PathBuf, Picture>>,
}

/// What is known of the folder's size without looking.
#[derive(Debug, Default)]
struct Size {
    /// Bytes of all entries at the last look, and those added here since.
    total: u64,
    /// Bytes that were to be added here since the last look; other processes may have added as well.
    since: u64,
    /// At the last look nothing could be removed to make room.
    full: bool,
}

/// A picture file whose bytes have been hashed; another length or time means other bytes.
#[derive(Debug)]
struct Picture {
    length: u64,
    modified: Option<SystemTime>,
    hash: PictureHash,
}

struct Entry {
    path: PathBuf,
    length: u64,
    used: SystemTime,
}

impl FeatureCache {
    /// Opens a cache folder, made if need be, of at most `limit` bytes. Where it holds more, those entries
    /// go that have been unused for the longest time.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: impl Into<PathBuf>, limit: u64) -> anyhow::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
        let cache = Self {
            folder,
            limit,
            opened: SystemTime::now(),
            size: Mutex::default(),
            pictures: Mutex::default(),
        };
        cache.look(&mut lock(&cache.size), 0)?;
        Ok(cache)
    }

    /// Bytes of all entries, as far as known: others that share the folder may have written since.
    pub fn size(&self) -> u64 {
        lock(&self.size).total
    }

    /// The hash of a picture file. The file is read the first time only, unless its length or time of
    /// modification changes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn picture_hash(&self, path: &Path) -> anyhow::Result<PictureHash> {
        let metadata = fs::metadata(path)
            .with_context(|| format!("cannot read the picture {}", path.display()))?;
        let known = lock(&self.pictures)
            .get(path)
            .filter(|picture| {
                (picture.length, picture.modified) == (metadata.len(), metadata.modified().ok())
            })
            .map(|picture| picture.hash);
        match known {
            Some(hash) => Ok(hash),
            None => Ok(self.read_picture(path)?.1),
        }
    }

    /// The bytes of a picture file and their hash, for when its features have to be computed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_picture(&self, path: &Path) -> anyhow::Result<(Vec<u8>, PictureHash)> {
        let read = || -> std::io::Result<_> {
            let mut file = File::open(path)?;
            // Before the bytes: if the file changes meanwhile, its time will not match and it is read
            // again.
            let metadata = file.metadata()?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((bytes, metadata))
        };
        let (bytes, metadata) =
            read().with_context(|| format!("cannot read the picture {}", path.display()))?;
        let hash = Sha256::digest(&bytes).into();
        let picture = Picture {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            hash,
        };
        lock(&self.pictures).insert(path.to_owned(), picture);
        Ok((bytes, hash))
    }

    /// The features kept under `key`, 64 × C values row by row; `None` when there are none, or none that
    /// are whole.
    pub fn get(&self, key: &Key) -> Option<Vec<f16>> {
        let path = self.path(key);
        let values = decode(&fs::read(&path).ok()?, key)?;
        // Failing to say that it was used costs at worst a computation later on.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(values)
    }

    /// Keeps features, if there is room. Training can go on without: an error here (a full disk, say) is
    /// worth a warning, not an end.
    ///
    /// # Errors
    /// When there are not 64 × C values, or the folder cannot be read or written.
    pub fn put(&self, key: &Key, values: &[f16]) -> anyhow::Result<()> {
        ensure!(
            values.len() == key.values(),
            "{} features for {} values",
            values.len(),
            key.values()
        );
        let path = self.path(key);
        let bytes = encode(key, values);
        let replaced = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if self.has_room((bytes.len() as u64).saturating_sub(replaced))? {
            self.write(&path, &bytes)
                .with_context(|| format!("cannot write the cache entry {}", path.display()))?;
        }
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name = key.to_string();
        self.folder
            .join(&name[..2])
            .join(&name[2..])
            .with_extension(ENDING)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        // The file system's own clock may be some milliseconds behind that of `get`.
        file.as_file().set_modified(SystemTime::now())?;
        file.persist(path)?;
        Ok(())
    }

    /// Whether `length` bytes may be added, which are then counted as added.
    fn has_room(&self, length: u64) -> anyhow::Result<bool> {
        let mut size = lock(&self.size);
        size.since += length;
        // No room, unless something can be removed; or it is time to see what others have done.
        if size.total + length > self.limit && !size.full || size.since > self.limit / 8 {
            self.look(&mut size, length)?;
        }
        let has_room = size.total + length <= self.limit;
        if has_room {
            size.total += length;
        }
        Ok(has_room)
    }

    /// Looks at the folder; where `length` bytes more would be over the limit, makes room for them down to
    /// a tenth below it, so that a full folder is not looked at for each entry. Another process may do the
    /// same at the same time.
    fn look(&self, size: &mut Size, length: u64) -> anyhow::Result<()> {
        let mut entries = self
            .entries()
            .with_context(|| format!("cannot read the cache folder {}", self.folder.display()))?;
        let mut total: u64 = entries.iter().map(|entry| entry.length).sum();
        if total + length > self.limit {
            entries.retain(|entry| entry.used < self.opened);
            entries.sort_by_key(|entry| entry.used);
            for entry in &entries {
                if total + length <= self.limit - self.limit / 10 {
                    break;
                }
                remove(&entry.path)?;
                total -= entry.length;
            }
        }
        *size = Size {
            total,
            since: 0,
            full: total + length > self.limit,
        };
        Ok(())
    }

    /// All entries; files that a killed process has left half written are removed on the way.
    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for folder in fs::read_dir(&self.folder)? {
            let folder = folder?;
            if !is_hex(&folder.file_name().to_string_lossy(), 2) || !folder.path().is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                let Ok(metadata) = file.metadata() else {
                    continue; // removed by another process
                };
                let (path, name) = (file.path(), file.file_name().to_string_lossy().into_owned());
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                if name
                    .strip_suffix(ENDING)
                    .and_then(|name| name.strip_suffix('.'))
                    .is_some_and(|name| is_hex(name, 62))
                {
                    let length = metadata.len();
                    entries.push(Entry { path, length, used });
                } else if name.starts_with(PARTIAL)
                    && used.elapsed().is_ok_and(|age| age > ABANDONED)
                {
                    remove(&path)?;
                }
            }
        }
        Ok(entries)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_hex(name: &str, length: usize) -> bool {
    name.len() == length
        && name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error)
            .with_context(|| format!("cannot remove the old cache entry {}", path.display())),
        _ => Ok(()),
    }
}

fn encode(key: &Key, values: &[f16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 2 * values.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&key.digest);
    bytes.extend_from_slice(&(key.channels as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let checksum = Sha256::digest(&bytes[HEADER..]);
    bytes[HEADER - 32..HEADER].copy_from_slice(&checksum);
    bytes
}

/// The values of an entry, if it is a whole one of this key.
fn decode(bytes: &[u8], key: &Key) -> Option<Vec<f16>> {
    let (header, values) = bytes.split_at_checked(HEADER)?;
    let rest = header.strip_prefix(MAGIC)?.strip_prefix(&key.digest)?;
    let checksum = rest.strip_prefix(&(key.channels as u32).to_le_bytes())?;
    let whole = values.len() == 2 * key.values() && Sha256::digest(values)[..] == *checksum;
    whole.then(|| {
        values
            .chunks_exact(2)
            .map(|pair| f16::from_le_bytes([pair[0], pair[1]]))
            .collect()
    })
}

#[cfg(test)]
mod tests;
