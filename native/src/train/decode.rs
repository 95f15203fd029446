//! The decoders' share of a training step, one microbatch at a time.
//!
//! A microbatch's graph ends at what the decoder reads. Its gradient there goes on to the encoders in the step's own backward pass, as
//! the gradient of a product with a constant.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use muse_core::decoders::{Decoders, Microbatch};
use muse_core::heads::Losses;
use muse_core::objective::Part;

use super::config::LossWeights;
use super::gradients::{clip_by_global_norm, merge};
use crate::workers::Workers;

/// What the decoders' microbatches of a step gave.
#[derive(Default)]
pub struct Decoded {
    /// L_it and L_ti, without gradient: of what there was a microbatch for.
    pub losses: Losses,
    /// `[1]`: its gradient is that of the weighted losses, for everything that the decoders read. Its value means nothing.
    pub surrogate: Option<Tensor<1>>,
    /// The weighted losses' gradients of the decoders' own weights; those of the shared MLP come through the surrogate.
    pub gradients: GradientsParams,
}

/// One microbatch's.
struct Learned {
    loss: Tensor<1>,
    input: Option<Tensor<3>>,
    gradients: GradientsParams,
}

/// What the decoders' microbatches are of.
const PARTS: [Part; 2] = [Part::Captioning, Part::Generation];

/// Goes forward and backward through the `microbatches` of a batch. How many workers there are makes no difference to the result.
pub fn learn(
    decoders: &Decoders,
    microbatches: &[Microbatch<'_>],
    weights: &LossWeights,
    workers: &Workers,
) -> Decoded {
    let tasks: Vec<(Microbatch<'_>, f64, Decoders)> = (microbatches.iter())
        .map(|microbatch| {
            let weight = weights.of(microbatch.part());
            // Weights of its own: graphs that share a leaf are one graph, behind one lock.
            (microbatch.detached(), weight, decoders.valid().train())
        })
        .collect();
    let learned = workers.map(tasks, |(microbatch, weight, decoders)| {
        let loss = microbatch.loss(&decoders);
        let mut gradients = (loss.clone() * weight).backward();
        Learned {
            loss: loss.inner(),
            input: microbatch.input.grad_remove(&mut gradients),
            gradients: GradientsParams::from_grads(gradients, &decoders),
        }
    });

    let mut sums = PARTS.map(|_| None);
    let mut decoded = Decoded::default();
    for (microbatch, learned) in microbatches.iter().zip(learned) {
        for (sum, part) in sums.iter_mut().zip(PARTS) {
            if part == microbatch.part() {
                add(sum, Tensor::from_inner(learned.loss.clone()));
            }
        }
        if let Some(gradient) = learned.input {
            let product = microbatch.input.clone() * Tensor::from_inner(gradient);
            add(&mut decoded.surrogate, product.sum());
        }
        merge(decoders, learned.gradients, &mut decoded.gradients);
    }
    let losses = PARTS.into_iter().zip(sums);
    decoded.losses = losses
        .filter_map(|(part, sum)| Some((part, sum?)))
        .collect();
    decoded
}

fn add(sum: &mut Option<Tensor<1>>, value: Tensor<1>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + value,
        None => value,
    });
}

