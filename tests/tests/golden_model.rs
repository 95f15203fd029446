//! The model's own parts against the original PyTorch code.

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use muse_core::encoders::text::{Bert, TextEncoderConfig};
use muse_core::exchange::{CrossTransformer, ExchangeConfig, ExchangeRule, Multiplicities, Stream};
use muse_core::heads::entities::crf::{Crf, Decoder};
use muse_core::weights::{NamedTensor, StateDict, apply_state, read_safetensors};
use muse_tests::golden::{Golden, assert_close, device, numbers};

const TOLERANCE: f32 = 1e-4;

fn transposed(tensor: NamedTensor) -> NamedTensor {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    let data = (0..rows * columns)
        .map(|i| tensor.data[i % rows * columns + i / rows])
        .collect();
    NamedTensor {
        shape: vec![columns, rows],
        data,
    }
}

/// A third of a stacked tensor, by rows.
fn third(tensor: &NamedTensor, which: usize) -> NamedTensor {
    let mut shape = tensor.shape.clone();
    shape[0] /= 3;
    let part = tensor.data.len() / 3;
    NamedTensor {
        shape,
        data: tensor.data[which * part..(which + 1) * part].to_vec(),
    }
}

fn cross_state(golden: &Golden, layers: usize) -> StateDict {
    let mut state = StateDict::new();
    for layer in 0..layers {
        let weight = |name: &str| golden.named(&format!("weight.layers.{layer}.{name}"));
        let mut put = |name: &str, tensor: NamedTensor| {
            state.insert(format!("layers.{layer}.{name}"), tensor);
        };
        let stacked = weight("multihead_attn.in_proj_weight");
        let bias = weight("multihead_attn.in_proj_bias");
        for (which, name) in ["query", "key", "value"].into_iter().enumerate() {
            put(
                &format!("attention.{name}.weight"),
                transposed(third(&stacked, which)),
            );
            put(&format!("attention.{name}.bias"), third(&bias, which));
        }
        for (ours, theirs) in [
            ("attention.output", "multihead_attn.out_proj"),
            ("linear1", "linear1"),
            ("linear2", "linear2"),
        ] {
            put(
                &format!("{ours}.weight"),
                transposed(weight(&format!("{theirs}.weight"))),
            );
            put(&format!("{ours}.bias"), weight(&format!("{theirs}.bias")));
        }
        for norm in ["norm1", "norm2"] {
            put(&format!("{norm}.gamma"), weight(&format!("{norm}.weight")));
            put(&format!("{norm}.beta"), weight(&format!("{norm}.bias")));
        }
    }
    state
}

fn counts(golden: &Golden, mask: Option<&str>, batch: usize, length: usize) -> Vec<Vec<f32>> {
    match mask {
        Some(name) => golden
            .floats(name)
            .chunks(length)
            .map(<[f32]>::to_vec)
            .collect(),
        None => vec![vec![1.0; length]; batch],
    }
}

