use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Distribution, Tensor, Tolerance};
use proptest::prelude::*;

use super::*;

const D: usize = 6;

fn config() -> CaptionerConfig {
    CaptionerConfig {
        attention: 5,
        embedding: 4,
        hidden: 7,
        dropout: 0.0,
    }
}

/// A captioner whose weights are large enough that what it says depends on the picture.
fn captioner(vocabulary: usize, seed: u64, device: &Device) -> Captioner {
    device.seed(seed);
    let captioner = Captioner::new(&config(), D, vocabulary, device);
    crate::weights::apply_state(
        captioner.clone(),
        crate::weights::state_dict(&captioner)
            .into_iter()
            .map(|(name, mut tensor)| {
                tensor.data.iter_mut().for_each(|number| *number *= 6.0);
                (name, tensor)
            })
            .collect(),
    )
    .expect("its own weights")
}

fn regions(pictures: usize, device: &Device) -> Tensor<3> {
    Tensor::random([pictures, 4, D], Distribution::Normal(0.0, 1.0), device)
}

fn numbers<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("floats")
}

/// Log-probabilities `[V]` of what follows `tokens` (the start first), by teacher forcing.
fn next(captioner: &Captioner, regions: &Tensor<3>, tokens: &[u32], vocabulary: usize) -> Vec<f32> {
    let all = [tokens, &[END]].concat();
    let captions = Captions::new(&[all], vocabulary, &regions.device());
    let logits = captioner.forward(regions.clone(), &captions).logits;
    let last = logits.narrow(1, tokens.len() - 1, 1).squeeze_dim::<2>(1);
    numbers(log_softmax(last, 1))
}

/// Of what may be said the likeliest; the lower token of two that are as likely.
fn likeliest(row: &[f32]) -> usize {
    let allowed = (0..row.len()).filter(|&t| t == END as usize || t >= 4);
    allowed.fold(END as usize, |best, t| match row[t] > row[best] {
        true => t,
        false => best,
    })
}

#[test]
fn each_caption_of_a_batch_is_as_if_alone() {
    let device = Device::flex();
    let captioner = captioner(9, 1, &device);
    let regions = regions(3, &device);
    let captions = [vec![1, 5, 4, 2], vec![1, 8, 7, 6, 3, 5, 2], vec![1, 2]];
    let together = captioner.forward(regions.clone(), &Captions::new(&captions, 9, &device));
    assert_eq!(together.logits.dims(), [3, 6, 9]);
    assert_eq!(together.attention.dims(), [3, 6, 4]);
    for (place, caption) in captions.iter().enumerate() {
        let own = regions.clone().narrow(0, place, 1);
        let alone = Captions::new(std::slice::from_ref(caption), 9, &device);
        let alone = captioner.forward(own, &alone);
        let steps = caption.len() - 1;
        let tolerance = Tolerance::<f32>::absolute(1e-5);
        let row = |all: &Tensor<3>| all.clone().narrow(0, place, 1);
        for (all, one) in [
            (&together.logits, alone.logits),
            (&together.attention, alone.attention),
        ] {
            let own = row(all).narrow(1, 0, steps);
            own.into_data()
                .assert_approx_eq(&one.into_data(), tolerance);
            if steps < 6 {
                let rest = row(all).narrow(1, steps, 6 - steps);
                assert!(numbers(rest).iter().all(|&number| number == 0.0));
            }
        }
    }
}