/// Clips the gradients of each decoder, and of the shared MLP, by a norm of their own. By a common one the image generator's,
/// which jump by orders of magnitude, would hold down those of everything else: the captioner learned half as fast.
pub fn clip(decoders: &Decoders, mut gradients: GradientsParams, limit: f64) -> GradientsParams {
    gradients = clip_by_global_norm(&decoders.mlp, gradients, limit);
    if let Some(captioner) = &decoders.captioner {
        gradients = clip_by_global_norm(captioner, gradients, limit);
    }
    if let Some(generator) = &decoders.generator {
        gradients = clip_by_global_norm(generator, gradients, limit);
    }
    gradients
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::{Device, Distribution};
    use muse_core::decoders::captioner::{CaptionerConfig, Vocabulary};
    use muse_core::decoders::generator::PixelCnnConfig;
    use muse_core::decoders::{
        CaptionerDecoder, DecoderBatch, DecoderTarget, DecodersConfig, MicrobatchSize, Thumbnail,
    };
    use muse_core::encoders::Encoded;

    use super::*;

    const BATCH: usize = 5;
    const D: usize = 6;

    fn config(dropout: f64) -> DecodersConfig {
        DecodersConfig {
            noise: 0.0,
            blind: false,
            captioner: Some(CaptionerDecoder {
                sizes: CaptionerConfig {
                    attention: 5,
                    embedding: 4,
                    hidden: 7,
                    dropout,
                },
                vocabulary: Vocabulary::of_size(9),
            }),
            generator: Some(PixelCnnConfig {
                blocks: 1,
                filters: 3,
                mixtures: 2,
                dropout,
            }),
        }
    }

    fn targets() -> Vec<Option<DecoderTarget>> {
        let target = |place: usize| {
            let words = (0..=place).map(|at| 4 + ((place + 2 * at) % 5) as u32);
            let bytes = (0..Thumbnail::LENGTH).map(|at| ((at * (place + 3)) % 251) as u8);
            Some(DecoderTarget {
                tokens: Some(std::iter::once(1).chain(words).chain([2]).collect()),
                thumbnail: Thumbnail::from_bytes(bytes.collect()).map(Arc::new),
            })
        };
        (0..BATCH).map(target).collect()
    }

    /// Every gradient of a module and of what it reads, in order.
    struct Values<'a>(&'a GradientsParams, Vec<f32>);

    impl ModuleVisitor for Values<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id).expect("a gradient");
            self.1.extend(numbers(gradient));
        }
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("floats")
    }

    fn weights() -> LossWeights {
        LossWeights {
            captioning: 0.3,
            generation: 2.0,
            ..LossWeights::default()
        }
    }

    fn size(captions: usize, pictures: usize) -> MicrobatchSize {
        MicrobatchSize { captions, pictures }
    }

    fn setup(dropout: f64) -> (Decoders, Encoded) {
        let device = Device::flex().autodiff();
        let random = |rows| {
            let normal = Distribution::Normal(0.0, 1.0);
            Tensor::<3>::random([BATCH, rows, D], normal, &device).require_grad()
        };
        let encoded = Encoded {
            text: random(3),
            image: random(64),
        };
        (Decoders::new(&config(dropout), D, &device), encoded)
    }

    /// Losses and gradients of the `dropped` microbatches: as the trainer has them with so many workers, or of a single graph.
    fn gradients(
        (decoders, encoded): &(Decoders, Encoded),
        pairs: &DecoderBatch,
        dropped: &[Microbatch<'_>],
        workers: Option<usize>,
    ) -> Vec<f32> {
        // A backward pass uses up the graph behind what is read; the dropout stays.
        let mut microbatches = decoders.microbatches(encoded, pairs);
        for (part, dropped) in microbatches.iter_mut().zip(dropped) {
            let input = part.input.clone();
            *part = dropped.clone();
            part.input = input;
        }
        let (losses, own, mut all) = match workers {
            None => {
                let losses = PARTS.map(|part| {
                    let microbatches = microbatches.iter();
                    let microbatches = microbatches.filter(|microbatch| microbatch.part() == part);
                    microbatches
                        .map(|part| part.loss(decoders))
                        .reduce(|sum, loss| sum + loss)
                });
                let [said, drawn] = losses.map(|loss| loss.expect("a part"));
                let weighted = (
                    said.clone() * weights().captioning,
                    drawn.clone() * weights().generation,
                );
                let mut all = (weighted.0 + weighted.1).backward();
                let own = GradientsParams::from_module(&mut all, decoders);
                ([said, drawn], own, all)
            }
            Some(workers) => {
                let workers = Workers::new(workers).expect("threads");
                let decoded = learn(decoders, &microbatches, &weights(), &workers);
                let mut all = decoded.surrogate.expect("microbatches").backward();
                let mut own = decoded.gradients;
                let mlp = GradientsParams::from_module(&mut all, decoders);
                merge(decoders, mlp, &mut own);
                let [(_, said), (_, drawn)] = decoded.losses.try_into().expect("both losses");
                ([said, drawn], own, all)
            }
        };
        let mut values = Values(&own, losses.into_iter().flat_map(numbers).collect());
        decoders.visit(&mut values);
        for rows in [&encoded.text, &encoded.image] {
            let gradient = rows.grad_remove(&mut all).expect("a gradient");
            values.1.extend(numbers(gradient));
        }
        values.1
    }

    fn assert_close(values: &[f32], expected: &[f32]) {
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(expected) {
            let bound = 1e-5 + 1e-4 * expected.abs();
            assert!(
                (value - expected).abs() < bound,
                "{value} is not {expected}"
            );
        }
    }

    #[test]
    fn microbatches_learn_what_a_single_graph_would_on_any_number_of_workers() {
        let model = setup(0.5);
        let device = Device::flex().autodiff();
        let pairs =
            DecoderBatch::new(&targets(), &config(0.5), size(2, 2), &device).expect("pairs");
        let microbatches = model.0.microbatches(&model.1, &pairs);
        let expected = gradients(&model, &pairs, &microbatches, None);
        assert!(expected.iter().any(|gradient| gradient.abs() > 1e-2));
        let one = gradients(&model, &pairs, &microbatches, Some(1));
        assert_close(&one, &expected);
        for workers in [2, 4] {
            assert_eq!(gradients(&model, &pairs, &microbatches, Some(workers)), one);
        }
    }

    #[test]
    fn one_decoders_gradients_do_not_hold_the_others_down() {
        let (model, device) = (setup(0.0), Device::flex().autodiff());
        let pairs =
            DecoderBatch::new(&targets(), &config(0.0), size(5, 5), &device).expect("pairs");
        let workers = Workers::new(1).expect("threads");
        let clipped = |generation: f64| {
            let weights = LossWeights {
                generation,
                ..weights()
            };
            let microbatches = model.0.microbatches(&model.1, &pairs);
            let learned = learn(&model.0, &microbatches, &weights, &workers);
            let clipped = clip(&model.0, learned.gradients, 1e-3);
            let mut captioner = Values(&clipped, Vec::new());
            (model.0.captioner.as_ref().expect("a captioner")).visit(&mut captioner);
            let mut generator = Values(&clipped, Vec::new());
            (model.0.generator.as_ref().expect("a generator")).visit(&mut generator);
            (captioner.1, generator.1)
        };
        let (little, much) = (clipped(1.0), clipped(1e3));
        assert_eq!(little.0, much.0);
        for values in [little.0, much.0, much.1] {
            let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
            assert!((norm - 1e-3).abs() < 1e-5, "{norm}");
        }
    }

    #[test]
    fn cuts_differ_by_rounding_alone() {
        // Without dropout, whose numbers are drawn group by group.
        let (model, device) = (setup(0.0), Device::flex().autodiff());
        let [one, other] = [size(1, 1), size(4, 3)].map(|size| {
            let pairs = DecoderBatch::new(&targets(), &config(0.0), size, &device).expect("pairs");
            let microbatches = model.0.microbatches(&model.1, &pairs);
            gradients(&model, &pairs, &microbatches, Some(2))
        });
        assert_close(&one, &other);
    }
}
