//! The captioner against the original PyTorch code.

use burn::tensor::Device;
use muse_core::decoders::captioner::{Captioner, CaptionerConfig, Captions};
use muse_core::weights::{NamedTensor, StateDict, apply_state};
use muse_tests::golden::{Golden, assert_close, device, numbers};

const TOLERANCE: f32 = 1e-4;
const VOCABULARY: usize = 17;
const WIDTH: usize = 12;

fn transposed(tensor: &NamedTensor) -> NamedTensor {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    let data = (0..rows * columns)
        .map(|i| tensor.data[i % rows * columns + i / rows])
        .collect();
    NamedTensor {
        shape: vec![columns, rows],
        data,
    }
}

/// Some columns of a matrix.
fn columns(tensor: &NamedTensor, first: usize, count: usize) -> NamedTensor {
    let data = tensor
        .data
        .chunks(tensor.shape[1])
        .flat_map(|row| row[first..first + count].to_vec())
        .collect();
    NamedTensor {
        shape: vec![tensor.shape[0], count],
        data,
    }
}

/// The original's weights under our names. It has one matrix for embedding and context, and two biases that are only
/// ever added.
fn state(golden: &Golden, embedding: usize) -> StateDict {
    let weight = |name: &str| golden.named(&format!("weight.{name}"));
    let mut state = StateDict::new();
    for (ours, theirs) in [
        ("attention.region", "attention.encoder_att"),
        ("attention.hidden", "attention.decoder_att"),
        ("initial_hidden", "init_h"),
        ("initial_cell", "init_c"),
        ("gate", "f_beta"),
        ("vocabulary", "fc"),
    ] {
        let matrix = transposed(&weight(&format!("{theirs}.weight")));
        state.insert(format!("{ours}.weight"), matrix);
        state.insert(format!("{ours}.bias"), weight(&format!("{theirs}.bias")));
    }
    let input = weight("decode_step.weight_ih");
    let mut bias = weight("decode_step.bias_ih");
    for (sum, other) in bias.data.iter_mut().zip(weight("decode_step.bias_hh").data) {
        *sum += other;
    }
    for (ours, tensor) in [
        (
            "attention.score.weight",
            transposed(&weight("attention.full_att.weight")),
        ),
        ("embedding.weight", weight("embedding.weight")),
        (
            "lstm.token.weight",
            transposed(&columns(&input, 0, embedding)),
        ),
        ("lstm.token.bias", bias),
        (
            "lstm.context.weight",
            transposed(&columns(&input, embedding, WIDTH)),
        ),
        (
            "lstm.hidden.weight",
            transposed(&weight("decode_step.weight_hh")),
        ),
    ] {
        state.insert(ours.to_owned(), tensor);
    }
    state
}

fn captioner(golden: &Golden, device: &Device) -> Captioner {
    let config = CaptionerConfig {
        attention: 8,
        embedding: 9,
        hidden: 10,
        dropout: 0.0,
    };
    let captioner = Captioner::new(&config, WIDTH, VOCABULARY, device);
    apply_state(captioner, state(golden, config.embedding)).expect("the original's weights")
}

fn captions(golden: &Golden) -> Vec<Vec<u32>> {
    golden
        .ints("input.captions")
        .chunks(8)
        .zip(golden.ints("input.caption_lengths"))
        .map(|(row, length)| row[..length as usize].iter().map(|&t| t as u32).collect())
        .collect()
}

#[test]
fn captioner_is_the_originals() {
    let golden = Golden::read("captioner");
    let device = device().autodiff();
    let captioner = captioner(&golden, &device);
    let captions = Captions::new(&captions(&golden), VOCABULARY, &device);
    let picture = golden
        .tensor::<4>("input.encoder_out", &device)
        .require_grad();
    let regions = picture.clone().reshape([3, 25, WIDTH]);
    let expected = |name: &str| golden.floats(&format!("output.{name}"));
    let close = |what: &str, actual: Vec<f32>| {
        assert_close(what, &actual, &expected(what), TOLERANCE, |_| true);
    };

    let said = captioner.forward(regions.clone(), &captions);
    close("predictions", numbers(said.logits));
    close("alphas", numbers(said.attention));

    let losses = captioner.losses(regions, &captions);
    close("loss_cross_entropy", numbers(losses.cross_entropy.clone()));
    close(
        "loss_doubly_stochastic",
        numbers(losses.regularisation.clone()),
    );
    let total = losses.total();
    close("loss_total", numbers(total.clone()));
    let gradients = total.backward();
    close(
        "grad_encoder_out",
        numbers(picture.grad(&gradients).expect("a gradient")),
    );
}

#[test]
fn captioner_drops_out_in_training_alone() {
    let golden = Golden::read("captioner");
    let config = CaptionerConfig {
        attention: 8,
        embedding: 9,
        hidden: 10,
        dropout: 0.5,
    };
    let same = |device: Device| {
        let captioner = Captioner::new(&config, WIDTH, VOCABULARY, &device);
        let captioner = apply_state(captioner, state(&golden, 9)).expect("the original's weights");
        let captions = Captions::new(&captions(&golden), VOCABULARY, &device);
        let regions = golden
            .tensor::<4>("input.encoder_out", &device)
            .reshape([3, 25, WIDTH]);
        let loss = || numbers(captioner.loss(regions.clone(), &captions));
        loss() == loss()
    };
    assert!(same(device()));
    assert!(!same(device().autodiff()));
}

/// The search runs on every device as it does on the CPU.
#[test]
fn captioner_finds_the_same_captions_everywhere() {
    let golden = Golden::read("captioner");
    let search = |device: &Device| {
        let regions = golden
            .tensor::<4>("input.encoder_out", device)
            .narrow(0, 1, 1)
            .reshape([1, 25, WIDTH]);
        captioner(&golden, device).beam_search(regions, 4, 6)
    };
    let (here, there) = (search(&Device::flex()), search(&device()));
    assert_eq!(here.len(), there.len());
    for (a, b) in here.iter().zip(&there) {
        assert_eq!(a.tokens, b.tokens);
        assert!((a.log_probability - b.log_probability).abs() < f64::from(TOLERANCE));
        let flat = |beam: &muse_core::decoders::captioner::Beam| beam.attention.concat();
        assert_close("attention", &flat(a), &flat(b), TOLERANCE, |_| true);
    }
}
