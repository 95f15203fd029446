use serde_json::json;

use super::*;

/// A BERT's `config.json` with another value for one field.
fn fields(field: &str, value: Value) -> Value {
    let mut fields = json!({
        "model_type": "bert",
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "vocab_size": 5,
        "hidden_size": 4,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 6,
        "max_position_embeddings": 7,
        "type_vocab_size": 2,
        "architectures": ["BertModel"],
    });
    fields[field] = value;
    fields
}

fn read(field: &str, value: Value) -> Result<TextEncoderConfig, serde_json::Error> {
    serde_json::from_value(fields(field, value))
}

#[test]
fn another_network_is_not_read_as_a_bert() {
    for (field, value) in [
        ("model_type", json!("roberta")),
        ("model_type", json!(3)),
        ("hidden_act", json!("relu")),
        ("hidden_act", json!("gelu_new")),
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("add_cross_attention", json!(true)),
        ("pruned_heads", json!({"1": [0]})),
    ] {
        let error = read(field, value.clone()).expect_err(field).to_string();
        assert!(error.contains(field), "{error}");
        assert!(error.contains(&value.to_string()), "{error}");
        assert!(error.contains("supported"), "{error}");
        let error = serde_json::from_value::<BertConfig>(fields(field, value)).expect_err(field);
        assert!(error.to_string().contains(field), "{error}");
    }
    let error = read("vocab_size", json!("many"))
        .expect_err("no size")
        .to_string();
    assert!(error.contains("many"), "{error}");
}

#[test]
fn what_is_left_out_is_a_bert_s() {
    let whole = read("use_cache", json!(true)).expect("a BERT");
    for field in ["model_type", "hidden_act", "position_embedding_type"] {
        assert_eq!(read(field, Value::Null).expect("a BERT"), whole);
    }
    assert_eq!(
        read("hidden_act", json!("gelu_python")).expect("a BERT"),
        whole
    );
    let written = serde_json::to_value(&whole).expect("plain data");
    assert_eq!(written["model_type"], "bert");
    let again: TextEncoderConfig = serde_json::from_value(written).expect("what was written");
    assert_eq!(again, whole);
    assert_eq!(
        (whole.width(), whole.vocab_size(), whole.max_positions()),
        (4, 5, 7)
    );
}
