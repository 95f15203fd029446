use burn::tensor::{Device, TensorData};

use super::*;
use crate::decoders::generator::PixelCnnConfig;

fn net(blocks: usize, device: &Device) -> PixelCnn {
    let config = PixelCnnConfig {
        blocks,
        filters: 5,
        mixtures: 3,
        dropout: 0.5,
    };
    PixelCnn::new(&config, 7, device)
}

fn waves(shape: [usize; 2], device: &Device) -> Tensor<2> {
    let data = (0..shape[0] * shape[1]).map(|i| (1.3 * i as f32).sin());
    Tensor::from_data(TensorData::new(data.collect(), shape), device)
}

/// Logits `[n, side, side, 30]` of a full pass.
fn full_pass(net: &PixelCnn, pixels: &[f32], condition: &Tensor<2>, side: usize) -> Vec<f32> {
    let shape = [condition.dims()[0], side, side, 3];
    let pixels =
        Tensor::<4>::from_data(TensorData::new(pixels.to_vec(), shape), &condition.device());
    let logits = net.forward(pixels.permute([0, 3, 1, 2]), condition.clone());
    let logits = logits.permute([0, 2, 3, 1]).into_data();
    logits.try_to_vec().expect("floats")
}

#[test]
fn every_pixel_has_the_logits_of_a_full_pass() {
    let device = Device::flex();
    for (blocks, side, pictures) in [(1, 4, 1), (1, 12, 3), (2, 8, 2)] {
        device.seed(5);
        let net = net(blocks, &device);
        let condition = waves([pictures, 7], &device);
        let pixels: Vec<f32> = (0..pictures * side * side * 3)
            .map(|i| (0.9 * i as f32).cos())
            .collect();
        let expected = full_pass(&net, &pixels, &condition, side);
        let mut sampler = Sampler::new(&net, condition, side);
        for y in 0..side {
            for x in 0..side {
                let logits = sampler.logits(y, x);
                for (picture, logits) in logits.chunks(30).enumerate() {
                    let pixel = (picture * side + y) * side + x;
                    for (a, e) in logits.iter().zip(&expected[pixel * 30..]) {
                        assert!(
                            (a - e).abs() < 1e-4,
                            "{blocks} {side} ({y}, {x}): {a}, not {e}"
                        );
                    }
                    let colours = std::array::from_fn(|c| pixels[pixel * 3 + c]);
                    sampler.put(picture, y, x, colours);
                }
            }
        }
    }
}

#[test]
fn the_pictures_are_those_of_full_passes() {
    let device = Device::flex();
    device.seed(6);
    let net = net(1, &device);
    let (side, temperature, seed) = (8, 0.8, 11);
    let condition = waves([2, 7], &device);
    let mut lines = 0;
    let mut paint = |condition, first| {
        let sampling = Sampling {
            temperature,
            seed,
            first,
        };
        net.sample(condition, side, sampling, || lines += 1)
    };
    let painted = paint(condition.clone(), 0);

    let mut expected = vec![Vec::new(); 2];
    let mut pixels = vec![0.0; 2 * side * side * 3];
    let mut random = [0, 1].map(|picture| Random::new(seed, picture));
    for pixel in 0..side * side {
        let logits = full_pass(&net, &pixels, &condition, side);
        for picture in 0..2 {
            let at = picture * side * side + pixel;
            let logits = &logits[at * 30..][..30];
            let colours = draw(logits, temperature, || random[picture].uniform());
            expected[picture].extend(colours);
            pixels[at * 3..][..3].copy_from_slice(&colours.map(to_unit));
        }
    }
    assert_eq!(painted, expected);
    assert_ne!(painted[0], painted[1]);
    // A picture does not depend on how many are painted with it.
    for picture in 0..2 {
        let alone = paint(condition.clone().narrow(0, picture, 1), picture);
        assert_eq!(alone, painted[picture..=picture]);
    }
    assert_eq!(lines, 3 * side);
}