#[test]
fn the_losses_are_those_of_the_definition() {
    let device = Device::flex();
    let captioner = captioner(9, 2, &device);
    let regions = regions(3, &device);
    let sentences = [vec![1, 5, 4, 2], vec![1, 2], vec![1, 8, 7, 6, 5, 2]];
    let captions = Captions::new(&sentences, 9, &device);
    assert_eq!(captions.targets(), 3 + 1 + 5);
    let said = captioner.forward(regions.clone(), &captions);
    let likely = numbers(log_softmax(said.logits, 2));
    let attention = numbers(said.attention);
    let (mut entropy, mut regularisation) = (0.0, 0.0);
    for (place, sentence) in sentences.iter().enumerate() {
        for (step, &target) in sentence[1..].iter().enumerate() {
            entropy -= likely[(place * 5 + step) * 9 + target as usize] / 9.0;
        }
        for region in 0..4 {
            let alpha: f32 = (0..sentence.len() - 1)
                .map(|step| attention[(place * 5 + step) * 4 + region])
                .sum();
            regularisation += (1.0 - alpha).powi(2) / 12.0;
        }
    }
    let losses = captioner.losses(regions.clone(), &captions);
    let total = captioner.loss(regions, &captions).into_scalar::<f32>();
    assert!((losses.cross_entropy.into_scalar::<f32>() - entropy).abs() < 1e-5);
    assert!((losses.regularisation.into_scalar::<f32>() - regularisation).abs() < 1e-5);
    assert!((total - entropy - LAMBDA * regularisation).abs() < 1e-5);
}

