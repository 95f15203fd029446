//! The decoders' share of a training step, part by part.
//!
//! A part's graph ends at what the decoder reads. Its gradient there goes on to the encoders in the step's own backward pass, as
//! the gradient of a product with a constant.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use muse_core::decoders::{Decoders, Part};

use super::config::LossWeights;
use super::learner::clip_by_global_norm;
use super::workers::Workers;

/// What the decoders' parts of a step gave.
#[derive(Default)]
pub struct Decoded {
    /// L_it, `[1]`, without gradient; `None` when there was no caption.
    pub captioning: Option<Tensor<1>>,
    /// L_ti, `[1]`, without gradient; `None` when there was no picture.
    pub generation: Option<Tensor<1>>,
    /// `[1]`: its gradient is that of the weighted losses, for everything that the decoders read. Its value means nothing.
    pub carrier: Option<Tensor<1>>,
    /// The weighted losses' gradients of the decoders' own weights; those of the shared MLP come through the carrier.
    pub gradients: GradientsParams,
}

/// One part's.
struct Learned {
    loss: Tensor<1>,
    input: Option<Tensor<3>>,
    gradients: GradientsParams,
}

/// Goes forward and backward through the `parts` of a batch. How many workers there are makes no difference to the result.
pub fn learn(
    decoders: &Decoders,
    parts: &[Part<'_>],
    weights: &LossWeights,
    workers: &Workers,
) -> Decoded {
    let tasks: Vec<(Part<'_>, f64, Decoders)> = (parts.iter())
        .map(|part| {
            let weight = match part.is_captioning() {
                true => weights.captioning,
                false => weights.generation,
            };
            // Weights of its own: graphs that share a leaf are one graph, behind one lock.
            (part.detached(), weight, decoders.valid().train())
        })
        .collect();
    let learned = workers.map(tasks, |(part, weight, decoders)| {
        let loss = part.loss(&decoders);
        let mut gradients = (loss.clone() * weight).backward();
        Learned {
            loss: loss.inner(),
            input: part.input.grad_remove(&mut gradients),
            gradients: GradientsParams::from_grads(gradients, &decoders),
        }
    });

    let mut decoded = Decoded::default();
    for (part, learned) in parts.iter().zip(learned) {
        let sum = match part.is_captioning() {
            true => &mut decoded.captioning,
            false => &mut decoded.generation,
        };
        add(sum, Tensor::from_inner(learned.loss));
        if let Some(gradient) = learned.input {
            let product = part.input.clone() * Tensor::from_inner(gradient);
            add(&mut decoded.carrier, product.sum());
        }
        merge(decoders, learned.gradients, &mut decoded.gradients);
    }
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

/// Adds gradients of `module`'s weights to others.
pub fn merge<M: Module>(module: &M, mut from: GradientsParams, into: &mut GradientsParams) {
    module.visit(&mut Merge {
        from: &mut from,
        into,
    });
}

struct Merge<'a> {
    from: &'a mut GradientsParams,
    into: &'a mut GradientsParams,
}

impl ModuleVisitor for Merge<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.from.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.into.remove::<D>(param.id) {
            Some(other) => other + gradient,
            None => gradient,
        };
        self.into.register(param.id, sum);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::tensor::{Device, Distribution};
    use muse_core::batch::Example;
    use muse_core::decoders::captioner::{CaptionerConfig, Vocabulary};
    use muse_core::decoders::generator::PixelCnnConfig;
    use muse_core::decoders::{CaptionerDecoder, DecodersConfig, Pair, Pairs, Thumbnail, Together};
    use muse_core::encoders::Encoded;
    use muse_core::text::tokenizer::EncodedText;

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

    fn examples() -> Vec<Example> {
        let example = |place: usize| {
            let text = EncodedText {
                pieces: vec![1, 2, 3],
                shapes: vec![0; 3],
                first_pieces: vec![1],
            };
            let words = (0..=place).map(|at| 4 + ((place + 2 * at) % 5) as u32);
            let bytes = (0..Thumbnail::LENGTH).map(|at| ((at * (place + 3)) % 251) as u8);
            let mut example = Example::unlabelled(text, None);
            example.pair = Some(Pair {
                tokens: Some(std::iter::once(1).chain(words).chain([2]).collect()),
                thumbnail: Thumbnail::from_bytes(bytes.collect()).map(Arc::new),
            });
            example
        };
        (0..BATCH).map(example).collect()
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

    const WEIGHTS: LossWeights = LossWeights {
        entities: 0.0,
        sentiment: 0.0,
        captioning: 0.3,
        generation: 2.0,
    };

    fn together(captions: usize, pictures: usize) -> Together {
        Together { captions, pictures }
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

    /// Losses and gradients of the `dropped` parts: as the trainer has them with so many workers, or of a single graph.
    fn gradients(
        (decoders, encoded): &(Decoders, Encoded),
        pairs: &Pairs,
        dropped: &[Part<'_>],
        workers: Option<usize>,
    ) -> Vec<f32> {
        // A backward pass uses up the graph behind what is read; the dropout stays.
        let mut parts = decoders.parts(encoded, pairs);
        for (part, dropped) in parts.iter_mut().zip(dropped) {
            let input = part.input.clone();
            *part = dropped.clone();
            part.input = input;
        }
        let (losses, own, mut all) = match workers {
            None => {
                let losses = [true, false].map(|captioning| {
                    let parts = parts.iter();
                    let parts = parts.filter(|part| part.is_captioning() == captioning);
                    parts
                        .map(|part| part.loss(decoders))
                        .reduce(|sum, loss| sum + loss)
                });
                let [said, drawn] = losses.map(|loss| loss.expect("a part"));
                let weighted = (
                    said.clone() * WEIGHTS.captioning,
                    drawn.clone() * WEIGHTS.generation,
                );
                let mut all = (weighted.0 + weighted.1).backward();
                let own = GradientsParams::from_module(&mut all, decoders);
                ([said, drawn], own, all)
            }
            Some(workers) => {
                let workers = Workers::new(workers).expect("threads");
                let decoded = learn(decoders, &parts, &WEIGHTS, &workers);
                let mut all = decoded.carrier.expect("parts").backward();
                let mut own = decoded.gradients;
                let mlp = GradientsParams::from_module(&mut all, decoders);
                merge(decoders, mlp, &mut own);
                let losses = [decoded.captioning, decoded.generation];
                (losses.map(|loss| loss.expect("a part")), own, all)
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
    fn parts_learn_what_a_single_graph_would_on_any_number_of_workers() {
        let model = setup(0.5);
        let device = Device::flex().autodiff();
        let pairs = Pairs::new(&examples(), &config(0.5), together(2, 2), &device).expect("pairs");
        let parts = model.0.parts(&model.1, &pairs);
        let expected = gradients(&model, &pairs, &parts, None);
        assert!(expected.iter().any(|gradient| gradient.abs() > 1e-2));
        let one = gradients(&model, &pairs, &parts, Some(1));
        assert_close(&one, &expected);
        for workers in [2, 4] {
            assert_eq!(gradients(&model, &pairs, &parts, Some(workers)), one);
        }
    }

    #[test]
    fn one_decoders_gradients_do_not_hold_the_others_down() {
        let (model, device) = (setup(0.0), Device::flex().autodiff());
        let pairs = Pairs::new(&examples(), &config(0.0), together(5, 5), &device).expect("pairs");
        let workers = Workers::new(1).expect("threads");
        let clipped = |generation: f64| {
            let weights = LossWeights {
                generation,
                ..WEIGHTS
            };
            let parts = model.0.parts(&model.1, &pairs);
            let learned = learn(&model.0, &parts, &weights, &workers);
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
        let [one, other] = [together(1, 1), together(4, 3)].map(|together| {
            let pairs = Pairs::new(&examples(), &config(0.0), together, &device).expect("pairs");
            let parts = model.0.parts(&model.1, &pairs);
            gradients(&model, &pairs, &parts, Some(2))
        });
        assert_close(&one, &other);
    }
}
