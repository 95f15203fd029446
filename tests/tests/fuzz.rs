//! Model files and pictures as chance and malice make them: each is refused with a word, or used with a sound answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::Device;
use image::ImageFormat;
use muse_core::file::{ModelFile, Precision};
use muse_core::pixels::{ImagePreparation, Pixels, decode, prepare};
use muse_core::tagger::TaggerError;
use muse_core::text::tokenizer::TextTokenizer;
use muse_core::{Caption, MuseConfig, Request, Tagger};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const MODELS: u64 = 500;
const PICTURES: u64 = 500;

/// Bytes turned, cut away or put in.
fn damage(rng: &mut StdRng, bytes: &mut Vec<u8>, within: usize) {
    let within = within.min(bytes.len()).max(1);
    match rng.random_range(0..4) {
        0 => bytes.truncate(rng.random_range(0..bytes.len())),
        1 => {
            let at = rng.random_range(0..within);
            let part: Vec<u8> = (0..rng.random_range(1..40)).map(|_| rng.random()).collect();
            bytes.splice(at..at, part);
        }
        _ => {
            for _ in 0..rng.random_range(1..8) {
                let at = rng.random_range(0..within);
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
        }
    }
}

/// Replaces a value somewhere within.
fn twist(rng: &mut StdRng, value: &mut Value) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = keys.choose(rng).expect("a key");
            twist(rng, &mut map[key]);
        }
        Value::Array(list) if !list.is_empty() && rng.random_bool(0.8) => {
            let at = rng.random_range(0..list.len());
            twist(rng, &mut list[at]);
        }
        leaf => {
            let others = [
                json!(0),
                json!(1),
                json!(3),
                json!(-1),
                json!(63),
                json!(1 << 20),
                json!(u64::MAX),
                json!(1e300),
                json!(1e-300),
                json!(0.5),
                json!(""),
                json!("I-"),
                json!("[UNK]"),
                json!("\u{202e}\u{0}"),
                json!(null),
                json!(true),
                json!([]),
                json!({}),
            ];
            *leaf = others.choose(rng).expect("a value").clone();
        }
    }
}

/// A model file that is not what a trainer wrote, with a checksum that is right where it can be; `None` where already the
/// parts do not make a model.
fn mutated(rng: &mut StdRng, model: &ModelFile, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut model = model.clone();
    match rng.random_range(0..6) {
        0 => {
            let mut bytes = bytes.to_vec();
            let within = bytes.len();
            damage(rng, &mut bytes, within);
            return Some(bytes);
        }
        1 => {
            let mut bytes = bytes.to_vec();
            damage(rng, &mut bytes, 4000); // within the header
            return Some(bytes);
        }
        2 => {
            let mut config = serde_json::to_value(&model.config).expect("plain data");
            twist(rng, &mut config);
            model.config = serde_json::from_value::<MuseConfig>(config).ok()?;
        }
        3 => {
            let mut json: Value = serde_json::from_str(&model.tokenizer.json()).expect("JSON");
            twist(rng, &mut json);
            model.tokenizer = TextTokenizer::from_bytes(json.to_string().as_bytes()).ok()?;
        }
        _ => {
            let names: Vec<String> = model.state.keys().cloned().collect();
            let name = names.choose(rng).expect("a tensor");
            let mut tensor = model.state.remove(name).expect("it is there");
            match rng.random_range(0..4) {
                0 => return Some(model.to_bytes(Precision::Int8)), // one is missing
                1 => tensor.shape.reverse(),
                2 => {
                    let extremes = [f32::MAX, f32::MIN, 1e30, 1e-42, f32::NAN, f32::INFINITY];
                    tensor.data.fill(*extremes.choose(rng).expect("a number"));
                }
                _ => {
                    let at = rng.random_range(0..tensor.data.len());
                    tensor.data[at] = [-1e20, f32::MAX, f32::NAN][rng.random_range(0..3)];
                }
            }
            model.state.insert(name.clone(), tensor);
        }
    }
    let precisions = [Precision::F32, Precision::F16, Precision::Int8];
    Some(model.to_bytes(precisions[rng.random_range(0..3)]))
}

/// Whether the file was taken; its answers are then numbers.
fn use_model(bytes: &[u8], picture: &Pixels) -> bool {
    let Ok(tagger) = Tagger::from_bytes(bytes, &Device::flex()) else {
        return false;
    };
    let captions = [
        "Eileen Collins at Kennedy Space Center",
        "",
        "\u{202e}🚀 日本 a",
    ];
    let requests: Vec<Request> = captions
        .iter()
        .enumerate()
        .map(|(at, caption)| Request {
            caption: Caption::Text((*caption).to_owned()),
            picture: (at == 0).then(|| picture.clone()),
        })
        .collect();
    let tagged = match tagger.tag_batch(&requests) {
        Ok(tagged) => tagged,
        Err(TaggerError::NotFinite) => return false,
        Err(error) => panic!("{error}"),
    };
    for answer in &tagged {
        assert!(answer.entities.iter().all(|e| e.score.is_finite()));
        let mood = answer.sentiment.iter().flat_map(|s| &s.probabilities);
        assert!(mood.clone().all(|(_, share)| share.is_finite()));
    }
    assert!(tagged[1].sentiment.is_none(), "of nothing");
    true
}

#[test]
fn no_model_file_breaks_it() {
    let model = muse_tests::tiny_model();
    let bytes = model.to_bytes(Precision::F32);
    let picture = Pixels {
        width: 2,
        height: 1,
        rgb: vec![0, 100, 200, 255, 3, 9],
    };
    assert!(use_model(&bytes, &picture));
    let mut taken = 0;
    for seed in 0..MODELS {
        let mut rng = StdRng::seed_from_u64(seed);
        let Some(bytes) = mutated(&mut rng, &model, &bytes) else {
            continue;
        };
        let used = catch_unwind(AssertUnwindSafe(|| use_model(&bytes, &picture)));
        taken += usize::from(used.unwrap_or_else(|_| panic!("the file of seed {seed}")));
    }
    // Some changes do no harm, most do: else nothing would have been tested.
    assert!((20..400).contains(&taken), "{taken} of {MODELS} were taken");
}

#[test]
fn no_picture_breaks_it() {
    let formats = [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
    ];
    let good = formats.map(|format| muse_tests::picture(24, 16, [200, 90, 30], format));
    let preparation = ImagePreparation {
        size: 32,
        ..muse_tests::tiny_config(10).image.preparation
    };
    let mut taken = 0;
    for seed in 0..PICTURES {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = good.choose(&mut rng).expect("a picture").clone();
        let within = if rng.random() { 64 } else { bytes.len() };
        damage(&mut rng, &mut bytes, within);
        let used = catch_unwind(|| {
            let Ok(pixels) = decode(&bytes) else {
                return false;
            };
            assert_eq!(pixels.rgb.len(), 3 * pixels.width * pixels.height);
            prepare(&pixels, &preparation).iter().all(|x| x.is_finite())
        });
        taken += usize::from(used.unwrap_or_else(|_| panic!("the picture of seed {seed}")));
    }
    assert!(
        (50..450).contains(&taken),
        "{taken} of {PICTURES} were taken"
    );
}
