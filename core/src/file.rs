//! The model file: weights, configuration, tags, tokenizer and image preparation in one.
//!
//! A safetensors file. Its metadata holds `format` (`muse`), `format_version`, `config` and `tokenizer` (JSON each) and
//! `checksum`, over everything else in the file. Tensors bear the burn paths of [`Muse`](crate::model::Muse)'s
//! parameters, without enum variants. A tensor in 8-bit form is an I8 tensor `x` and an F32 tensor `x.scale`, which has
//! the extent of `x` along one axis and 1 along the others: the weight is their product.
//!
//! burn's own quantised storage was not taken: its layout is one device's, and no file format of others can hold it.

mod mean;
mod quantized;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use half::f16;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::{Map, Value, json};
use thiserror::Error;

pub use self::mean::{Mean, MeanError};
use self::quantized::Quantized;
pub(crate) use self::quantized::Whole;
use crate::config::MuseConfig;
use crate::heads::Calibration;
use crate::text::tokenizer::{TextTokenizer, TokenizerError};
use crate::weights::{NamedTensor, StateDict, elements};

const FORMAT: &str = "muse";
const VERSION: &str = "1";
/// How our files begin, after the eight bytes of the header's length.
const OPENING: &[u8] = br#"{"__metadata__":{"format":"muse","#;
/// Smaller tensors stay as they are: they would save nothing, and biases and normalisations are sensitive.
pub(crate) const SMALLEST_REDUCED: usize = 4096;

/// How weights are stored. Tensors of one axis, those of fewer than 4096 elements, and any with numbers beyond f16's are
/// always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 4 bytes each, exact.
    F32,
    /// 2 bytes each, 11 significant bits.
    F16,
    /// 1 byte each and a scale for each row (or column, whichever is closer). On a CPU inference computes with them as they are,
    /// elsewhere in f32.
    Int8,
}

/// All that inference needs.
#[derive(Clone)]
pub struct ModelFile {
    /// Sizes, settings, tags, classes, image preparation.
    pub config: MuseConfig,
    /// The tokenizer of the text encoder.
    pub tokenizer: TextTokenizer,
    /// The weights by burn path, as [`state_dict`](crate::weights::state_dict) gives them.
    pub state: StateDict,
}

/// Why a model file was not read.
#[derive(Debug, Error)]
pub enum ModelFileError {
    /// Something else.
    #[error("not a MuSE model file ({0})")]
    NotAModel(String),
    /// Fewer bytes (or more) than its header says.
    #[error(
        "the model file is cut short, or not whole for another reason: it has {found} bytes, which is not what its \
         header says; copy or download it again"
    )]
    Cut {
        /// The bytes that are there.
        found: usize,
    },
    /// Written by another version of this program.
    #[error("the model file has format version {found}, this program reads version {VERSION}")]
    Version {
        /// What the file says.
        found: String,
    },
    /// Some bytes have changed.
    #[error("the model file is damaged: {0}; copy or download it again")]
    Damaged(String),
    /// Its configuration does not make sense to this program.
    #[error("the model file's configuration cannot be read: {0}")]
    Config(serde_json::Error),
    /// Its tokenizer does not make sense to this program.
    #[error("the model file's tokenizer cannot be read: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// Its tokenizer has pieces that its text encoder does not know.
    #[error(
        "the model file is inconsistent: its tokenizer has a piece of number {largest}, but its text encoder knows {known} \
         pieces, counted from 0"
    )]
    Pieces {
        /// The largest number of a piece of the tokenizer.
        largest: u32,
        /// Rows of the encoder's embedding.
        known: usize,
    },
    /// A tensor is stored in a form that is not of this format version.
    #[error("tensor `{name}` of the model file {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ModelFile {
    /// The file's bytes; the same for the same model.
    pub fn to_bytes(&self, precision: Precision) -> Vec<u8> {
        let mut stored = BTreeMap::new();
        for (name, tensor) in &self.state {
            store(name, tensor, precision, &mut stored);
        }
        // Wide elements first, so that each tensor is aligned to its elements.
        let mut stored: Vec<_> = stored.into_iter().collect();
        stored.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype.bitsize()));

        let mut data = Vec::new();
        let mut infos = BTreeMap::new();
        for (name, tensor) in stored {
            let start = data.len();
            data.extend_from_slice(&tensor.bytes);
            let info = TensorInfo {
                dtype: tensor.dtype,
                shape: tensor.shape,
                data_offsets: (start, data.len()),
            };
            infos.insert(name, info);
        }
        let metadata = BTreeMap::from([
            ("format", FORMAT.to_owned()),
            ("format_version", VERSION.to_owned()),
            ("config", config_json(&self.config)),
            ("tokenizer", self.tokenizer.json()),
        ]);
        written(metadata, &infos, &data)
    }

    /// Reads a model from its file's bytes.
    ///
    /// # Errors
    /// See [`ModelFileError`]: not a model, another version, cut short, damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelFileError> {
        let stored = StoredModel::from_bytes(bytes)?;
        let tensors = stored.tensors.into_iter();
        Ok(Self {
            config: stored.config,
            tokenizer: stored.tokenizer,
            state: tensors
                .map(|(name, weights)| (name, weights.into_tensor()))
                .collect(),
        })
    }
}