fn check_cross_transformer(name: &str, masks: Option<[&str; 2]>) {
    let golden = Golden::read(name);
    let device = device().autodiff();
    let config = ExchangeConfig {
        layers: 4,
        heads: 4,
        feed_forward: 64,
        dropout: 0.0,
        theta: 0.3,
        first_layer: 1,
        last_layer: 2,
        rule: ExchangeRule::Add,
    };
    let cross = CrossTransformer::new(&config, 32, &device);
    let cross = apply_state(cross, cross_state(&golden, 4)).expect("the original's weights");

    let rows =
        ["input.src1", "input.src2"].map(|name| golden.tensor::<3>(name, &device).require_grad());
    let streams: [Vec<Vec<f32>>; 2] = std::array::from_fn(|s| {
        let [batch, length, _] = rows[s].dims();
        counts(&golden, masks.map(|m| m[s]), batch, length)
    });
    let stream = |s: usize| Stream {
        rows: rows[s].clone(),
        multiplicities: Multiplicities::new(&streams[s], &device),
    };
    let crossed = cross.forward(stream(0), stream(1));

    // Rows of padding mean nothing; the fixture has zeros there.
    let real: [Vec<bool>; 2] =
        std::array::from_fn(|s| streams[s].iter().flatten().map(|&c| c > 0.0).collect());
    for s in 0..2 {
        let tokens = real[s].len();
        let mut exchanged = 0.0;
        for (layer, trace) in crossed.trace.iter().enumerate() {
            let which = format!("layer {layer}, stream {}", s + 1);
            let range = layer * tokens..(layer + 1) * tokens;
            let scores = golden.floats(&format!("output.cls_attn{}", s + 1));
            assert_close(
                &format!("{which}: scores"),
                &numbers(trace[s].scores.clone()),
                &scores[range.clone()],
                TOLERANCE,
                |i| real[s][i],
            );
            let expected = &golden.floats(&format!("output.exchanged{}", s + 1))[range];
            let chosen = match &trace[s].chosen {
                Some(chosen) => numbers(chosen.clone()),
                None => vec![0.0; tokens],
            };
            assert_eq!(chosen, expected, "{which}: the exchanged tokens");
            exchanged += chosen.iter().sum::<f32>();
        }
        assert!(exchanged > 0.0, "the fixture exchanges tokens");
    }
    let seeds =
        ["input.grad_seed1", "input.grad_seed2"].map(|name| golden.tensor::<3>(name, &device));
    let [seed1, seed2] = seeds;
    let grads =
        ((crossed.text.clone() * seed1).sum() + (crossed.image.clone() * seed2).sum()).backward();
    for (s, output) in [crossed.text, crossed.image].into_iter().enumerate() {
        assert_close(
            &format!("output {}", s + 1),
            &numbers(output),
            &golden.floats(&format!("output.out{}", s + 1)),
            TOLERANCE,
            |i| real[s][i / 32],
        );
        assert_close(
            &format!("gradient {}", s + 1),
            &numbers(rows[s].grad(&grads).expect("a gradient")),
            &golden.floats(&format!("output.grad_src{}", s + 1)),
            TOLERANCE,
            |i| real[s][i / 32],
        );
    }
}

#[test]
fn cross_transformer_is_the_originals() {
    check_cross_transformer("cross_transformer", None);
}

#[test]
fn cross_transformer_minds_padding() {
    check_cross_transformer(
        "cross_transformer_padded",
        Some(["input.mask1", "input.mask2"]),
    );
}

fn check_crf(name: &str) {
    let golden = Golden::read(name);
    let device = device().autodiff();
    let [start, end, transitions] = ["start_transitions", "end_transitions", "transitions"]
        .map(|n| golden.named(&format!("weight.{n}")));
    let kinds = start.data.len();
    let decoder = Decoder::new(&start.data, &end.data, &transitions.data);
    let state = StateDict::from([
        ("start".to_owned(), start),
        ("end".to_owned(), end),
        ("transitions".to_owned(), transitions),
    ]);
    let crf = apply_state(Crf::new(kinds, &device), state).expect("the original's weights");

    let emissions = golden
        .tensor::<3>("input.emissions", &device)
        .require_grad();
    let mask = golden.tensor::<2>("input.mask", &device);
    let [batch, length, _] = emissions.dims();
    let gold = golden.ints("input.tags");
    let one_hot: Vec<f32> = gold
        .iter()
        .flat_map(|&tag| (0..kinds).map(move |k| f32::from(u8::from(k as i64 == tag))))
        .collect();
    let one_hot = Tensor::<3>::from_data(TensorData::new(one_hot, [batch, length, kinds]), &device);

    let partition = crf.log_partition(emissions.clone(), mask.clone());
    let likelihood = crf.log_likelihood(emissions.clone(), one_hot, mask);
    let all = |_| true;
    let output = |name: &str| golden.floats(&format!("output.{name}"));
    assert_close(
        "log partition",
        &numbers(partition),
        &output("log_partition"),
        TOLERANCE,
        all,
    );
    assert_close(
        "log-likelihood",
        &numbers(likelihood.clone()),
        &output("llh"),
        TOLERANCE,
        all,
    );
    let loss = likelihood.mean().neg();
    assert_close(
        "loss",
        &numbers(loss.clone()),
        &output("nll_mean"),
        TOLERANCE,
        all,
    );
    let grads = loss.backward();
    let (start, end, transitions) = crf.parameters();
    let gradients = [
        ("emissions", numbers(emissions.grad(&grads).unwrap())),
        ("start", numbers(start.grad(&grads).unwrap())),
        ("end", numbers(end.grad(&grads).unwrap())),
        ("transitions", numbers(transitions.grad(&grads).unwrap())),
    ];
    for (name, gradient) in gradients {
        let expected = output(&format!("grad_{name}"));
        assert_close(
            &format!("gradient of {name}"),
            &gradient,
            &expected,
            TOLERANCE,
            all,
        );
    }

    let emissions = golden.floats("input.emissions");
    let lengths = golden.ints("input.mask");
    let paths = golden.ints("output.viterbi");
    for sentence in 0..batch {
        let words = lengths[sentence * length..][..length].iter().sum::<i64>() as usize;
        let own = &emissions[sentence * length * kinds..][..words * kinds];
        let (path, score) = decoder.viterbi(own);
        let path: Vec<i64> = path.into_iter().map(|t| t as i64).collect();
        assert_eq!(path, paths[sentence * length..][..words], "best path");
        assert!((score as f32 - output("viterbi_score")[sentence]).abs() < TOLERANCE);
        let partition = decoder.posterior(own).log_partition as f32;
        assert!((partition - output("log_partition")[sentence]).abs() < TOLERANCE);
    }
}

