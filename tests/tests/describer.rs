//! What captions and pictures start from, beside what training learns from: `look` and `read` against `scores`.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};
use muse_core::decoders::captioner::{CaptionerConfig, Captions, Vocabulary};
use muse_core::decoders::generator::{PixelCnnConfig, SIDE, to_unit};
use muse_core::decoders::{CaptionerDecoder, Decoders, DecodersConfig, Thumbnail};
use muse_core::describer::Describer;
use muse_core::file::Precision;
use muse_core::pixels::{Pixels, decode};
use muse_core::text::splitter::split;
use muse_tests::{ImageFormat, picture, tiny_model};

/// The tiny model with decoders as chance has them, always the same.
fn describer(blind: bool) -> Describer {
    // The device's random numbers are those of the process: tests at its side would draw some between.
    static DRAWING: Mutex<()> = Mutex::new(());
    let _alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut model = tiny_model();
    let words = ["eileen", "at", "space", "center"];
    let pieces = model.tokenizer.encode_words(&words).concat();
    let config = DecodersConfig {
        noise: 1.0,
        blind,
        captioner: Some(CaptionerDecoder {
            sizes: CaptionerConfig {
                attention: 8,
                embedding: 6,
                hidden: 10,
                dropout: 0.5,
            },
            vocabulary: Vocabulary::new([&pieces], 1),
        }),
        generator: Some(PixelCnnConfig {
            blocks: 1,
            filters: 4,
            mixtures: 2,
            dropout: 0.5,
        }),
    };
    let device = Device::flex();
    device.seed(3);
    let decoders = Decoders::new(&config, model.config.text.width(), &device);
    model.state.extend(decoders.state());
    model.config.decoders = Some(config);
    Describer::from_bytes(&model.to_bytes(Precision::F32), &device).expect("a model")
}

fn photo(color: [u8; 3]) -> Pixels {
    decode(&picture(70, 50, color, ImageFormat::Png)).expect("a picture")
}

fn words(caption: &str) -> Vec<String> {
    split(caption).into_iter().map(|word| word.text).collect()
}

const CAPTIONS: [&str; 2] = ["Eileen at space center", "space at"];
const COLORS: [[u8; 3]; 2] = [[250, 30, 30], [20, 200, 90]];

/// Cross-entropies of both captions with both photos, and nats of both photos of both captions, by `look` and `read`.
fn by_hand(describer: &Describer) -> Vec<(f32, f32)> {
    let mut losses = Vec::new();
    for color in COLORS {
        for caption in CAPTIONS {
            let (captioner, vocabulary, regions) =
                describer.captioning_inputs(&photo(color)).expect("one");
            let device = regions.device();
            let tokens = describer.tokens(&words(caption)).expect("a captioner");
            let captions = Captions::new(&[tokens], vocabulary.len(), &device);
            let said: f32 = captioner.cross_entropies(regions, &captions).into_scalar();

            let (generator, condition) = describer.generation_inputs(caption).expect("one");
            let thumbnail = Thumbnail::new(&photo(color));
            let pixels = thumbnail.bytes().iter().map(|&byte| to_unit(byte));
            let pixels = TensorData::new(pixels.collect::<Vec<f32>>(), [1, 3, SIDE, SIDE]);
            let pixels = Tensor::<4>::from_data(pixels, &device);
            let drawn: f32 = generator.losses(pixels, condition).into_scalar();
            losses.push((said, drawn));
        }
    }
    losses
}

fn by_scores(describer: &Describer) -> Vec<(f32, f32)> {
    let mut losses = Vec::new();
    for color in COLORS {
        let seen = describer.encode_photo(&photo(color));
        for caption in CAPTIONS {
            let words = words(caption);
            let scores = describer.scores(&[(&words, &seen)]);
            losses.push((scores.captions[0].1, scores.pictures[0].1));
        }
    }
    losses
}

#[test]
fn what_is_looked_at_and_read_is_what_training_learns_from() {
    let describer = describer(false);
    let (hand, scores) = (by_hand(&describer), by_scores(&describer));
    for (hand, score) in hand.iter().zip(&scores) {
        assert!((hand.0 - score.0).abs() < 1e-3, "{hand:?}, {score:?}");
        assert!((hand.1 - score.1).abs() < 1e-4, "{hand:?}, {score:?}");
    }
    // The photo matters to what is said, the caption to what is drawn.
    let [(red, by_one), (_, by_other), (green, _), _] = hand[..] else {
        panic!("{hand:?}");
    };
    assert!((red - green).abs() > 1e-4, "{hand:?}");
    assert!((by_one - by_other).abs() > 1e-6, "{hand:?}");
}

#[test]
fn the_probability_of_what_is_said_is_its_cross_entropy() {
    let describer = describer(false);
    let (captioner, vocabulary, regions) = describer
        .captioning_inputs(&photo(COLORS[0]))
        .expect("a captioner");
    let device = regions.device();
    let said = captioner.beam_search(regions.clone(), 3, 6);
    assert!(said.iter().any(|beam| beam.ended), "{said:?}");
    for beam in &said {
        let mut caption = vocabulary.encode(&vocabulary.decode(&beam.tokens));
        if !beam.ended {
            caption.pop(); // it was cut before its end
        }
        let captions = Captions::new(&[caption], vocabulary.len(), &device);
        let nats: f32 = (captioner.cross_entropies(regions.clone(), &captions)).into_scalar();
        let sure = beam.log_probability as f32;
        assert!((nats + sure).abs() < 1e-3, "{nats}, {beam:?}");
    }
}

#[test]
fn blind_decoders_see_and_read_nothing() {
    let describer = describer(true);
    let (hand, scores) = (by_hand(&describer), by_scores(&describer));
    for (hand, score) in hand.iter().zip(&scores) {
        assert!((hand.0 - score.0).abs() < 1e-3, "{hand:?}, {score:?}");
        assert!((hand.1 - score.1).abs() < 1e-4, "{hand:?}, {score:?}");
    }
    let [(red, by_one), (_, by_other), (green, _), _] = scores[..] else {
        panic!("{scores:?}");
    };
    assert_eq!((red, by_one), (green, by_other));
}

#[test]
fn of_a_long_text_it_is_told_what_is_read() {
    let describer = describer(false);
    assert_eq!(describer.words_read("Eileen, at   space"), None);
    assert_eq!(describer.words_read(""), None);
    let long = "é at ".repeat(60);
    let read = describer.words_read(&long).expect("too long");
    assert!(read.ends_with("at") || read.ends_with('é'), "{read}");
    assert!(long.starts_with(read) && read.len() < long.len());
    let conditions = [long.as_str(), read].map(|text| {
        let (_, condition) = describer.generation_inputs(text).expect("a generator");
        condition.into_data().try_to_vec::<f32>().expect("floats")
    });
    assert_eq!(conditions[0], conditions[1]);
}