/// A model file's bytes with another calibration; its weights are the same bytes.
///
/// # Errors
///
/// As [`ModelFile::from_bytes`].
pub fn recalibrated(
    bytes: &[u8],
    change: impl FnOnce(&mut Calibration),
) -> Result<Vec<u8>, ModelFileError> {
    let mut config = StoredModel::from_bytes(bytes)?.config;
    change(&mut config.calibration);
    let (data_start, header) = read_header(bytes)?;
    let mut metadata: BTreeMap<&str, String> = (header.metadata().iter().flatten())
        .filter(|(key, _)| *key != "checksum")
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    metadata.insert("config", config_json(&config));
    let infos = header.tensors().into_iter();
    let infos = infos.map(|(name, info)| (name, info.clone())).collect();
    Ok(written(metadata, &infos, &bytes[data_start..]))
}

fn config_json(config: &MuseConfig) -> String {
    serde_json::to_string(config).expect("a configuration is plain data")
}

/// A file's bytes, with the checksum put in.
fn written(
    mut metadata: BTreeMap<&str, String>,
    infos: &BTreeMap<String, TensorInfo>,
    data: &[u8],
) -> Vec<u8> {
    let checksum = checksum(
        metadata.iter().map(|(&key, value)| (key, value.as_str())),
        infos.iter().map(|(name, info)| (name.as_str(), info)),
        data,
    );
    metadata.insert("checksum", checksum);

    // Not by the safetensors crate: it writes the metadata in the random order of a HashMap, and the format comes
    // first here, so that even a file cut within its header is recognised.
    let mut header = Map::new();
    let mut ordered = Map::from_iter([("format".to_owned(), json!(FORMAT))]);
    ordered.extend(metadata.into_iter().map(|(k, v)| (k.to_owned(), json!(v))));
    header.insert("__metadata__".to_owned(), Value::Object(ordered));
    for (name, info) in infos {
        let info = serde_json::to_value(info).expect("a tensor's description is plain data");
        header.insert(name.clone(), info);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut bytes = Vec::with_capacity(8 + header.len() + data.len());
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(data);
    bytes
}

/// A [`ModelFile`] whose weights are as the file has them.
pub(crate) struct StoredModel<'a> {
    pub(crate) config: MuseConfig,
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) tensors: BTreeMap<String, Weights<'a>>,
}

/// A tensor's weights.
#[derive(Debug)]
pub(crate) enum Weights<'a> {
    /// Of 8 bits.
    Whole(Whole<'a>),
    /// Of floats.
    Floats(NamedTensor),
}