#[test]
fn crf_is_the_originals() {
    check_crf("crf");
    check_crf("crf_tiny");
}

#[test]
fn crf_scores_every_path_as_the_original() {
    let golden = Golden::read("crf_tiny");
    let device = device();
    let state: StateDict = ["start", "end"]
        .map(|n| {
            (
                n.to_owned(),
                golden.named(&format!("weight.{n}_transitions")),
            )
        })
        .into_iter()
        .chain([("transitions".to_owned(), golden.named("weight.transitions"))])
        .collect();
    let crf = apply_state(Crf::new(3, &device), state).unwrap();
    let emissions = golden.tensor::<3>("input.emissions", &device);
    let mask = Tensor::<2>::ones([2, 4], &device);
    let expected = golden.floats("output.all_path_scores");
    for path in 0..81usize {
        // The last position runs fastest.
        let tags: Vec<f32> = (0..4)
            .map(|t| path / 3usize.pow(3 - t) % 3)
            .flat_map(|tag| (0..3).map(move |k| f32::from(u8::from(k == tag))))
            .collect();
        let tags = Tensor::<3>::from_data(TensorData::new(tags, [1, 4, 3]), &device);
        let scores = crf.score(emissions.clone(), tags.repeat_dim(0, 2), mask.clone());
        let wanted = [expected[path], expected[81 + path]];
        assert_close("score", &numbers(scores), &wanted, TOLERANCE, |_| true);
    }
}

/// The folder of the default encoders.
fn weights() -> PathBuf {
    match std::env::var_os("MUSE_WEIGHTS") {
        Some(folder) => folder.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../weights"),
    }
}

#[test]
fn minilm_gives_the_originals_hidden_states() {
    // 0.4 s a pass on software Vulkan, and no kernel that the small fixtures do not run: Flex is enough.
    let device = Device::flex();
    let folder = weights().join("all-MiniLM-L6-v2");
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path)
            .unwrap_or_else(|e| panic!("{}: {e}; run cargo xtask weights", path.display()))
    };
    let TextEncoderConfig::Bert(config) = serde_json::from_slice(&read("config.json")).unwrap();
    let state = read_safetensors(&read("model.safetensors")).unwrap();
    let bert = Bert::new(&config, &device).load_published(state).unwrap();

    let golden = Golden::read("minilm");
    let ids: Vec<i32> = golden
        .ints("input.input_ids")
        .iter()
        .map(|&i| i as i32)
        .collect();
    let pieces = Tensor::<2, Int>::from_data(TensorData::new(ids, [4, 34]), &device);
    let mask = golden.tensor::<2>("input.attention_mask", &device);
    let states = bert.hidden_states(pieces, Some(mask), None);
    assert_eq!(states.len(), 7);
    let real = golden.floats("input.attention_mask");
    for (layer, state) in states.iter().enumerate() {
        let cls = numbers(state.clone().narrow(1, 0, 1));
        let expected = &golden.floats("output.hidden_states_cls")[layer * 4 * 384..][..4 * 384];
        assert_close("cls", &cls, expected, TOLERANCE, |_| true);
    }
    let last = states[6].clone();
    for (name, first, width) in [("first8", 0, 8), ("last4", 380, 4)] {
        assert_close(
            name,
            &numbers(last.clone().narrow(2, first, width)),
            &golden.floats(&format!("output.last_hidden_state_{name}")),
            TOLERANCE,
            |i| real[i / width] > 0.0,
        );
    }
    assert_close(
        "embeddings",
        &numbers(states[0].clone().narrow(2, 0, 8)),
        &golden.floats("output.embeddings_first8"),
        TOLERANCE,
        |i| real[i / 8] > 0.0,
    );
}
