use std::sync::Arc;

use burn::tensor::{Distribution, Tensor};

use super::captioner::{CaptionerConfig, Captions, Vocabulary};
use super::generator::PixelCnnConfig;
use super::*;
use crate::decoders::generator::SIDE;
use crate::objective::Part;
use crate::pixels::Pixels;

const D: usize = 8;

fn config(noise: f64) -> DecodersConfig {
    DecodersConfig {
        noise,
        blind: false,
        captioner: Some(CaptionerDecoder {
            sizes: CaptionerConfig {
                attention: 6,
                embedding: 5,
                hidden: 7,
                dropout: 0.0,
            },
            vocabulary: Vocabulary::of_size(9),
        }),
        generator: Some(PixelCnnConfig {
            blocks: 1,
            filters: 4,
            mixtures: 2,
            dropout: 0.0,
        }),
    }
}

fn thumbnail(shade: u8) -> Arc<Thumbnail> {
    let bytes = (0..Thumbnail::LENGTH).map(|at| shade.wrapping_add((at % 50) as u8));
    Arc::new(Thumbnail::from_bytes(bytes.collect()).expect("a thumbnail's length"))
}

/// Of four samples the second has a caption and a picture, the fourth a picture.
fn pairs(device: &Device) -> DecoderBatch {
    let targets = [
        None,
        Some(DecoderTarget {
            tokens: Some(vec![1, 5, 6, 2]),
            thumbnail: Some(thumbnail(10)),
        }),
        None,
        Some(DecoderTarget {
            tokens: None,
            thumbnail: Some(thumbnail(90)),
        }),
    ];
    DecoderBatch::new(&targets, &config(0.0), MicrobatchSize::CPU, device).expect("pairs")
}

fn encoded(device: &Device) -> Encoded {
    let random = |rows| {
        let rows = Tensor::random([4, rows, D], Distribution::Default, device);
        match device.is_autodiff() {
            true => rows.require_grad(),
            false => rows,
        }
    };
    Encoded {
        text: random(3),
        image: random(64),
    }
}

/// L_it and L_ti.
fn losses(decoders: &Decoders, encoded: &Encoded, pairs: &DecoderBatch) -> [Tensor<1>; 2] {
    let microbatches = decoders.microbatches(encoded, pairs);
    [Part::Captioning, Part::Generation].map(|part| {
        let own = microbatches
            .iter()
            .filter(|microbatch| microbatch.part() == part);
        own.map(|microbatch| microbatch.loss(decoders))
            .reduce(|sum, loss| sum + loss)
            .expect("a microbatch")
    })
}

/// Which samples a gradient `[4, n, D]` reaches.
fn reached(gradient: Option<Tensor<3>>) -> Vec<bool> {
    let Some(gradient) = gradient else {
        return vec![false; 4];
    };
    let sums = gradient.abs().sum_dim(2).sum_dim(1).into_data();
    let sums: Vec<f32> = sums.try_to_vec().expect("floats");
    sums.into_iter().map(|sum| sum > 0.0).collect()
}

#[test]
fn only_pairs_teach_and_only_their_encoders() {
    let device = Device::flex().autodiff();
    let (encoded, pairs) = (encoded(&device), pairs(&device));
    let losses = |blind| {
        let config = DecodersConfig {
            blind,
            ..config(0.0)
        };
        let decoders = Decoders::new(&config, D, &device);
        losses(&decoders, &encoded, &pairs).map(|loss| loss.backward())
    };
    let [captioning, generation] = losses(false);
    assert_eq!(
        reached(encoded.image.grad(&captioning)),
        [false, true, false, false]
    );
    assert_eq!(reached(encoded.text.grad(&captioning)), [false; 4]);
    assert_eq!(
        reached(encoded.text.grad(&generation)),
        [false, true, false, true]
    );
    assert_eq!(reached(encoded.image.grad(&generation)), [false; 4]);

    let [captioning, generation] = losses(true);
    assert_eq!(reached(encoded.image.grad(&captioning)), [false; 4]);
    assert_eq!(reached(encoded.text.grad(&generation)), [false; 4]);
}

#[test]
fn scores_are_the_losses_pair_by_pair() {
    let device = Device::flex();
    let decoders = Decoders::new(&config(0.0), D, &device);
    let (encoded, pairs) = (encoded(&device), pairs(&device));
    let scores = decoders.scores(&encoded, &pairs);
    let [(1, _, 3)] = scores.captions[..] else {
        panic!("{scores:?}");
    };
    let [(1, one), (3, other)] = scores.pictures[..] else {
        panic!("{scores:?}");
    };
    let [_, generation] = losses(&decoders, &encoded, &pairs);
    let mean: f32 = generation.into_scalar();
    assert!((mean - (one + other) / 2.0).abs() < 1e-4);
    assert!((one - other).abs() > 1e-4);
}