impl Weights<'_> {
    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Self::Whole(whole) => &whole.shape,
            Self::Floats(tensor) => &tensor.shape,
        }
    }

    pub(crate) fn into_tensor(self) -> NamedTensor {
        match self {
            Self::Whole(whole) => NamedTensor {
                data: whole.floats(),
                shape: whole.shape,
            },
            Self::Floats(tensor) => tensor,
        }
    }
}

impl<'a> StoredModel<'a> {
    /// See [`ModelFile::from_bytes`].
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Result<Self, ModelFileError> {
        let (data_start, header) = read_header(bytes)?;
        let none = HashMap::new();
        let metadata = header.metadata().as_ref().unwrap_or(&none);
        let field = |key: &str| metadata.get(key).map_or("", String::as_str);
        if field("format") != FORMAT {
            let reason = "a safetensors file without the mark of a MuSE model";
            return Err(ModelFileError::NotAModel(reason.to_owned()));
        }
        if field("format_version") != VERSION {
            let found = field("format_version").to_owned();
            return Err(ModelFileError::Version { found });
        }
        let metadata: BTreeMap<_, _> = metadata
            .iter()
            .filter(|(key, _)| *key != "checksum")
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let infos: BTreeMap<_, _> = header.tensors().into_iter().collect();
        let expected = checksum(
            metadata.into_iter(),
            infos.iter().map(|(name, info)| (name.as_str(), *info)),
            &bytes[data_start..],
        );
        if field("checksum") != expected {
            let reason = "its checksum does not agree with its content";
            return Err(ModelFileError::Damaged(reason.to_owned()));
        }
        let config: MuseConfig =
            serde_json::from_str(field("config")).map_err(ModelFileError::Config)?;
        let tokenizer = TextTokenizer::from_bytes(field("tokenizer").as_bytes())?;
        let (largest, known) = (tokenizer.largest_id(), config.text.vocab_size());
        if largest as usize >= known {
            return Err(ModelFileError::Pieces { largest, known });
        }
        Ok(Self {
            config,
            tokenizer,
            tensors: read_tensors(&infos, &bytes[data_start..])?,
        })
    }
}

/// The header, and where the tensors begin. That they lie side by side and end with the file is checked here.
fn read_header(bytes: &[u8]) -> Result<(usize, Metadata), ModelFileError> {
    let found = bytes.len();
    let after_length = bytes.get(8..).unwrap_or_default();
    let ours = match after_length.len() {
        0 => false,
        some => OPENING.starts_with(&after_length[..some.min(OPENING.len())]),
    };
    match SafeTensors::read_metadata(bytes) {
        Ok((header, metadata)) => Ok((8 + header, metadata)),
        Err(
            SafeTensorError::MetadataIncompleteBuffer
            | SafeTensorError::InvalidHeaderLength
            | SafeTensorError::HeaderTooLarge,
        ) if ours => Err(ModelFileError::Cut { found }),
        Err(error) if ours => Err(ModelFileError::Damaged(error.to_string())),
        Err(error) => Err(ModelFileError::NotAModel(error.to_string())),
    }
}

/// A tensor as it lies in the file.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn store(
    name: &str,
    tensor: &NamedTensor,
    precision: Precision,
    stored: &mut BTreeMap<String, Stored>,
) {
    let reduced = tensor.shape.len() >= 2
        && tensor.data.len() >= SMALLEST_REDUCED
        && tensor.data.iter().all(|x| x.abs() <= f16::MAX.to_f32());
    let mut put = |name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>| {
        let shape = shape.to_vec();
        let tensor = Stored {
            dtype,
            shape,
            bytes,
        };
        stored.insert(name.to_owned(), tensor);
    };
    match precision {
        Precision::F16 if reduced => {
            let halves = tensor.data.iter().map(|&x| f16::from_f32(x).to_le_bytes());
            put(name, Dtype::F16, &tensor.shape, halves.flatten().collect());
        }
        Precision::Int8 if reduced => {
            let Quantized { axis, scale, data } = Quantized::nearest(tensor);
            let mut scale_shape = vec![1; tensor.shape.len()];
            scale_shape[axis] = tensor.shape[axis];
            let bytes = data.iter().map(|q| q.cast_unsigned()).collect();
            put(name, Dtype::I8, &tensor.shape, bytes);
            put(
                &scale_name(name),
                Dtype::F32,
                &scale_shape,
                scale.iter().flat_map(|x| x.to_le_bytes()).collect(),
            );
        }
        _ => {
            let floats = tensor.data.iter().flat_map(|x| x.to_le_bytes());
            put(name, Dtype::F32, &tensor.shape, floats.collect());
        }
    }
}

