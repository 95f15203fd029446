//! The shipped model as it is asked, on the device under test, beside the same weights as floats on the CPU: captions of all
//! lengths, one by one and together, with pictures and without. On a GPU these are the kernels of `core/src/layers/gpu`.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use half::f16;
use muse_core::batch::{Batch, Example, Picture};
use muse_core::encoders::image::REGIONS;
use muse_core::file::ModelFile;
use muse_core::model::Muse;
use muse_core::text::tokenizer::EncodedText;
use muse_core::{MuseConfig, Tagger};
use muse_tests::golden::{assert_close, device, numbers};

/// Of what 8-bit weights give on a CPU, whose rows are of 16 bits; a GPU is far within it.
const HIDDEN: f32 = 5e-3;
const CLOSE: f32 = 5e-5;

struct Both {
    config: MuseConfig,
    floats: Muse,
    tagger: Tagger,
    tolerance: f32,
}

impl Both {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/muse-small.muse");
        let bytes = std::fs::read(path).expect("the shipped model");
        let mut file = ModelFile::from_bytes(&bytes).expect("a model");
        let floats = file.take_muse(&Device::flex()).expect("a model");
        let on_cpu = std::env::var("MUSE_TEST_DEVICE").as_deref() != Ok("wgpu");
        Self {
            config: file.config,
            floats,
            tagger: Tagger::from_bytes(&bytes, &device()).expect("a model"),
            tolerance: if on_cpu { HIDDEN } else { CLOSE },
        }
    }

    /// Compares all that the model makes of captions of these lengths.
    fn compare(&self, what: &str, lengths: &[usize], picture: impl Fn(usize) -> Look) {
        let examples = |device: &Device| -> Vec<Example> {
            let samples = lengths.iter().enumerate();
            let samples = samples.map(|(sample, &length)| {
                Example::unlabelled(
                    text(sample, length),
                    picture(sample).on(device, &self.config),
                )
            });
            samples.collect()
        };
        let batch = |device: &Device| Batch::new(&examples(device), &self.config, 0, device);
        let (expected, actual) = (batch(&Device::flex()), batch(&device()));
        let (ours, theirs) = (self.tagger.muse(), &self.floats);
        let longest = *lengths.iter().max().expect("captions");
        let width = self.config.text.width();
        // Padding is no answer.
        let real = |before: usize, width: usize| {
            move |index: usize| {
                let row = index / width;
                row % (longest + before) < lengths[row / (longest + before)] + before
            }
        };
        let compare =
            |part: &str, ours: Vec<f32>, theirs: Vec<f32>, kept: &dyn Fn(usize) -> bool| {
                assert_close(
                    &format!("{what}: {part}"),
                    &ours,
                    &theirs,
                    self.tolerance,
                    kept,
                );
            };
        let texts = [ours.encode_text(&actual), theirs.encode_text(&expected)];
        let [a, b] = texts.map(numbers);
        compare("text", a, b, &real(0, width));
        let (a, b) = (ours.fuse(&actual), theirs.fuse(&expected));
        for (layer, (a, b)) in a.trace.iter().zip(&b.trace).enumerate() {
            for (stream, (a, b)) in a.iter().zip(b).enumerate() {
                let what = format!("layer {layer}, stream {stream}");
                let kept = |index| stream == 1 || real(1, 1)(index);
                let scores = [&a.scores, &b.scores].map(|scores| numbers(scores.clone()));
                let [x, y] = scores;
                compare(&format!("{what}, scores"), x, y, &kept);
                let chosen = [&a.chosen, &b.chosen].map(|c| c.clone().map(numbers));
                assert_eq!(chosen[0], chosen[1], "{what}: chosen");
            }
        }
        compare(
            "crossed text",
            numbers(a.text.clone()),
            numbers(b.text.clone()),
            &real(1, width),
        );
        compare(
            "crossed image",
            numbers(a.image.clone()),
            numbers(b.image.clone()),
            &|_| true,
        );
        let (a, b) = (
            ours.heads(&actual, a).heads,
            theirs.heads(&expected, b).heads,
        );
        for (head, logits) in a.classes {
            let theirs = numbers(b.classes[&head].clone());
            compare("classes", numbers(logits), theirs, &|_| true);
        }
        if let (Some(a), Some(b)) = (a.entities, b.entities) {
            let [_, words, tags] = a.dims();
            let kept = |index: usize| {
                let row = index / tags;
                row % words < lengths[row / words].saturating_sub(2)
            };
            compare("entities", numbers(a), numbers(b), &kept);
        }
    }
}

/// What a sample has for a picture.
#[derive(Clone, Copy)]
enum Look {
    None,
    /// Of this number, from a cache.
    Kept(usize),
    /// Of this number, already on the device.
    There(usize),
}

impl Look {
    fn on(self, device: &Device, config: &MuseConfig) -> Option<Arc<Picture>> {
        let channels = config.image.encoder.channels();
        let regions = |number: usize| -> Vec<f32> {
            let mut random = Random(number as u64 + 1);
            (0..REGIONS * channels)
                .map(|_| f16::from_f32(random.share() * 2.0).to_f32())
                .collect()
        };
        Some(Arc::new(match self {
            Self::None => return None,
            Self::Kept(number) => {
                let regions = regions(number).into_iter();
                Picture::Regions(regions.map(f16::from_f32).collect())
            }
            Self::There(number) => {
                let regions = Tensor::<1>::from_floats(regions(number).as_slice(), device);
                Picture::Encoded(Box::new(regions.reshape([1, REGIONS, channels])))
            }
        }))
    }
}

/// A caption of so many pieces.
fn text(seed: usize, length: usize) -> EncodedText {
    let mut random = Random((seed * 1000 + length) as u64 + 7);
    let mut piece = |_| 1000 + (random.share() * 29_000.0) as u32;
    let mut pieces: Vec<u32> = (0..length).map(&mut piece).collect();
    pieces[0] = 101;
    pieces[length - 1] = 102;
    EncodedText {
        pieces,
        shapes: (0..length).map(|place| place % 5).collect(),
        first_pieces: (1..length.saturating_sub(1)).collect(),
    }
}

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn share(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
}

#[test]
fn captions_of_all_lengths() {
    let both = Both::new();
    for length in [2, 3, 4, 7, 8, 9, 16, 31, 32, 33, 48, 63, 64] {
        both.compare(&format!("{length} pieces"), &[length], |_| Look::None);
    }
    for length in [2, 5, 16, 40, 64] {
        both.compare(&format!("{length} pieces, a picture"), &[length], |_| {
            Look::There(length)
        });
    }
}

#[test]
fn captions_together() {
    let both = Both::new();
    both.compare("three without pictures", &[5, 12, 3], |_| Look::None);
    both.compare("three with their own", &[9, 4, 20], Look::There);
    let some = |sample: usize| match sample {
        1 => Look::None,
        other => Look::Kept(other / 2),
    };
    both.compare("some with pictures", &[7, 30, 7, 18], some);
    // So many that burn multiplies.
    both.compare("many", &[64, 33, 64, 50, 64], |sample| match sample {
        0 => Look::None,
        other => Look::There(other),
    });
}

#[test]
fn captions_longer_than_a_window() {
    let both = Both::new();
    both.compare("100 pieces", &[100], |_| Look::There(1));
    both.compare("512 pieces", &[512], |_| Look::None);
}
