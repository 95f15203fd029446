use std::sync::Arc;

use burn::tensor::Distribution;

use super::*;

const KINDS: usize = 5;

/// A head, and what it gives for samples of three and two words. Drawn once: other tests draw from the same generator.
struct World {
    head: EntityHead,
    emissions: Tensor<3>,
    words: Words,
}

impl World {
    fn new() -> Self {
        let device = Device::flex();
        let text = |first_pieces: &[usize]| EncodedText {
            pieces: vec![0; 5],
            shapes: vec![0; 5],
            first_pieces: first_pieces.to_vec(),
        };
        let texts = [text(&[1, 2, 3]), text(&[1, 3])];
        let normal = Distribution::Normal(0.0, 2.0);
        Self {
            head: EntityHead::new(KINDS, 0, 8, 0.0, &device),
            emissions: Tensor::random([2, 3, KINDS], normal, &device),
            words: Words::new(&[&texts[0], &texts[1]], 5, 4, &device).expect("words"),
        }
    }

    fn loss(&self, labels: [&Labels; 2]) -> f32 {
        let targets = Targets::new(&labels, &self.words, KINDS, &Device::flex()).expect("labels");
        let loss = self
            .head
            .loss(self.emissions.clone(), &targets, &self.words);
        loss.into_scalar()
    }
}

fn certain(tags: &[usize]) -> Labels {
    Labels {
        entities: Some(tags.to_vec()),
        ..Labels::default()
    }
}

fn uncertain(readings: &[(f32, &[usize])]) -> Labels {
    Labels {
        readings: (readings.iter())
            .map(|(share, tags)| (*share, tags.to_vec()))
            .collect(),
        ..certain(readings[0].1)
    }
}

#[test]
fn readings_cost_their_shares() {
    let world = World::new();
    let [one, two] = [[0, 1, 2], [0, 0, 3]];
    let [first, second] = [certain(&one), certain(&two)];
    let mixed = uncertain(&[(0.75, &one), (0.25, &two)]);
    for other in [certain(&[4, 4]), Labels::default()] {
        let cost = |label: &Labels| world.loss([label, &other]);
        let right = 0.75 * cost(&first) + 0.25 * cost(&second);
        assert!((cost(&mixed) - right).abs() < 1e-5, "{right}");
    }
    // Beside tags of which some were not looked for.
    let partly = Labels {
        hidden: Arc::new([3, 4]),
        ..certain(&[0, 1])
    };
    let cost = |label: &Labels| world.loss([label, &partly]);
    let right = 0.75 * cost(&first) + 0.25 * cost(&second);
    assert!((cost(&mixed) - right).abs() < 1e-5, "{right}");
    // The one reading that is sure is a label.
    let sure = uncertain(&[(1.0, &one)]);
    assert!((cost(&sure) - cost(&first)).abs() < 1e-6);
}

#[test]
fn without_a_tagged_word_there_is_nothing_to_learn() {
    let device = Device::flex();
    let text = EncodedText {
        pieces: vec![0; 3],
        shapes: vec![0; 3],
        first_pieces: vec![1],
    };
    let words = Words::new(&[&text], 3, 2, &device).expect("words");
    for label in [Labels::default(), certain(&[])] {
        assert!(Targets::new(&[&label], &words, KINDS, &device).is_none());
    }
}
