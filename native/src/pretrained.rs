//! Pretrained weights on disk: PyTorch's `.pth`, `.safetensors`, and Hugging Face's BERT folders.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn_store::pytorch_reader::{DType, PytorchReader, Tensor};
use half::{bf16, f16};
use muse_core::encoders::text::TextEncoderConfig;
use muse_core::text::tokenizer::TextTokenizer;
use muse_core::weights::{NamedTensor, StateDict, read_safetensors};
use safetensors::tensor::{Dtype, TensorView};

use crate::output::write_file;

/// A pretrained text encoder.
pub struct PretrainedText {
    /// From `config.json`.
    pub config: TextEncoderConfig,
    /// From `model.safetensors`, under the names it has there.
    pub state: StateDict,
    /// From `tokenizer.json`.
    pub tokenizer: TextTokenizer,
}

/// Reads a Hugging Face folder: `config.json`, `model.safetensors`, `tokenizer.json`.
///
/// # Errors
///
/// When one of the three is missing, damaged, or not that of a BERT, or the tokenizer has pieces beyond the embedding.
pub fn read_text_encoder(folder: &Path) -> Result<PretrainedText> {
    let within = |name: &str| folder.join(name).display().to_string();
    let name = "config.json";
    let config: TextEncoderConfig = serde_json::from_slice(&read_within(folder, name)?)
        .with_context(|| format!("{} is not that of a BERT", within(name)))?;
    let tokenizer = read_tokenizer(folder)?;
    ensure!(
        (tokenizer.largest_id() as usize) < config.vocab_size(),
        "{} has a piece of number {}, but by its config.json the encoder knows {} pieces, counted from 0; the two files are \
         not of one model",
        within("tokenizer.json"),
        tokenizer.largest_id(),
        config.vocab_size()
    );
    let name = "model.safetensors";
    let state = read_safetensors(&read_within(folder, name)?).with_context(|| within(name))?;
    Ok(PretrainedText {
        config,
        state,
        tokenizer,
    })
}

/// Writes a Hugging Face folder that [`read_text_encoder`] reads: these `files`, and the weights `state` under Hugging Face's names. The
/// folder, which must not be there, appears whole or not at all.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_text_encoder<const N: usize>(
    folder: &Path,
    files: [(&str, Vec<u8>); N],
    state: &StateDict,
) -> Result<()> {
    let context = || format!("cannot write {}", folder.display());
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.with_file_name(format!(".{name}.part"));
    match std::fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(context);
        }
        _ => std::fs::create_dir_all(&beside).with_context(context)?,
    }
    for (name, bytes) in files {
        write_file(&beside.join(name), &bytes)?;
    }
    let bytes: Vec<(&String, &NamedTensor, Vec<u8>)> = (state.iter())
        .map(|(name, tensor)| {
            let bytes = tensor.data.iter().flat_map(|value| value.to_le_bytes());
            (name, tensor, bytes.collect())
        })
        .collect();
    let views = (bytes.iter())
        .map(|(name, tensor, bytes)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?;
            Ok((name, view))
        })
        .collect::<Result<Vec<_>>>()
        .with_context(context)?;
    // Without it Hugging Face's library does not read the file.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(views, Some(format)).with_context(context)?;
    write_file(&beside.join("model.safetensors"), &weights)?;
    std::fs::rename(&beside, folder).with_context(context)
}

/// Reads the tokenizer of a Hugging Face folder.
///
/// # Errors
///
/// When `tokenizer.json` is missing or not that of a BERT.
pub fn read_tokenizer(folder: &Path) -> Result<TextTokenizer> {
    let name = "tokenizer.json";
    TextTokenizer::from_bytes(&read_within(folder, name)?)
        .with_context(|| folder.join(name).display().to_string())
}

fn read_within(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    std::fs::read(&path).with_context(|| {
        format!(
            "cannot read {}; a text encoder is a folder with config.json, model.safetensors and tokenizer.json \
             (`cargo xtask weights` gets the default one)",
            path.display()
        )
    })
}