fn scale_name(name: &str) -> String {
    format!("{name}.scale")
}

fn read_tensors<'a>(
    infos: &BTreeMap<String, &TensorInfo>,
    data: &'a [u8],
) -> Result<BTreeMap<String, Weights<'a>>, ModelFileError> {
    let content = |info: &TensorInfo| &data[info.data_offsets.0..info.data_offsets.1];
    let mut tensors = BTreeMap::new();
    for (name, info) in infos {
        let failed = |problem: String| ModelFileError::Tensor {
            name: name.clone(),
            problem,
        };
        let floats = |data| {
            let shape = info.shape.clone();
            Weights::Floats(NamedTensor { shape, data })
        };
        let weights = match info.dtype {
            Dtype::F32 if is_scale(name, infos) => continue,
            Dtype::F32 => floats(elements(content(info), f32::from_le_bytes)),
            Dtype::F16 => floats(elements(content(info), |b| f16::from_le_bytes(b).to_f32())),
            Dtype::I8 => {
                let scale = infos
                    .get(&scale_name(name))
                    .filter(|scale| scale.dtype == Dtype::F32)
                    .ok_or_else(|| failed("is of 8 bits but has no F32 scale".to_owned()))?;
                let axis = quantized::axis(&info.shape, &scale.shape).ok_or_else(|| {
                    let (shape, scale) = (&info.shape, &scale.shape);
                    failed(format!("{shape:?} has a scale of shape {scale:?}"))
                })?;
                let scale = elements(content(scale), f32::from_le_bytes);
                Weights::Whole(Whole::new(&info.shape, axis, scale, content(info)))
            }
            other => return Err(failed(format!("is stored as {other:?}"))),
        };
        let finite = match &weights {
            Weights::Whole(whole) => whole.is_finite(),
            Weights::Floats(tensor) => tensor.data.iter().all(|value| value.is_finite()),
        };
        if !finite {
            let problem = "holds NaN or infinity, with which no score is a number";
            return Err(failed(problem.to_owned()));
        }
        tensors.insert(name.clone(), weights);
    }
    Ok(tensors)
}

fn is_scale(name: &str, infos: &BTreeMap<String, &TensorInfo>) -> bool {
    name.strip_suffix(".scale")
        .and_then(|tensor| infos.get(tensor))
        .is_some_and(|info| info.dtype == Dtype::I8)
}

/// A checksum of everything in the file but itself, as 16 hexadecimal digits. It finds accidents, not forgeries.
fn checksum<'a>(
    metadata: impl Iterator<Item = (&'a str, &'a str)>,
    infos: impl Iterator<Item = (&'a str, &'a TensorInfo)>,
    data: &[u8],
) -> String {
    let mut hash = Hash::default();
    for (key, value) in metadata {
        hash.add(key.as_bytes());
        hash.add(value.as_bytes());
    }
    for (name, info) in infos {
        hash.add(name.as_bytes());
        let (start, end) = info.data_offsets;
        hash.add(format!("{:?} {:?} {start} {end}", info.dtype, info.shape).as_bytes());
    }
    hash.add(data);
    format!("{:016x}", hash.0)
}

/// FNV-1a (Fowler, Noll and Vo) on words of eight bytes instead of single bytes, which is five times as quick as CRC-32
/// in plain Rust, with a rotation so that a word's upper bits reach the lower ones. Each step is a bijection of the
/// state: a change within one word is always found.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        self.step(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.step(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.step(u64::from_le_bytes(last));
    }

    fn step(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29);
    }
}