#[test]
fn runs_are_cut_as_they_were_joined() {
    let device = Device::flex();
    let rows = Tensor::<1>::from_data([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &device).reshape([7, 1]);
    let parts = split(rows, &[3, 2, 1, 1]).into_iter().map(numbers);
    let expected: [&[f32]; 4] = [&[0.0, 1.0, 2.0], &[3.0, 4.0], &[5.0], &[6.0]];
    assert!(parts.eq(expected));
}

#[test]
fn a_beam_cannot_say_what_it_must_not() {
    let device = Device::flex();
    // The tokens of its own are by far the likeliest.
    let mut captioner = captioner(7, 3, &device);
    let bias = Tensor::<1>::from_data([50.0, 50.0, 0.0, 50.0, 0.0, 0.0, 0.0], &device);
    captioner.vocabulary.bias = Some(burn::module::Param::from_tensor(bias));
    let found = captioner.beam_search(regions(1, &device), 4, 5);
    assert!(!found.is_empty());
    for beam in found {
        assert!(beam.tokens.iter().all(|&t| (4..7).contains(&t)), "{beam:?}");
    }
}

#[test]
fn no_room_is_no_words() {
    let device = Device::flex();
    let captioner = captioner(7, 3, &device);
    let found = captioner.beam_search(regions(1, &device), 0, 0);
    assert_eq!(found.len(), 1);
    assert!(found[0].tokens.is_empty() && found[0].attention.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_vocabulary_gives_back_what_it_took(
        captions in prop::collection::vec(prop::collection::vec(0_u32..40, 0..12), 0..8),
        least in 0_usize..4,
    ) {
        let vocabulary = Vocabulary::new(&captions, least);
        let count = |piece: u32| captions.iter().flatten().filter(|&&p| p == piece).count();
        let often = |piece: &u32| count(*piece) >= least.max(1);
        let expected: Vec<u32> = (0..40).filter(often).collect();
        prop_assert_eq!(vocabulary.pieces(), &expected[..]);
        for caption in &captions {
            let tokens = vocabulary.encode(caption);
            prop_assert_eq!(tokens.len(), caption.len() + 2);
            prop_assert!(tokens.iter().all(|&t| (t as usize) < vocabulary.len() && t != PAD));
            let known: Vec<u32> = caption.iter().copied().filter(often).collect();
            prop_assert_eq!(tokens.iter().filter(|&&t| t == UNKNOWN).count(), caption.len() - known.len());
            prop_assert_eq!(vocabulary.decode(&tokens), known.clone());
            // What stands behind the end is padding, whatever it is.
            prop_assert_eq!(vocabulary.decode(&[&tokens[..], &[0, 4, 999]].concat()), known);
        }
        let json = serde_json::to_string(&vocabulary).unwrap();
        prop_assert_eq!(&json, &serde_json::to_string(&expected).unwrap());
        prop_assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocabulary);
    }

    #[test]
    fn one_beam_is_greedy(seed in 0_u64..1000, max_len in 0_usize..7) {
        let device = Device::flex();
        let captioner = captioner(9, seed, &device);
        let regions = regions(1, &device);
        let found = captioner.beam_search(regions.clone(), 1, max_len);
        prop_assert_eq!(found.len(), 1);
        let mut tokens = vec![START];
        let mut ended = false;
        let mut log_probability = 0.0;
        while !ended && tokens.len() <= max_len + 1 {
            let row = next(&captioner, &regions, &tokens, 9);
            let token = likeliest(&row);
            ended = token == END as usize;
            if !ended && tokens.len() == max_len + 1 {
                break;
            }
            log_probability += f64::from(row[token]);
            if !ended {
                tokens.push(token as u32);
            }
        }
        prop_assert_eq!(&found[0].tokens, &tokens[1..]);
        prop_assert_eq!(found[0].ended, ended);
        prop_assert!((found[0].log_probability - log_probability).abs() < 1e-4);
    }

    #[test]
    fn beams_are_what_the_captioner_says(seed in 0_u64..1000, beams in 1_usize..6) {
        let device = Device::flex();
        let captioner = captioner(9, seed, &device);
        let regions = regions(1, &device);
        let found = captioner.beam_search(regions.clone(), beams, 6);
        prop_assert!((1..=beams).contains(&found.len()));
        prop_assert!(found.is_sorted_by(|a, b| a.score() >= b.score()));
        prop_assert_eq!(&found, &captioner.beam_search(regions.clone(), beams, 6));
        for (place, beam) in found.iter().enumerate() {
            prop_assert!(found[..place].iter().all(|other| other.tokens != beam.tokens));
            prop_assert_eq!(beam.tokens.len(), beam.attention.len());
            prop_assert!(beam.ended || beam.tokens.len() == 6);
            let all = [&[START], &beam.tokens[..], &[END]].concat();
            let captions = Captions::new(std::slice::from_ref(&all), 9, &device);
            let said = captioner.forward(regions.clone(), &captions);
            let likely = numbers(log_softmax(said.logits, 2));
            let steps = beam.tokens.len() + usize::from(beam.ended);
            let sum: f64 = (0..steps).map(|t| f64::from(likely[t * 9 + all[t + 1] as usize])).sum();
            prop_assert!((sum - beam.log_probability).abs() < 1e-4);
            let attention = numbers(said.attention);
            for (ours, theirs) in beam.attention.iter().flatten().zip(attention) {
                prop_assert!((ours - theirs).abs() < 1e-5);
            }
        }
    }

    /// With room for all captions that there are, the best one is found.
    #[test]
    fn beams_enough_find_the_best(seed in 0_u64..1000) {
        const V: usize = 7; // three pieces
        let device = Device::flex();
        let captioner = captioner(V, seed, &device);
        let regions = regions(1, &device);
        let mut open = vec![(vec![START], 0.0)];
        let mut best = f64::NEG_INFINITY;
        for length in 0..=3 {
            let mut further = Vec::new();
            for (tokens, sum) in open {
                let row = next(&captioner, &regions, &tokens, V);
                let end = sum + f64::from(row[END as usize]);
                if length < 3 || likeliest(&row) == END as usize {
                    best = best.max(end / (length + 1) as f64);
                } else {
                    best = best.max(sum / length as f64);
                }
                further.extend((4..V).map(|token| {
                    ([&tokens[..], &[token as u32]].concat(), sum + f64::from(row[token]))
                }));
            }
            open = further;
        }
        let found = captioner.beam_search(regions, 1 + 3 + 9 + 27, 3);
        prop_assert_eq!(found.len(), 1 + 3 + 9 + 27);
        prop_assert!((found[0].score() - best).abs() < 1e-4, "{} {best}", found[0].score());
    }
}
