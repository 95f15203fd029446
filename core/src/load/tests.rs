//! The shipped model as it is asked, beside the same weights as floats.

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::batch::{Batch, Example, Picture};
use crate::objective::Part;
use crate::text::splitter::split;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/muse-small.muse");

const CAPTIONS: [&str; 4] = [
    "Eileen Collins smiles",
    "RT @NASA : the crew of STS-114 with Commander Eileen Collins at Kennedy Space Center in Florida #spaceshuttle",
    "a",
    "Ein Brief aus Köln, Straßburg und Łódź: 東京 2020 🎉 http://t.co/x",
];

/// The model both ways, and a batch of all captions, two of them with a picture.
fn both() -> (Muse, Muse, Batch, Vec<usize>) {
    let device = Device::flex();
    let bytes = std::fs::read(MODEL).expect("the shipped model");
    let mut floats = ModelFile::from_bytes(&bytes).expect("a model");
    let side = floats.config.image.preparation.size;
    let picture = |seed: usize| {
        let wave = |i: usize| ((i * seed) as f32 * 0.001).sin();
        Some(Picture::Pixels((0..3 * side * side).map(wave).collect()).into())
    };
    let pictures = [picture(3), None, picture(7), None];
    let examples: Vec<_> = (CAPTIONS.iter().zip(pictures))
        .map(|(caption, picture)| {
            let words: Vec<_> = split(caption).into_iter().map(|word| word.text).collect();
            let mut windows = floats.tokenizer.windows(&words, floats.config.max_pieces);
            Example::unlabelled(windows.swap_remove(0).encoded, picture)
        })
        .collect();
    let lengths = examples.iter().map(|e| e.text.pieces.len()).collect();
    let batch = Batch::new(&examples, &floats.config, floats.tokenizer.pad(), &device);
    let mut stored = StoredModel::from_bytes(&bytes).expect("a model");
    let packed = stored.take_muse(&device).expect("the same model");
    let floats = floats.take_muse(&device).expect("a model");
    (packed, floats, batch, lengths)
}

fn rows<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("floats")
}

/// The largest difference, and the largest 1 − cosine of a row.
fn apart<'a>(ours: impl Iterator<Item = (&'a [f32], &'a [f32])>) -> (f64, f64) {
    let (mut absolute, mut turned) = (0.0f64, 0.0f64);
    for (a, b) in ours {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        for (a, b) in a.iter().zip(b) {
            absolute = absolute.max(f64::from((a - b).abs()));
        }
        turned = turned.max(1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
    }
    (absolute, turned)
}

#[test]
fn eight_bits_as_they_are_leave_the_hidden_state_as_it_is() {
    let (packed, floats, batch, lengths) = both();
    let states = [&packed, &floats].map(|muse| rows(muse.encode_text(&batch)));
    let longest = lengths.iter().max().expect("captions");
    let width = 384;
    let real = lengths.iter().enumerate().flat_map(|(sample, length)| {
        let places = (0..*length).map(move |piece| (sample * longest + piece) * width);
        places.map(|at| (&states[0][at..at + width], &states[1][at..at + width]))
    });
    let (absolute, turned) = apart(real);
    println!("hidden state: {absolute:.1e}, 1 - cos {turned:.1e}");
    assert!(
        absolute <= 2e-3 && turned <= 1e-6,
        "{absolute:.1e}, {turned:.1e}"
    );
}

#[test]
fn a_folded_network_sees_the_same() {
    let (packed, floats, batch, _) = both();
    let regions = [&packed, &floats].map(|muse| rows(muse.encode_image(&batch)));
    let width = 384;
    let (absolute, turned) = apart(regions[0].chunks(width).zip(regions[1].chunks(width)));
    println!("regions: {absolute:.1e}, 1 - cos {turned:.1e}");
    assert!(
        turned <= 1e-5 && absolute <= 1e-2,
        "{absolute:.1e}, {turned:.1e}"
    );
}

#[test]
fn no_answer_changes() {
    let (packed, floats, batch, _) = both();
    let logits = [packed, floats].map(|muse| {
        let mut output = muse.forward(&batch).heads;
        let entities = output.entities.expect("an entity head");
        let sentiment = output.classes.remove(&Part::Sentiment);
        let sentiment = sentiment.expect("a sentiment head");
        [rows(entities), rows(sentiment)]
    });
    for (ours, theirs) in logits[0].iter().zip(&logits[1]) {
        let (absolute, _) = apart([(&ours[..], &theirs[..])].into_iter());
        println!("logits: {absolute:.1e}");
        assert!(absolute <= 5e-3, "{absolute:.1e}");
    }
}

#[test]
fn a_row_does_not_depend_on_its_batch() {
    let (packed, _, batch, lengths) = both();
    let device = Device::flex();
    let alone = |sample: usize| {
        let length = lengths[sample];
        let pieces: Vec<i64> = batch
            .pieces
            .clone()
            .into_data()
            .convert::<i64>()
            .try_to_vec()
            .expect("numbers");
        let longest = pieces.len() / lengths.len();
        let own = pieces[sample * longest..sample * longest + length].to_vec();
        let pieces = Tensor::from_data(TensorData::new(own, [1, length]), &device);
        rows(packed.text.forward(pieces, None, None))
    };
    let longest = *lengths.iter().max().expect("captions");
    let together = rows(
        packed
            .text
            .forward(batch.pieces.clone(), batch.text_mask.clone(), None),
    );
    for (sample, length) in lengths.iter().enumerate() {
        let at = sample * longest * 384;
        assert!(alone(sample) == together[at..at + length * 384], "{sample}");
    }
}
