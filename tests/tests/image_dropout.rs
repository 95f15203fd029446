//! Dropout of the image encoder's channels (`model.image.dropout`).

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use half::f16;
use muse_core::batch::{Batch, Example, Picture};
use muse_core::config::MuseConfig;
use muse_core::encoders::image::REGIONS;
use muse_core::model::Muse;
use muse_tests::{tiny_config, tiny_tokenizer};

const PICTURES: usize = 64;

/// Examples of pictures with one lit channel each, which is another one in every second picture; the last has no picture.
fn examples(config: &MuseConfig) -> Vec<Example> {
    let text = tiny_tokenizer(&["crew"])
        .windows(&["crew"], 8)
        .remove(0)
        .encoded;
    let channels = config.image.encoder.channels();
    let lit = |i: usize| {
        let mut regions = vec![f16::ZERO; REGIONS * channels];
        for (place, region) in regions.chunks_mut(channels).enumerate() {
            region[[3, 700][i % 2]] = f16::from_f32(1.0 + place as f32 / 8.0);
        }
        Some(Arc::new(Picture::Regions(regions)))
    };
    (0..PICTURES)
        .map(lit)
        .chain([None])
        .map(|picture| Example::unlabelled(text.clone(), picture))
        .collect()
}

/// I_e without the projection's bias, on `device`: all values, by pictures and regions.
fn encoded(muse: &Muse, config: &MuseConfig, device: &Device) -> Vec<Vec<f32>> {
    let batch = Batch::new(&examples(config), config, 0, device);
    let bias = muse.projection.bias.as_ref().expect("a bias").val();
    let rows: Tensor<3> = muse.encode_image(&batch) - bias.unsqueeze();
    let values = rows.into_data().try_to_vec::<f32>().expect("f32");
    let picture = values.len() / (PICTURES + 1);
    values.chunks(picture).map(<[f32]>::to_vec).collect()
}

#[test]
fn a_channel_is_hidden_in_all_regions_of_a_picture_and_only_in_training() {
    let mut config = tiny_config(tiny_tokenizer(&["crew"]).vocab_size());
    config.image.dropout = 0.5;
    let device = Device::flex().autodiff();
    let muse = Muse::new(&config, &device).expect("the tiny configuration");
    let plain = encoded(&muse.valid(), &config, &Device::flex());
    let dropped = encoded(&muse, &config, &device);

    let mut hidden = [0; 2];
    for i in 0..PICTURES {
        let zero = dropped[i].iter().all(|value| value.abs() < 1e-5);
        hidden[i % 2] += usize::from(zero);
        let factor = if zero { 0.0 } else { 2.0 };
        for (value, plain) in dropped[i].iter().zip(&plain[i]) {
            assert!(
                (value - factor * plain).abs() < 1e-4,
                "picture {i}: {value}, {plain}"
            );
        }
    }
    // Each picture draws for itself: of 32 coins some fall on either side.
    assert!(hidden.iter().all(|n| (4..=28).contains(n)), "{hidden:?}");
    assert_eq!(
        dropped[PICTURES], plain[PICTURES],
        "no picture, no channels"
    );

    config.image.dropout = 1.0;
    let error = Muse::new(&config, &device).expect_err("all channels");
    assert!(error.to_string().contains("image.dropout"), "{error}");
}
