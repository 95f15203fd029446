use burn::nn::{Linear, LinearConfig};
use burn::tensor::Device;
use safetensors::View;

use super::*;
use crate::config::MuseConfig;
use crate::model::Muse;

#[derive(Module, Debug)]
struct Parts {
    kind: Kind,
    list: Vec<Linear>,
    absent: Option<Linear>,
}

#[derive(Module, Debug)]
enum Kind {
    Plain(Linear),
}

fn parts(device: &Device) -> Parts {
    let linear = |i, o| LinearConfig::new(i, o).init(device);
    Parts {
        kind: Kind::Plain(linear(2, 3)),
        list: vec![linear(1, 1), linear(1, 2)],
        absent: None,
    }
}

pub(crate) fn tensor(shape: &[usize], first: f32) -> NamedTensor {
    let elements: usize = shape.iter().product();
    NamedTensor {
        shape: shape.to_vec(),
        data: (0..elements).map(|i| first + i as f32).collect(),
    }
}

pub(crate) fn problems<M>(result: Result<M, WeightsError>) -> Vec<Problem> {
    match result {
        Err(WeightsError::Mismatch { problems, .. }) => problems,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("wrong weights were loaded"),
    }
}

#[test]
fn what_is_read_can_be_put_back() {
    let device = Device::flex();
    let mut state = state_dict(&parts(&device));
    let names: Vec<&str> = state.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "kind.bias",
            "kind.weight",
            "list.0.bias",
            "list.0.weight",
            "list.1.bias",
            "list.1.weight"
        ]
    );
    assert_eq!(state["kind.weight"].shape, [2, 3]);
    for tensor in state.values_mut() {
        tensor.data.iter_mut().for_each(|x| *x += 1.0);
    }
    let module = apply_state(parts(&device), state.clone()).expect("its own names");
    assert_eq!(state_dict(&module), state);
    let Kind::Plain(linear) = &module.kind;
    let output = linear.forward(Tensor::<2>::from_floats([[1.0, 0.0]], &device));
    let expected = [0, 1, 2].map(|i| state["kind.weight"].data[i] + state["kind.bias"].data[i]);
    assert_eq!(
        output.into_data().iter::<f32>().collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn everything_that_is_wrong_is_named() {
    let device = Device::flex();
    let mut state = state_dict(&parts(&device));
    state.remove("list.0.bias");
    state.insert("list.2.bias".into(), tensor(&[1], 0.0));
    state.insert("kind.weight".into(), tensor(&[3, 2], 0.0));
    let mut short = tensor(&[1, 2], 0.0);
    short.data.pop();
    state.insert("list.1.weight".into(), short);
    let error = apply_state(parts(&device), state).expect_err("a wrong state");
    let text = error.to_string();
    assert_eq!(
        problems(Err::<Parts, _>(error)),
        [
            Problem::Shape {
                name: "kind.weight".into(),
                expected: vec![2, 3],
                found: vec![3, 2]
            },
            Problem::Missing {
                name: "list.0.bias".into(),
                shape: vec![1]
            },
            Problem::Elements {
                name: "list.1.weight".into(),
                shape: vec![1, 2],
                elements: 1
            },
            Problem::Unexpected {
                name: "list.2.bias".into(),
                shape: vec![1]
            },
        ]
    );
    for line in [
        "the weights do not fit the model:",
        "`kind.weight` is [3, 2], expected [2, 3]",
        "`list.0.bias` [1] is missing",
        "`list.1.weight` [1, 2] holds 1 elements",
        "`list.2.bias` [1] is unexpected",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_long_list_of_problems_is_cut() {
    let device = Device::flex();
    let mut state = state_dict(&parts(&device));
    state.extend((0..30).map(|i| (format!("x{i}"), tensor(&[1], 0.0))));
    let text = apply_state(parts(&device), state)
        .expect_err("a wrong state")
        .to_string();
    assert!(text.ends_with("and 10 more"), "{text}");
}

#[test]
fn number_formats_of_safetensors() {
    struct Raw(Dtype, Vec<u8>);
    impl View for Raw {
        fn dtype(&self) -> Dtype {
            self.0
        }
        fn shape(&self) -> &[usize] {
            &[2]
        }
        fn data(&self) -> std::borrow::Cow<'_, [u8]> {
            (&self.1[..]).into()
        }
        fn data_len(&self) -> usize {
            self.1.len()
        }
    }
    fn bytes<const N: usize>(values: [[u8; N]; 2]) -> Vec<u8> {
        values.concat()
    }
    let tensors = [
        (
            "f32",
            Dtype::F32,
            bytes([1.5_f32, -2.0].map(f32::to_le_bytes)),
        ),
        (
            "f64",
            Dtype::F64,
            bytes([1.5_f64, -2.0].map(f64::to_le_bytes)),
        ),
        (
            "f16",
            Dtype::F16,
            bytes([1.5, -2.0].map(|x| f16::from_f32(x).to_le_bytes())),
        ),
        (
            "bf16",
            Dtype::BF16,
            bytes([1.5, -2.0].map(|x| bf16::from_f32(x).to_le_bytes())),
        ),
        ("i64", Dtype::I64, bytes([3_i64, -2].map(i64::to_le_bytes))),
        ("u8", Dtype::U8, vec![3, 200]),
    ];
    let file = |tensors: Vec<(&'static str, Raw)>| {
        safetensors::serialize(tensors, None).expect("a safetensors file")
    };
    let raw = tensors.map(|(name, dtype, data)| (name, Raw(dtype, data)));
    let read = read_safetensors(&file(raw.into())).expect("all formats are read");
    for name in ["f32", "f64", "f16", "bf16"] {
        assert_eq!(read[name].data, [1.5, -2.0], "{name}");
    }
    assert_eq!(read["i64"].data, [3.0, -2.0]);
    assert_eq!(read["u8"].data, [3.0, 200.0]);
    assert_eq!(read["u8"].shape, [2]);

    let bytes = file(vec![("odd", Raw(Dtype::F8_E4M3, vec![0; 2]))]);
    let error = read_safetensors(&bytes).expect_err("an odd format");
    assert!(error.to_string().contains("`odd`"), "{error}");
    let error = read_safetensors(&bytes[..bytes.len() - 1]).expect_err("a cut file");
    assert!(matches!(error, WeightsError::Safetensors(_)), "{error}");
}

/// Model files have them.
#[test]
fn the_names_of_a_model_s_weights_stay_what_they_are() {
    let config: MuseConfig = serde_json::from_value(serde_json::json!({
        "text": {"vocab_size": 6, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
            "intermediate_size": 4, "max_position_embeddings": 8, "type_vocab_size": 2},
        "image": {"encoder": "resnet18",
            "preparation": {"size": 224, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}},
        "exchange": {"layers": 1, "heads": 1, "feed_forward": 4, "dropout": 0.1, "theta": 0.1, "first_layer": 0,
            "last_layer": 0},
        "fusion_dropout": 0.5, "word_shapes": true, "max_pieces": 8,
        "tags": ["O", "B-PER"], "classes": ["good", "bad"]
    }))
    .expect("a configuration");
    let model = Muse::new(&config, &Device::flex()).expect("a model");
    let mut names: Vec<String> = layout(&model).into_iter().map(|(name, _)| name).collect();
    names.retain(|name| !name.starts_with("image."));
    names.sort();
    let attention = |parent: &str| -> Vec<String> {
        let parts = ["key", "output", "query", "value"].into_iter();
        parts
            .flat_map(|part| ["bias", "weight"].map(|kind| format!("{parent}.{part}.{kind}")))
            .collect()
    };
    let mut expected = attention("cross.layers.0.attention");
    expected.extend(attention("text.layers.0.attention"));
    expected.extend(
        [
            "absent",
            "cross.layers.0.linear1.bias",
            "cross.layers.0.linear1.weight",
            "cross.layers.0.linear2.bias",
            "cross.layers.0.linear2.weight",
            "cross.layers.0.norm1.beta",
            "cross.layers.0.norm1.gamma",
            "cross.layers.0.norm2.beta",
            "cross.layers.0.norm2.gamma",
            "entities.crf.end",
            "entities.crf.start",
            "entities.crf.transitions",
            "entities.emissions.bias",
            "entities.emissions.weight",
            "entities.fusion.bias",
            "entities.fusion.weight",
            "image_cls",
            "projection.bias",
            "projection.weight",
            "sentiment.classes.bias",
            "sentiment.classes.weight",
            "sentiment.fusion.bias",
            "sentiment.fusion.weight",
            "text.embeddings.layer_norm.beta",
            "text.embeddings.layer_norm.gamma",
            "text.embeddings.position_embeddings.weight",
            "text.embeddings.token_type_embeddings.weight",
            "text.embeddings.word_embeddings.weight",
            "text.layers.0.attention_norm.beta",
            "text.layers.0.attention_norm.gamma",
            "text.layers.0.intermediate.bias",
            "text.layers.0.intermediate.weight",
            "text.layers.0.output.bias",
            "text.layers.0.output.weight",
            "text.layers.0.output_norm.beta",
            "text.layers.0.output_norm.gamma",
            "text_cls",
            "word_shapes.weight",
        ]
        .map(str::to_owned),
    );
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn matrices_are_transposed_over_tile_borders() {
    for (rows, columns) in [(1, 1), (3, 70), (64, 33), (31, 32)] {
        let matrix = tensor(&[rows, columns], 0.0);
        let turned = transpose(matrix.clone());
        assert_eq!(turned.shape, [columns, rows]);
        for (i, value) in matrix.data.iter().enumerate() {
            assert_eq!(turned.data[i % columns * rows + i / columns], *value);
        }
    }
}
