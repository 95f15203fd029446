//! What the end-to-end tests share: a tiny model whose answers are known, and pictures.

pub mod golden;
pub mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
pub use image::ImageFormat;
use image::{Rgb, RgbImage};
use muse_core::config::MuseConfig;
use muse_core::encoders::image::{CnnKind, ImageEncoderConfig};
use muse_core::encoders::text::{BertConfig, TextEncoderConfig};
use muse_core::exchange::{ExchangeConfig, ExchangeRule};
use muse_core::file::{ModelFile, Precision};
use muse_core::heads::Calibration;
use muse_core::model::Muse;
use muse_core::text::tokenizer::TextTokenizer;
use muse_core::weights::{NamedTensor, StateDict, state_dict};
use serde_json::json;

/// Tags of the tiny model.
pub const TAGS: [&str; 5] = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"];

/// Sentiment classes of the tiny model.
pub const CLASSES: [&str; 3] = ["negative", "neutral", "positive"];

/// A tokenizer that knows `extra` words, and all others by their letters.
pub fn tiny_tokenizer(extra: &[&str]) -> TextTokenizer {
    let mut pieces: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        .map(String::from)
        .to_vec();
    pieces.extend(extra.iter().map(|&word| word.to_owned()));
    for c in ('!'..='~').filter(|c| !c.is_ascii_uppercase()) {
        pieces.extend([c.to_string(), format!("##{c}")]);
    }
    // A letter may be one of the words.
    let mut seen = BTreeSet::new();
    pieces.retain(|piece| seen.insert(piece.clone()));
    let vocabulary: BTreeMap<&String, usize> = pieces.iter().zip(0..).collect();
    let special: Vec<_> = (0..4)
        .map(|id| {
            json!({
                "id": id, "content": pieces[id], "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false
            })
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary
        }
    });
    TextTokenizer::from_bytes(tokenizer.to_string().as_bytes()).expect("the tiny tokenizer")
}

/// The sizes of the tiny model, for a tokenizer of `pieces` pieces.
pub fn tiny_config(pieces: usize) -> MuseConfig {
    let encoder = CnnKind::EfficientnetLite0;
    let mut preparation = encoder.default_preparation();
    preparation.size = 64;
    MuseConfig {
        text: TextEncoderConfig::Bert(BertConfig {
            vocab_size: pieces,
            hidden_size: 32,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 64,
            max_position_embeddings: 64,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
        }),
        image: ImageEncoderConfig {
            encoder,
            preparation,
            dropout: 0.0,
        },
        exchange: ExchangeConfig {
            layers: 2,
            heads: 2,
            feed_forward: 64,
            dropout: 0.1,
            theta: 0.1,
            first_layer: 0,
            last_layer: 1,
            rule: ExchangeRule::Add,
        },
        fusion_dropout: 0.5,
        word_shapes: true,
        max_pieces: 64,
        names: serde_json::from_value(json!({"tags": TAGS, "classes": CLASSES})).expect("names"),
        calibration: Calibration::default(),
        decoders: None,
    }
}

/// A model with random encoders and known answers: whatever the words, the first two are a PER, the third is none and all
/// further ones are a LOC. So `Eileen Collins at Kennedy Space Center` is tagged as a person would. Every entity has a
/// confidence of 0.99 or so. The sentiment depends on caption and picture as chance has it.
pub fn tiny_model() -> ModelFile {
    let device = Device::flex();
    device.seed(7);
    let tokenizer = tiny_tokenizer(&["eileen", "collins", "at", "kennedy", "space", "center"]);
    let config = tiny_config(tokenizer.vocab_size());
    let model = Muse::new(&config, &device).expect("the tiny configuration");
    let mut state = state_dict(&model);
    rig(&mut state);
    ModelFile {
        config,
        tokenizer,
        state,
    }
}

/// [`tiny_model`] with two styles: in the second there are no entities.
pub fn tiny_model_of_styles() -> ModelFile {
    let mut file = tiny_model();
    file.config.names.styles.names = ["first", "second"].map(String::from).into();
    let device = Device::flex();
    let model = Muse::new(&file.config, &device).expect("the tiny configuration");
    for (name, tensor) in state_dict(&model) {
        if name.starts_with("entities.emissions.") {
            file.state.insert(name, tensor);
        }
    }
    set(&mut file.state, "entities.emissions.weight", |_| 0.0);
    // The emissions of all tags, and what each style adds to them; `O` is the first tag.
    let outside = 2 * TAGS.len();
    set(&mut file.state, "entities.emissions.bias", |at| {
        f32::from(u8::from(at == outside)) * 1e3
    });
    file
}

/// Leaves the answer to the CRF's scores, which follow O and the two types in their order.
fn rig(state: &mut StateDict) {
    const SURE: f32 = 8.0;
    let place = |tag: &str| TAGS.iter().position(|&t| t == tag).expect("a tag");
    let steps = [
        ("B-PER", "I-PER"),
        ("I-PER", "O"),
        ("O", "B-LOC"),
        ("B-LOC", "I-LOC"),
        ("I-LOC", "I-LOC"),
    ];
    let mut start = vec![0.0; TAGS.len()];
    start[place("B-PER")] = SURE;
    let mut transitions = vec![0.0; TAGS.len() * TAGS.len()];
    for (from, to) in steps {
        transitions[place(from) * TAGS.len() + place(to)] = SURE;
    }
    // A new model's exchange adds nothing yet.
    let zeros: Vec<String> = state
        .iter()
        .filter(|(name, tensor)| {
            name.starts_with("cross.")
                && name.ends_with(".weight")
                && tensor.data.iter().all(|&x| x == 0.0)
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in zeros {
        set(state, &name, |at| 0.2 * (0.37 * at as f32).sin());
    }
    set(state, "entities.crf.start", |at| start[at]);
    set(state, "entities.crf.end", |_| 0.0);
    set(state, "entities.crf.transitions", |at| transitions[at]);
    set(state, "entities.emissions.weight", |_| 0.0);
    set(state, "entities.emissions.bias", |_| 0.0);
}

fn set(state: &mut StateDict, name: &str, value: impl Fn(usize) -> f32) {
    let tensor: &mut NamedTensor = state
        .get_mut(name)
        .unwrap_or_else(|| panic!("the model has no {name}"));
    for (at, number) in tensor.data.iter_mut().enumerate() {
        *number = value(at);
    }
}

/// Writes the tiny model into a folder.
pub fn write_tiny_model(folder: &Path) -> PathBuf {
    write(folder, "tiny.muse", tiny_model().to_bytes(Precision::F32))
}

/// Writes a file into a folder, which may have to be made.
pub fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).expect("the folder is made");
    }
    std::fs::write(&path, bytes).expect("the file is written");
    path
}

/// A picture with a gradient from black to a colour.
pub fn picture(width: u32, height: u32, color: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let share = |value: u8, x: u32| (u32::from(value) * x / width.max(1)) as u8;
    let image = RgbImage::from_fn(
        width,
        height,
        |x, _| Rgb(color.map(|value| share(value, x))),
    );
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, format)
        .expect("the picture is encoded");
    bytes.into_inner()
}
