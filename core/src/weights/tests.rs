use burn::nn::{Linear, LinearConfig};
use burn::tensor::Device;
use safetensors::View;

use super::*;
use crate::config::BertConfig;

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

fn tensor(shape: &[usize], first: f32) -> NamedTensor {
    let elements: usize = shape.iter().product();
    NamedTensor {
        shape: shape.to_vec(),
        data: (0..elements).map(|i| first + i as f32).collect(),
    }
}

fn problems<M>(result: Result<M, WeightsError>) -> Vec<Problem> {
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

fn bert(device: &Device) -> Bert {
    let config = BertConfig {
        vocab_size: 5,
        hidden_size: 4,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 6,
        max_position_embeddings: 7,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
    };
    Bert::new(&config, device)
}

/// All tensors that the Hugging Face model of that configuration has.
fn hugging_face() -> StateDict {
    let mut dict = StateDict::new();
    let mut put = |name: String, shape: &[usize]| {
        let first = 100.0 * dict.len() as f32;
        dict.insert(name, tensor(shape, first));
    };
    for (name, rows) in [("word", 5), ("position", 7), ("token_type", 2)] {
        put(format!("embeddings.{name}_embeddings.weight"), &[rows, 4]);
    }
    put("embeddings.LayerNorm.weight".into(), &[4]);
    put("embeddings.LayerNorm.bias".into(), &[4]);
    for layer in 0..2 {
        let linears = [
            ("attention.self.query", 4, 4),
            ("attention.self.key", 4, 4),
            ("attention.self.value", 4, 4),
            ("attention.output.dense", 4, 4),
            ("intermediate.dense", 6, 4),
            ("output.dense", 4, 6),
        ];
        for (name, out, input) in linears {
            put(
                format!("encoder.layer.{layer}.{name}.weight"),
                &[out, input],
            );
            put(format!("encoder.layer.{layer}.{name}.bias"), &[out]);
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            put(format!("encoder.layer.{layer}.{name}.weight"), &[4]);
            put(format!("encoder.layer.{layer}.{name}.bias"), &[4]);
        }
    }
    dict
}

#[test]
fn bert_takes_hugging_faces_names() {
    let device = Device::flex();
    let dict = hugging_face();
    let state = state_dict(&load_bert(bert(&device), dict.clone()).expect("all is there"));
    assert_eq!(state.len(), dict.len());
    for (ours, theirs) in [
        (
            "embeddings.token_type_embeddings.weight",
            "embeddings.token_type_embeddings.weight",
        ),
        ("embeddings.layer_norm.gamma", "embeddings.LayerNorm.weight"),
        (
            "layers.1.attention.key.bias",
            "encoder.layer.1.attention.self.key.bias",
        ),
        (
            "layers.1.attention.output.bias",
            "encoder.layer.1.attention.output.dense.bias",
        ),
        (
            "layers.0.attention_norm.beta",
            "encoder.layer.0.attention.output.LayerNorm.bias",
        ),
        (
            "layers.0.intermediate.bias",
            "encoder.layer.0.intermediate.dense.bias",
        ),
        ("layers.1.output.bias", "encoder.layer.1.output.dense.bias"),
        (
            "layers.1.output_norm.gamma",
            "encoder.layer.1.output.LayerNorm.weight",
        ),
    ] {
        assert_eq!(state[ours], dict[theirs], "{ours}");
    }
    let (ours, theirs) = (
        &state["layers.0.output.weight"],
        &dict["encoder.layer.0.output.dense.weight"],
    );
    assert_eq!(ours.shape, [6, 4]);
    for row in 0..4 {
        for column in 0..6 {
            assert_eq!(ours.data[column * 4 + row], theirs.data[row * 6 + column]);
        }
    }
}

#[test]
fn bert_takes_prefix_old_names_and_unused_heads() {
    let device = Device::flex();
    let plain = load_bert(bert(&device), hugging_face()).expect("all is there");
    let mut dict: StateDict = hugging_face()
        .into_iter()
        .map(|(name, tensor)| {
            let name = name
                .replace("LayerNorm.weight", "LayerNorm.gamma")
                .replace("LayerNorm.bias", "LayerNorm.beta");
            (format!("bert.{name}"), tensor)
        })
        .collect();
    for unused in [
        "bert.pooler.dense.weight",
        "cls.predictions.bias",
        "classifier.weight",
        "bert.embeddings.position_ids",
    ] {
        dict.insert(unused.into(), tensor(&[1], 0.0));
    }
    let model = load_bert(bert(&device), dict).expect("the same under other names");
    assert_eq!(state_dict(&model), state_dict(&plain));
}

#[test]
fn bert_names_problems_as_the_file_does() {
    let device = Device::flex();
    let mut dict = hugging_face();
    dict.remove("encoder.layer.1.output.dense.weight");
    dict.insert(
        "encoder.layer.2.output.dense.bias".into(),
        tensor(&[4], 0.0),
    );
    dict.insert(
        "encoder.layer.0.intermediate.dense.weight".into(),
        tensor(&[4, 6], 0.0),
    );
    assert_eq!(
        problems(load_bert(bert(&device), dict)),
        [
            Problem::Shape {
                name: "encoder.layer.0.intermediate.dense.weight".into(),
                expected: vec![6, 4],
                found: vec![4, 6]
            },
            Problem::Missing {
                name: "encoder.layer.1.output.dense.weight".into(),
                shape: vec![4, 6]
            },
            Problem::Unexpected {
                name: "encoder.layer.2.output.dense.bias".into(),
                shape: vec![4]
            },
        ]
    );
    let mut dict = hugging_face();
    dict.insert("bert.embeddings.LayerNorm.gamma".into(), tensor(&[4], 0.0));
    assert_eq!(
        problems(load_bert(bert(&device), dict)),
        [Problem::Twice {
            name: "embeddings.LayerNorm.weight".into()
        }]
    );
}

#[test]
fn cnns_take_the_names_of_their_originals() {
    let device = Device::flex();
    for (kind, expected, unused) in [
        (
            CnnKind::EfficientnetLite0,
            [
                "_conv_stem.weight",
                "_bn0.running_var",
                "_blocks.0._depthwise_conv.weight",
                "_blocks.15._bn2.bias",
                "_blocks.15._expand_conv.weight",
                "_bn1.weight",
            ],
            "_fc.weight",
        ),
        (
            CnnKind::Resnet50,
            [
                "conv1.weight",
                "bn1.running_mean",
                "layer1.0.downsample.0.weight",
                "layer1.0.downsample.1.bias",
                "layer4.2.bn3.weight",
                "layer4.2.conv3.weight",
            ],
            "fc.bias",
        ),
    ] {
        let missing = problems(load_cnn(Cnn::new(kind, &device), kind, StateDict::new()));
        let mut dict: StateDict = missing
            .into_iter()
            .map(|problem| match problem {
                Problem::Missing { name, shape } => (name, tensor(&shape, 0.0)),
                other => panic!("{other}"),
            })
            .collect();
        for name in expected {
            assert!(dict.contains_key(name), "{kind:?} {name}");
        }
        dict.insert(unused.into(), tensor(&[1], 0.0));
        dict.insert("x.num_batches_tracked".into(), tensor(&[], 0.0));
        load_cnn(Cnn::new(kind, &device), kind, dict.clone()).expect("all is there");
        dict.insert("other.weight".into(), tensor(&[1], 0.0));
        let found = problems(load_cnn(Cnn::new(kind, &device), kind, dict));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("`other.weight`"));
    }
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
