use burn::tensor::Tolerance;

use super::*;
use crate::encoders::text::{BertConfig, TextEncoderConfig};
use crate::weights::{apply_state, state_dict};

fn model(device: &Device) -> Pretraining {
    let config = TextEncoderConfig::Bert(BertConfig {
        vocab_size: 20,
        hidden_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 24,
        max_position_embeddings: 12,
        type_vocab_size: 1,
        layer_norm_eps: 1e-12,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
    });
    Pretraining::new(TextEncoder::new(&config, device), device)
}

fn texts() -> [MaskedText; 2] {
    [
        MaskedText {
            pieces: vec![2, 4, 9, 9, 3],
            hidden: vec![(2, 7), (3, 8)],
            words: vec![(1, 1), (2, 3)],
        },
        MaskedText {
            pieces: vec![2, 5, 6, 11, 12, 13, 9, 3],
            hidden: vec![(6, 19)],
            words: vec![(1, 2), (2, 1), (3, 15), (6, 4)],
        },
    ]
}

#[test]
fn a_batch_says_what_its_texts_say_alone() {
    let device = Device::flex();
    let model = model(&device);
    let score = |texts: &[MaskedText]| model.score(&PretrainingBatch::new(texts, 0, &device));
    let mut apart = PretrainingScores::default();
    for text in texts() {
        apart.add(&score(&[text]));
    }
    let both = score(&texts());
    assert!((both.nats - apart.nats).abs() < 1e-4, "{both:?}, {apart:?}");
    assert_eq!((both.hidden, both.words), (3, 6));
    assert_eq!(both.told, apart.told);
    // A random model knows hardly more than that there are twenty pieces.
    assert!((10.0..40.0).contains(&both.perplexity()), "{both:?}");
}

#[test]
fn what_is_learned_from_is_what_is_scored() {
    let (here, learning) = (Device::flex(), Device::flex().autodiff());
    let model = model(&here);
    let train = apply_state(self::model(&learning), state_dict(&model)).expect("the same model");
    let losses = train.losses(&PretrainingBatch::new(&texts(), 0, &learning));
    let batch = PretrainingBatch::new(&texts(), 0, &here);
    let right = model.losses(&batch);
    for (ours, right) in [(losses.pieces, right.pieces), (losses.shapes, right.shapes)] {
        let tolerance = Tolerance::<f32>::rel_abs(1e-4, 1e-4);
        ours.into_data()
            .assert_approx_eq(&right.into_data(), tolerance);
    }
}
