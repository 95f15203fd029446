use super::*;
use crate::weights::state_dict;
use crate::weights::tests::{problems, tensor};

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
    let state = state_dict(
        &bert(&device)
            .load_published(dict.clone())
            .expect("all is there"),
    );
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
fn bert_gives_hugging_faces_names() {
    let dict = hugging_face();
    let bert = bert(&Device::flex()).load_published(dict.clone());
    assert_eq!(bert.expect("all is there").published(), dict);
}

#[test]
fn bert_takes_prefix_old_names_and_unused_heads() {
    let device = Device::flex();
    let plain = bert(&device)
        .load_published(hugging_face())
        .expect("all is there");
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
    let model = bert(&device)
        .load_published(dict)
        .expect("the same under other names");
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
        problems(bert(&device).load_published(dict)),
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
        problems(bert(&device).load_published(dict)),
        [Problem::Twice {
            name: "embeddings.LayerNorm.weight".into()
        }]
    );
}