/// Reads a file of weights, PyTorch's (`.pth`, `.pt`, `.bin`) or safetensors; which of them, its content tells.
///
/// # Errors
///
/// When it cannot be read or is neither of both.
pub fn read_state_dict(path: &Path) -> Result<StateDict> {
    let shown = path.display();
    let missing =
        || format!("cannot read {shown}; `cargo xtask weights` gets the default encoders");
    if is_safetensors(path).with_context(missing)? {
        let bytes = std::fs::read(path).with_context(missing)?;
        return read_safetensors(&bytes).with_context(|| shown.to_string());
    }
    let tensors = PytorchReader::new(path)
        .with_context(|| format!("{shown} is neither a PyTorch nor a safetensors file"))?
        .into_tensors();
    if tensors.is_empty() {
        bail!("{shown} holds no tensor");
    }
    // A training checkpoint keeps the weights one step deeper.
    let nested = tensors.keys().all(|name| name.starts_with("state_dict."));
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            let name = match name.strip_prefix("state_dict.") {
                Some(inner) if nested => inner.to_owned(),
                _ => name,
            };
            let tensor = to_f32(&tensor).with_context(|| format!("{shown}, tensor `{name}`"))?;
            Ok((name, tensor))
        })
        .collect()
}

/// Eight bytes of length, then JSON.
fn is_safetensors(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(9).read_to_end(&mut start)?;
    Ok(start.len() == 9 && start[8] == b'{' && start[4..8] == [0; 4])
}

fn to_f32(tensor: &Tensor) -> Result<NamedTensor> {
    let bytes = tensor.read()?; // native-endian
    let data = match tensor.dtype() {
        DType::F64 => elements(&bytes, |b| f64::from_ne_bytes(b) as f32),
        DType::F32 => elements(&bytes, f32::from_ne_bytes),
        DType::F16 => elements(&bytes, |b| f16::from_ne_bytes(b).to_f32()),
        DType::BF16 => elements(&bytes, |b| bf16::from_ne_bytes(b).to_f32()),
        // Counters, which no loader here needs, but which it may name.
        DType::I64 => elements(&bytes, |b| i64::from_ne_bytes(b) as f32),
        DType::I32 => elements(&bytes, |b| i32::from_ne_bytes(b) as f32),
        DType::U8 | DType::Bool => elements(&bytes, |[b]: [u8; 1]| f32::from(b)),
        other => bail!("is stored as {other:?}, which is not read here"),
    };
    let shape = tensor.shape().to_vec();
    Ok(NamedTensor { shape, data })
}

fn elements<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| read(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T>(result: Result<T>) -> String {
        match result {
            Ok(_) => panic!("a broken file was read"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn files_that_are_no_weights_are_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("cnn.pth");
        let missing = message(read_state_dict(&path));
        assert!(missing.contains("cnn.pth"), "{missing}");
        assert!(missing.contains("cargo xtask weights"), "{missing}");

        let header = br#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut cut = (header.len() as u64).to_le_bytes().to_vec();
        cut.extend_from_slice(header);
        for content in [
            &b""[..],
            b"no",
            &[0x80; 100],
            b"PK\x03\x04 and no more",
            &cut,
        ] {
            std::fs::write(&path, content).expect("the file is written");
            let text = message(read_state_dict(&path));
            assert!(text.contains("cnn.pth"), "{text}");
            assert!(text.contains("safetensors"), "{text}");
        }
    }

    #[test]
    fn the_content_tells_the_format() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("misnamed.pth");
        let header = br#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend([1.5_f32, -2.0].map(f32::to_le_bytes).concat());
        std::fs::write(&path, bytes).expect("the file is written");
        let state = read_state_dict(&path).expect("a safetensors file");
        assert_eq!(state["x"].data, [1.5, -2.0]);
    }

    #[test]
    fn an_incomplete_text_encoder_says_what_is_missing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = message(read_text_encoder(folder.path()));
        assert!(text.contains("config.json"), "{text}");
        std::fs::write(folder.path().join("config.json"), "{}").expect("the file is written");
        let text = message(read_text_encoder(folder.path()));
        assert!(text.contains("is not that of a BERT"), "{text}");
        assert!(text.contains("vocab_size"), "{text}");
        let other = r#"{"model_type": "roberta"}"#;
        std::fs::write(folder.path().join("config.json"), other).expect("the file is written");
        let text = message(read_text_encoder(folder.path()));
        assert!(text.contains("model_type is \"roberta\""), "{text}");
    }

    /// Else a training would end with a model that cannot be read.
    #[test]
    fn a_tokenizer_of_another_encoder_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tokenizer = muse_tests::tiny_tokenizer(&["word"]);
        let TextEncoderConfig::Bert(mut sizes) =
            muse_tests::tiny_config(tokenizer.vocab_size() - 1).text;
        let put = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("the file is written");
        };
        put("tokenizer.json", tokenizer.json());
        for (more, said) in [(0, "not of one model"), (1, "model.safetensors")] {
            sizes.vocab_size += more;
            put(
                "config.json",
                serde_json::to_string(&sizes).expect("plain data"),
            );
            let text = message(read_text_encoder(folder.path()));
            assert!(text.contains(said), "{text}");
        }
    }
}