#[test]
fn there_is_noise_in_training_alone() {
    let device = Device::flex().autodiff();
    let decoders = Decoders::new(&config(1.0), D, &device);
    let rows = Tensor::<2>::ones([1, D], &device);
    let read = |rows: Tensor<2>| rows.into_data().try_to_vec::<f32>().expect("floats");
    let twice = |decoders: &Decoders, rows: &Tensor<2>| {
        [0, 1].map(|_| read(decoders.condition(rows.clone())))
    };
    let [one, other] = twice(&decoders, &rows);
    assert_ne!(one, other);
    let [one, other] = twice(&decoders.valid(), &rows.inner());
    assert_eq!(one, other);
}

#[test]
fn weights_leave_and_enter_a_file_under_their_own_names() {
    let device = Device::flex();
    let decoders = Decoders::new(&config(0.0), D, &device);
    let mut state: StateDict = decoders.state().collect();
    let other = NamedTensor {
        shape: vec![1],
        data: vec![0.5],
    };
    state.insert("deco".to_owned(), other.clone());
    state.insert("entities.x".to_owned(), other.clone());
    assert_eq!(take_state(&mut state), state_dict(&decoders));
    assert_eq!(state.len(), 2);
}

#[test]
fn thumbnails_are_whole_numbers() {
    let (width, height) = (2 * SIDE, 2 * SIDE);
    let picture = Pixels {
        width,
        height,
        rgb: [10, 200, 255].repeat(width * height),
    };
    let thumbnail = Thumbnail::new(&picture);
    let plane = SIDE * SIDE;
    for (channel, value) in [10, 200, 255].into_iter().enumerate() {
        let values = &thumbnail.bytes()[channel * plane..(channel + 1) * plane];
        assert!(values.iter().all(|&byte| byte == value));
    }
    assert!(Thumbnail::from_bytes(vec![0; 5]).is_none());
}

#[test]
fn hostile_sizes_are_named() {
    let wrong = |change: &dyn Fn(&mut DecodersConfig), named: &str| {
        let mut config = config(0.0);
        change(&mut config);
        let error = config.validate().expect_err(named);
        assert!(error.to_string().contains(named), "{error}");
    };
    assert!(config(1.0).validate().is_ok());
    wrong(&|c| c.noise = f64::NAN, "noise");
    wrong(&|c| c.generator.as_mut().expect("one").blocks = 0, "blocks");
    wrong(
        &|c| c.generator.as_mut().expect("one").filters = usize::MAX,
        "filters",
    );
    wrong(
        &|c| c.captioner.as_mut().expect("one").sizes.hidden = 0,
        "hidden",
    );
    wrong(
        &|c| c.captioner.as_mut().expect("one").sizes.dropout = 1.0,
        "dropout",
    );
}

#[test]
fn microbatches_add_up_to_the_loss_of_the_batch() {
    let device = Device::flex();
    let (decoders, encoded) = (Decoders::new(&config(0.0), D, &device), encoded(&device));
    let targets = [3, 1, 4, 2].map(|words| {
        let words = std::iter::repeat_n(5, words);
        Some(DecoderTarget {
            tokens: Some(std::iter::once(1).chain(words).chain([2]).collect()),
            thumbnail: Some(thumbnail(30)),
        })
    });
    let of = |size: usize| {
        let size = MicrobatchSize {
            captions: size,
            pictures: size,
        };
        let pairs = DecoderBatch::new(&targets, &config(0.0), size, &device).expect("pairs");
        losses(&decoders, &encoded, &pairs).map(Tensor::into_scalar::<f32>)
    };
    let whole = of(usize::MAX);
    for size in [1, 2, 3] {
        for (sum, whole) in of(size).into_iter().zip(whole) {
            assert!((sum - whole).abs() < 1e-5, "{sum} is not {whole}");
        }
    }
    // The captioner's loss is the one of its paper, over the whole batch.
    let captioner = decoders.captioner.as_ref().expect("a captioner");
    let tokens = targets.map(|target| target.and_then(|target| target.tokens).expect("tokens"));
    let captions = Captions::new(&tokens, 9, &device);
    let expected: f32 = captioner
        .loss(decoders.regions(encoded.image.clone()), &captions)
        .into_scalar();
    assert!((whole[0] - expected).abs() < 1e-5);
}
