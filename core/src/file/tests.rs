use serde_json::json;

use super::*;
use crate::encoders::image::{CnnKind, ImageEncoderConfig};
use crate::encoders::text::{BertConfig, TextEncoderConfig};
use crate::exchange::{ExchangeConfig, ExchangeRule};
use crate::heads::Names;
use crate::heads::calibration::Scaling;
use crate::objective::Part;

fn tokenizer() -> TextTokenizer {
    let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "\"é\\"];
    let vocabulary: Map<String, Value> = pieces
        .iter()
        .zip(0..)
        .map(|(piece, id)| ((*piece).to_owned(), json!(id)))
        .collect();
    let special: Vec<Value> = (0..4)
        .map(|id| {
            json!({"id": id, "content": pieces[id], "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special, "normalizer": null,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    TextTokenizer::from_bytes(json.to_string().as_bytes()).expect("a tokenizer")
}

fn config() -> MuseConfig {
    let encoder = CnnKind::Resnet18;
    MuseConfig {
        text: TextEncoderConfig::Bert(BertConfig {
            vocab_size: 6,
            hidden_size: 4,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            intermediate_size: 4,
            max_position_embeddings: 8,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
        }),
        image: ImageEncoderConfig {
            encoder,
            preparation: encoder.default_preparation(),
            dropout: 0.0,
        },
        exchange: ExchangeConfig {
            layers: 1,
            heads: 1,
            feed_forward: 4,
            dropout: 0.1,
            theta: 0.1,
            first_layer: 0,
            last_layer: 0,
            rule: ExchangeRule::Add,
        },
        fusion_dropout: 0.5,
        word_shapes: true,
        max_pieces: 64,
        names: Names {
            tags: vec!["O".into(), "B-PER".into(), "I-PER".into()],
            ..Names::default()
        },
        calibration: Calibration::default(),
        decoders: None,
    }
}

/// A model of a few tensors, of every kind that is stored in its own way.
fn model() -> ModelFile {
    let mut state = StateDict::new();
    let mut put = |name: &str, shape: &[usize], value: &dyn Fn(usize) -> f32| {
        let data = (0..shape.iter().product()).map(value).collect();
        let shape = shape.to_vec();
        state.insert(name.to_owned(), NamedTensor { shape, data });
    };
    let wave = |i: usize| (i as f32 * 0.7).sin();
    // Rows of very different size, then columns.
    put("embedding.weight", &[300, 32], &|i| {
        wave(i) * 1.02_f32.powi((i / 32) as i32)
    });
    put("linear.weight", &[64, 128], &|i| {
        wave(i) * 1.05_f32.powi((i % 128) as i32)
    });
    put("conv.weight", &[32, 16, 3, 3], &wave);
    put("zeros.weight", &[64, 64], &|_| 0.0);
    put("beyond.weight", &[64, 64], &|i| 1e6 * wave(i));
    put("small.weight", &[8, 8], &wave);
    put("long.bias", &[5000], &wave);
    ModelFile {
        config: config(),
        tokenizer: tokenizer(),
        state,
    }
}

fn read(bytes: &[u8]) -> ModelFile {
    ModelFile::from_bytes(bytes).unwrap_or_else(|e| panic!("{e}"))
}

fn error(bytes: &[u8]) -> ModelFileError {
    match ModelFile::from_bytes(bytes) {
        Ok(_) => panic!("a broken file was read"),
        Err(error) => error,
    }
}

fn differences<'a>(
    a: &'a ModelFile,
    b: &'a ModelFile,
    name: &str,
) -> impl Iterator<Item = (f32, f32)> + 'a {
    let (a, b) = (&a.state[name], &b.state[name]);
    assert_eq!(a.shape, b.shape, "{name}");
    a.data.iter().zip(&b.data).map(|(a, b)| (*a, (a - b).abs()))
}

#[test]
fn f32_is_exact() {
    let model = model();
    let back = read(&model.to_bytes(Precision::F32));
    assert_eq!(back.state, model.state);
    assert_eq!(back.config, model.config);
    assert_eq!(back.tokenizer.json(), model.tokenizer.json());
}

#[test]
fn f16_keeps_eleven_bits_of_large_matrices() {
    let model = model();
    let back = read(&model.to_bytes(Precision::F16));
    for name in ["embedding.weight", "linear.weight", "conv.weight"] {
        let mut changed = false;
        for (x, difference) in differences(&model, &back, name) {
            assert!(
                difference <= x.abs() / 2048.0 + 1e-7,
                "{name}: {x} by {difference}"
            );
            changed |= difference > 0.0;
        }
        assert!(changed, "{name} is not f16");
    }
    for name in ["small.weight", "long.bias", "beyond.weight", "zeros.weight"] {
        assert_eq!(back.state[name], model.state[name], "{name}");
    }
}

#[test]
fn int8_is_within_half_a_step_of_its_row_or_column() {
    let model = model();
    let back = read(&model.to_bytes(Precision::Int8));
    // Elements of one step: those with the same index of the axis that the scale runs along.
    let rows = |i: usize| i / 32;
    let columns = |i: usize| i % 128;
    let filters = |i: usize| i / 144;
    let of: [(&str, &dyn Fn(usize) -> usize); 3] = [
        ("embedding.weight", &rows),
        ("linear.weight", &columns),
        ("conv.weight", &filters),
    ];
    for (name, group) in of {
        let mut largest = BTreeMap::new();
        for (i, x) in model.state[name].data.iter().enumerate() {
            let largest = largest.entry(group(i)).or_insert(0.0_f32);
            *largest = largest.max(x.abs());
        }
        for (i, (x, difference)) in differences(&model, &back, name).enumerate() {
            let half_step = largest[&group(i)] / 254.0;
            assert!(
                difference <= half_step * 1.001,
                "{name} {i}: {x} by {difference}, step {half_step}"
            );
        }
    }
    for name in ["small.weight", "long.bias", "beyond.weight", "zeros.weight"] {
        assert_eq!(back.state[name], model.state[name], "{name}");
    }
}

#[test]
fn sizes_are_those_of_the_precisions() {
    let model = model();
    let [f32, f16, int8] = [Precision::F32, Precision::F16, Precision::Int8]
        .map(|precision| model.to_bytes(precision).len());
    let reduced = 300 * 32 + 64 * 128 + 32 * 16 * 9 + 64 * 64; // not those beyond f16, not the small
    // The headers differ by a few digits and the scales' names.
    let close = |saved: usize, expected: usize| saved.abs_diff(expected) < 1000;
    assert!(close(f32 - f16, 2 * reduced), "{f32} {f16}");
    let scales = 4 * (300 + 128 + 32 + 64);
    assert!(close(f32 - int8, 3 * reduced - scales), "{f32} {int8}");
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    for precision in [Precision::F32, Precision::F16, Precision::Int8] {
        let bytes = model().to_bytes(precision);
        assert_eq!(bytes, model().to_bytes(precision));
        // What was read is written as it was.
        assert_eq!(bytes, read(&bytes).to_bytes(precision), "{precision:?}");
    }
}

#[test]
fn others_can_read_it() {
    let bytes = model().to_bytes(Precision::Int8);
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let scale = file.tensor("linear.weight.scale").expect("a scale");
    assert_eq!((scale.dtype(), scale.shape()), (Dtype::F32, &[1, 128][..]));
    let offset = |name: &str| {
        let view = file.tensor(name).expect("a tensor");
        view.data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    assert_eq!(offset("linear.weight.scale") % 4, 0);
    assert_eq!(offset("long.bias") % 4, 0);
}

#[test]
fn a_cut_file_says_so() {
    let bytes = model().to_bytes(Precision::Int8);
    let twentieths = (0..20).map(|part| bytes.len() * part / 20);
    for end in twentieths.chain([1, 8, 9, 40, 41, 100, bytes.len() - 1]) {
        let error = error(&bytes[..end]);
        match end {
            0..=8 => assert!(
                matches!(error, ModelFileError::NotAModel(_)),
                "{end}: {error}"
            ),
            _ => assert!(
                matches!(error, ModelFileError::Cut { found } if found == end),
                "{end}: {error}"
            ),
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(error(&longer), ModelFileError::Cut { .. }));
}

#[test]
fn a_flipped_bit_is_found() {
    let bytes = model().to_bytes(Precision::Int8);
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
    let mut broken = bytes.clone();
    for at in (0..header).chain((header..bytes.len()).step_by(97)) {
        for bit in [1 << (at % 8), 0x20] {
            broken[at] ^= bit;
            let error = error(&broken);
            if at >= header {
                assert!(matches!(error, ModelFileError::Damaged(_)), "{at}: {error}");
            }
            broken[at] ^= bit;
        }
    }
    assert_eq!(broken, bytes);
}

#[test]
fn other_files_are_no_models() {
    let text = b"Eileen Collins at Kennedy Space Center, and so on for some bytes more".repeat(9);
    let tensors = [("x", NamedTensorView)];
    let other = safetensors::serialize(tensors, None).expect("a safetensors file");
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0".to_vec();
    for bytes in [Vec::new(), vec![0; 8], vec![0; 64], text, other, png] {
        let error = error(&bytes);
        assert!(matches!(error, ModelFileError::NotAModel(_)), "{error}");
        assert!(error.to_string().starts_with("not a MuSE model file"));
    }
}

/// Four zeros.
struct NamedTensorView;

impl safetensors::View for NamedTensorView {
    fn dtype(&self) -> Dtype {
        Dtype::U8
    }
    fn shape(&self) -> &[usize] {
        &[4]
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        (&[0; 4]).into()
    }
    fn data_len(&self) -> usize {
        4
    }
}

/// Changes `from`, which occurs once in the header, to `to`, and makes the checksum agree again.
fn forged(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let replace = |bytes: &[u8], from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let found: Vec<usize> = (0..bytes.len() - from.len())
            .filter(|&at| bytes[at..].starts_with(from.as_bytes()))
            .collect();
        let [at] = found[..] else {
            panic!("{from} is there {} times", found.len())
        };
        [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
    };
    let bytes = replace(bytes, from, to);
    let (start, header) = read_header(&bytes).expect("still a safetensors file");
    let metadata: BTreeMap<_, _> = header.metadata().iter().flatten().collect();
    let old = metadata[&"checksum".to_owned()].clone();
    let infos: BTreeMap<_, _> = header.tensors().into_iter().collect();
    let new = checksum(
        metadata
            .iter()
            .filter(|(key, _)| **key != "checksum")
            .map(|(key, value)| (key.as_str(), value.as_str())),
        infos.iter().map(|(name, info)| (name.as_str(), *info)),
        &bytes[start..],
    );
    replace(&bytes, &old, &new)
}

#[test]
fn another_version_is_named() {
    let bytes = forged(
        &model().to_bytes(Precision::F32),
        r#""format_version":"1""#,
        r#""format_version":"7""#,
    );
    let error = error(&bytes);
    assert!(matches!(&error, ModelFileError::Version { found } if found == "7"));
    assert!(error.to_string().contains("version 7"), "{error}");
}

#[test]
fn a_form_of_no_version_is_named() {
    let bytes = model().to_bytes(Precision::Int8);
    for (from, to, problem) in [
        ("linear.weight.scale", "linear.weight.skale", "no F32 scale"),
        (
            r#""shape":[1,128]"#,
            r#""shape":[128,1]"#,
            "scale of shape [128, 1]",
        ),
        (
            r#""long.bias":{"dtype":"F32""#,
            r#""long.bias":{"dtype":"I32""#,
            "stored as I32",
        ),
    ] {
        let error = error(&forged(&bytes, from, to));
        assert!(matches!(error, ModelFileError::Tensor { .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
    let error = error(&forged(
        &bytes,
        r#"\"word_shapes\":true"#,
        r#"\"word_shapes\":1234"#,
    ));
    assert!(matches!(error, ModelFileError::Config(_)), "{error}");
}

#[test]
fn the_mean_of_models_is_that_of_their_weights() {
    let shifted = |by: f32| {
        let mut model = model();
        for tensor in model.state.values_mut() {
            tensor.data.iter_mut().for_each(|x| *x += by);
        }
        model
    };
    let mut mean = Mean::default();
    for by in [0.0, 0.25, 0.5] {
        mean.add(shifted(by)).expect("a model of the same kind");
    }
    let (first, mean) = (model(), mean.finish().expect("a mean"));
    for (name, tensor) in &first.state {
        for (was, is) in tensor.data.iter().zip(&mean.state[name].data) {
            assert!(
                (is - was - 0.25).abs() <= 1e-5 * was.abs().max(1.0),
                "{name}: {was} {is}"
            );
        }
    }
    assert!(Mean::default().finish().is_none());
}

fn calibration(slope: f64) -> Calibration {
    let scaling = Scaling {
        slope,
        offset: -0.5,
    };
    Calibration {
        entities: vec![scaling],
        temperatures: [(Part::Sentiment, 3.0)].into(),
    }
}

#[test]
fn a_calibration_changes_no_weight() {
    for precision in [Precision::F32, Precision::F16, Precision::Int8] {
        let raw = model().to_bytes(precision);
        let new = recalibrated(&raw, |own| *own = calibration(0.5)).expect("a model");
        let (old, back) = (read(&raw), read(&new));
        assert_eq!(back.config.calibration, calibration(0.5));
        assert!(back.state == old.state && back.tokenizer.json() == old.tokenizer.json());
        // Without it the file is the same as before, to the last byte.
        let again = recalibrated(&new, |own| *own = Calibration::default());
        assert!(again.expect("a model") == raw);
    }
    let cut = &model().to_bytes(Precision::F32)[..500];
    assert!(matches!(
        recalibrated(cut, |_| ()),
        Err(ModelFileError::Cut { .. })
    ));
}

#[test]
fn a_mean_is_calibrated_as_all_of_its_models_are() {
    let mean = |slopes: &[f64]| {
        let mut mean = Mean::default();
        for slope in slopes {
            let mut model = model();
            model.config.calibration = calibration(*slope);
            mean.add(model).expect("a model of the same kind");
        }
        mean.finish().expect("a mean").config.calibration
    };
    assert_eq!(mean(&[0.5, 0.5]), calibration(0.5));
    assert!(mean(&[0.5, 0.5, 0.6]).is_empty());
    assert!(mean(&[0.5, 0.6, 0.5]).is_empty());
}

#[test]
fn models_of_another_kind_have_no_mean() {
    let refused = |change: &dyn Fn(&mut ModelFile)| {
        let mut mean = Mean::default();
        mean.add(model()).expect("the first");
        let mut other = model();
        change(&mut other);
        mean.add(other).expect_err("refused")
    };
    assert_eq!(refused(&|m| m.config.max_pieces = 32), MeanError::Config);
    let without = |m: &mut ModelFile| drop(m.state.pop_first());
    assert_eq!(refused(&without), MeanError::Weights);
}

fn bert(model: &mut ModelFile) -> &mut BertConfig {
    let TextEncoderConfig::Bert(bert) = &mut model.config.text;
    bert
}

#[test]
fn a_tokenizer_beyond_the_embedding_is_refused() {
    let mut model = model();
    let pieces = model.tokenizer.vocab_size();
    bert(&mut model).vocab_size = pieces;
    read(&model.to_bytes(Precision::F32));
    let refuses = |model: &ModelFile| {
        let known = model.config.text.vocab_size();
        let refused = error(&model.to_bytes(Precision::F32));
        assert!(
            matches!(refused, ModelFileError::Pieces { largest, known: k } if largest as usize >= known && k == known),
            "{refused}"
        );
    };
    bert(&mut model).vocab_size = pieces - 1;
    refuses(&model);
    // As many pieces as the embedding has rows, but one with a number beyond them.
    bert(&mut model).vocab_size = pieces;
    let json = model.tokenizer.json().replace("\"a\":4", "\"a\":4000");
    model.tokenizer = TextTokenizer::from_bytes(json.as_bytes()).expect("a tokenizer");
    assert_eq!(model.tokenizer.vocab_size(), pieces);
    refuses(&model);
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    for precision in [Precision::F32, Precision::F16, Precision::Int8] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let names: Vec<String> = model().state.keys().cloned().collect();
            for name in names {
                let mut model = model();
                let tensor = model.state.get_mut(&name).expect("a tensor");
                *tensor.data.last_mut().expect("an element") = bad;
                let refused = error(&model.to_bytes(precision));
                assert!(
                    matches!(&refused, ModelFileError::Tensor { name: n, .. } if *n == name),
                    "{precision:?}, {bad}: {refused}"
                );
            }
        }
    }
}
