//! The time of a training step on the CPU, split by part: `cargo bench -p muse --bench step`.
//!
//! The sizes are those of `configs/muse-small.toml` with MiniLM (the weights are random: they take the same time); 40 posts
//! of 40 pieces and 28 words, each with entities, a sentiment and the kept features of a photo of its own. At the end the
//! parts are printed as shares of the step, which has no decoders; theirs (captions of 14 words)
//! come on top.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn::train::TrainStep;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use half::f16;
use muse::train::config::{TextSection, TrainConfig};
use muse::train::decode::learn;
use muse::train::feed::StepInput;
use muse::train::freeze;
use muse::train::learner::{Settings, Trainee, schedule};
use muse::train::optimizer::optimizer;
use muse::workers::Workers;
use muse_core::batch::{Batch, Example, Picture};
use muse_core::config::MuseConfig;
use muse_core::decoders::captioner::Vocabulary;
use muse_core::decoders::{
    DecoderBatch, DecoderTarget, Decoders, DecodersConfig, MicrobatchSize, Thumbnail,
};
use muse_core::encoders::Encoded;
use muse_core::encoders::image::REGIONS;
use muse_core::encoders::text::{BertConfig, TextEncoderConfig};
use muse_core::exchange::{CrossTransformer, Crossed, Multiplicities, Stream, scores};
use muse_core::heads::Labels;
use muse_core::heads::classifier::Label;
use muse_core::model::Muse;
use muse_core::objective::Part;
use muse_core::text::tokenizer::EncodedText;

const POSTS: usize = 40;
const PIECES: usize = 40;
const WORDS: usize = 28;
const CAPTION: usize = 14;
const TOKENS: usize = 4000;

fn main() {
    muse::memory::keep();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("step");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5));
    let mut bench = Bench {
        group,
        medians: Vec::new(),
    };
    parts(&mut bench);
    bench.report();
}

/// Criterion's group, and what it measured.
struct Bench<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    medians: Vec<(&'static str, f64)>,
}

impl Bench<'_> {
    /// Times `timed` on what `prepare` makes; only the former counts.
    fn part<I, O>(
        &mut self,
        name: &'static str,
        mut prepare: impl FnMut() -> I,
        mut timed: impl FnMut(I) -> O,
    ) {
        let mut seconds = Vec::new();
        self.group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut sum = Duration::ZERO;
                for _ in 0..iterations {
                    let input = prepare();
                    let start = Instant::now();
                    let output = black_box(timed(input));
                    sum += start.elapsed();
                    drop(output);
                }
                seconds.push(sum.as_secs_f64() / iterations as f64);
                sum
            });
        });
        if seconds.is_empty() {
            return; // not among those asked for
        }
        seconds.sort_by(f64::total_cmp);
        self.medians.push((name, seconds[seconds.len() / 2]));
    }

    fn report(self) {
        let of = |name| {
            self.medians
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, s)| *s)
        };
        let Some(step) = of("whole step") else { return };
        for (name, seconds) in &self.medians {
            println!(
                "{name:40} {:8.1} ms {:6.1} %",
                1e3 * seconds,
                1e2 * seconds / step
            );
        }
        if let (Some(with), Some(without)) =
            (of("CrossTransformer"), of("CrossTransformer, no exchange"))
        {
            let seconds = with - without;
            println!(
                "{:40} {:8.1} ms {:6.1} %",
                "CrossTransformer, with less without",
                1e3 * seconds,
                1e2 * seconds / step
            );
        }
    }
}

fn parts(bench: &mut Bench) {
    let setup = Setup::new();
    setup.encoders(bench);
    setup.exchange(bench);
    setup.heads(bench);
    setup.decoders(bench);
    setup.step_with_decoders(bench);
    setup.step(bench);
}

/// A model, and what it learns from.
struct Setup {
    config: TrainConfig,
    model: MuseConfig,
    muse: Muse,
    decoders: Decoders,
    batch: Batch,
    input: StepInput,
    device: Device,
}

impl Setup {
    fn new() -> Self {
        let inner = Device::flex();
        let device = inner.clone().autodiff();
        device.seed(1);
        let mut config = settings();
        let tags = "O B-LOC I-LOC B-MISC I-MISC B-ORG I-ORG B-PER I-PER".split(' ');
        config.model.tags = tags.map(String::from).collect();
        config.model.classes = ["negative", "neutral", "positive"].map(String::from).into();
        let model = config
            .model_config(config.model.names(), Some(decoders_config(&config)))
            .expect("the configuration");
        (
            config.train.weights.captioning,
            config.train.weights.generation,
        ) = (0.5, 0.5);
        let muse = Muse::new(&model, &inner).expect("the configuration");
        let muse = freeze(&config, muse.train().set_require_grad(true)).expect("the stages");
        let sizes = model.decoders.as_ref().expect("decoders");
        let decoders = Decoders::new(sizes, model.text.width(), &inner)
            .train()
            .set_require_grad(true);
        let input = StepInput {
            examples: examples(&model),
            targets: targets(),
            seed: 1,
        };
        Self {
            batch: Batch::new(&input.examples, &model, 0, &device),
            config,
            model,
            muse,
            decoders,
            input,
            device,
        }
    }

    /// So many rows of the model's width for each post.
    fn random(&self, rows: usize) -> Tensor<3> {
        let shape = [POSTS, rows, self.model.text.width()];
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &self.device).require_grad()
    }

    fn encoders(&self, bench: &mut Bench) {
        let (muse, device) = (&self.muse, &self.device);
        let examples = &self.input.examples;
        bench.part(
            "batch to tensors",
            || (),
            |()| Batch::new(examples, &self.model, 0, device),
        );

        let pieces: Vec<i32> = examples
            .iter()
            .flat_map(|example| example.text.pieces.iter().map(|&piece| piece as i32))
            .collect();
        let pieces = Tensor::<2, Int>::from_data(TensorData::new(pieces, [POSTS, PIECES]), device);
        bench.part(
            "text encoder",
            || (),
            |()| {
                muse.text
                    .forward(pieces.clone(), None, None)
                    .sum()
                    .backward()
            },
        );

        let channels = self.model.image.encoder.channels();
        let regions =
            Tensor::<3>::random([POSTS, REGIONS, channels], Distribution::Default, device);
        bench.part(
            "projection of the regions",
            || (),
            |()| muse.projection.forward(regions.clone()).sum().backward(),
        );
    }

    fn exchange(&self, bench: &mut Bench) {
        let (muse, model, device) = (&self.muse, &self.model, &self.device);
        let streams = || {
            [PIECES, REGIONS].map(|n| Stream {
                rows: self.random(1 + n),
                multiplicities: Multiplicities::new(&vec![vec![1.0; 1 + n]; POSTS], device),
            })
        };
        let cross = |cross: &CrossTransformer, [text, image]: [Stream; 2]| {
            let crossed = cross.forward(text, image);
            (crossed.text.sum() + crossed.image.sum()).backward()
        };
        bench.part("CrossTransformer", streams, |streams| {
            cross(&muse.cross, streams)
        });

        let mut apart = model.exchange.clone();
        (apart.first_layer, apart.last_layer) = (1, 0);
        let apart = CrossTransformer::new(&apart, model.text.width(), &device.clone().inner())
            .train()
            .set_require_grad(true);
        bench.part("CrossTransformer, no exchange", streams, |streams| {
            cross(&apart, streams)
        });

        // Score, choice, mean and replacement, as often as in a step. The sums that start the backward pass are timed too, so
        // that this is an upper bound.
        let layers = (model.exchange.first_layer..=model.exchange.last_layer)
            .filter(|&layer| layer < model.exchange.layers)
            .count();
        let weights = |n: usize| {
            let shape = [POSTS, model.exchange.heads, 1 + n, 1 + n];
            softmax(Tensor::<4>::random(shape, Distribution::Default, device), 3)
        };
        let exchanging = || (streams(), [PIECES, REGIONS].map(weights));
        bench.part("exchange alone", exchanging, |(mut streams, weights)| {
            let quotas = muse.cross.quotas(&streams);
            for _ in 0..layers {
                let scores = weights.clone().map(scores);
                (streams, _) = muse.cross.exchange(streams, &scores, &quotas);
            }
            let [text, image] = streams.map(|stream| stream.rows.sum());
            (text + image).backward()
        });
    }

    fn heads(&self, bench: &mut Bench) {
        let (muse, batch) = (&self.muse, &self.batch);
        let crossed = || Crossed {
            text: self.random(1 + PIECES),
            image: self.random(1 + REGIONS),
            trace: Vec::new(),
        };
        bench.part("heads, CRF and losses", crossed, |crossed| {
            let losses = muse.losses(batch, &muse.heads(batch, crossed));
            let sum = losses
                .into_iter()
                .map(|(_, loss)| loss)
                .reduce(|a, b| a + b);
            sum.expect("the batch has both labels").backward()
        });
    }

    fn decoders(&self, bench: &mut Bench) {
        let (decoders, weights) = (&self.decoders, &self.config.train.weights);
        let sizes = self.model.decoders.as_ref().expect("decoders");
        let encoded = || Encoded {
            text: self.random(PIECES),
            image: self.random(REGIONS),
        };
        let workers = workers();
        for (name, captioner) in [("captioner", true), ("image generator", false)] {
            // One decoder's pairs at a time, so that the other has nothing to do.
            let mut targets = self.input.targets.clone();
            for target in targets.iter_mut().flatten() {
                match captioner {
                    true => target.thumbnail = None,
                    false => target.tokens = None,
                }
            }
            let batch = DecoderBatch::new(&targets, sizes, MicrobatchSize::CPU, &self.device);
            let batch = batch.expect("targets");
            bench.part(name, encoded, |encoded| {
                let microbatches = decoders.microbatches(&encoded, &batch);
                let decoded = learn(decoders, &microbatches, weights, &workers);
                (
                    decoded.surrogate.expect("a microbatch").backward(),
                    decoded.gradients,
                )
            });
        }
    }

    fn trainee(&self, decoders: Option<Decoders>) -> Trainee {
        let mut config = self.model.clone();
        config.decoders = config.decoders.filter(|_| decoders.is_some());
        let settings = Settings {
            config,
            weights: self.config.train.weights.clone(),
            clip: self.config.train.clip,
            pad: 0,
            device: self.device.clone(),
            microbatch: MicrobatchSize::CPU,
            workers: Arc::new(workers()),
        };
        Trainee::new(self.muse.clone(), decoders, settings)
    }

    fn step_with_decoders(&self, bench: &mut Bench) {
        let trainee = self.trainee(Some(self.decoders.clone()));
        bench.part(
            "forward and backward with decoders",
            || self.input.clone(),
            |input| TrainStep::step(&trainee, input).grads,
        );
    }

    fn step(&self, bench: &mut Bench) {
        let trainee = self.trainee(None);
        let mut optimizer = optimizer(&trainee, self.config.train.weight_decay, &self.device);
        let mut rates = schedule(&self.config, 1_000_000).expect("the rates");
        // The gradients of one step do for all: their values make no difference to the time.
        let gradients = TrainStep::step(&trainee, self.input.clone()).grads;
        let ids = trainee.clone();
        let copy = || {
            let mut copy = Copier {
                from: &gradients,
                to: GradientsParams::new(),
            };
            ids.visit(&mut copy);
            copy.to
        };
        let mut trainee = Some(trainee);
        bench.part("clipping and AdamW", copy, |gradients| {
            let before = trainee.take().expect("put back below");
            trainee = Some(before.optimize(&mut optimizer, rates.step(), gradients));
        });
        bench.part(
            "whole step",
            || self.input.clone(),
            |input| {
                let before = trainee.take().expect("put back below");
                let gradients = TrainStep::step(&before, input).grads;
                trainee = Some(before.optimize(&mut optimizer, rates.step(), gradients));
            },
        );
    }
}

/// Copies gradients, which are used up by a step.
struct Copier<'a> {
    from: &'a GradientsParams,
    to: GradientsParams,
}

impl ModuleVisitor for Copier<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.from.get::<D>(param.id) {
            self.to.register(param.id, gradient * 1.0);
        }
    }
}

/// `configs/muse-small.toml`, with MiniLM's sizes instead of its folder.
fn settings() -> TrainConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/muse-small.toml");
    let mut config = TrainConfig::load(&path, &[]).expect("the configuration");
    config.model.text = TextSection {
        folder: None,
        sizes: Some(TextEncoderConfig::Bert(BertConfig {
            vocab_size: 30522,
            hidden_size: 384,
            num_hidden_layers: 6,
            num_attention_heads: 12,
            intermediate_size: 1536,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
        })),
    };
    config
}

/// The decoders of the configuration, with a vocabulary of its data's size.
fn decoders_config(config: &TrainConfig) -> DecodersConfig {
    let mut config = config.clone();
    (
        config.train.weights.captioning,
        config.train.weights.generation,
    ) = (1.0, 1.0);
    let decoders = config.decoders(|_| Ok(Vocabulary::of_size(TOKENS)));
    decoders.expect("the sizes").expect("both decoders")
}

/// Posts of equal length. Any pieces, tags and features do.
fn examples(model: &MuseConfig) -> Vec<Example> {
    let values = REGIONS * model.image.encoder.channels();
    (0..POSTS)
        .map(|post| Example {
            text: EncodedText {
                pieces: (0..PIECES)
                    .map(|at| (1000 + 613 * post + 31 * at) as u32 % 30_000)
                    .collect(),
                shapes: vec![1; PIECES],
                first_pieces: (1..=WORDS).collect(),
            },
            picture: Some(Arc::new(Picture::Regions(
                (0..values)
                    .map(|at| f16::from_f32((post + at) as f32 % 7.0 / 7.0))
                    .collect(),
            ))),
            labels: labels(model, post),
        })
        .collect()
}

/// Entities and a sentiment.
fn labels(model: &MuseConfig, post: usize) -> Labels {
    let (tags, classes) = (model.names.tags.len(), model.names.classes.len());
    let class = post % classes;
    let sentiment = Label {
        class,
        target: (0..classes)
            .map(|other| f32::from(u8::from(other == class)))
            .collect(),
    };
    Labels {
        entities: Some((0..WORDS).map(|word| (post + word) % tags).collect()),
        classes: [(Part::Sentiment, sentiment)].into(),
        ..Labels::default()
    }
}

/// Captions as long as plain ones of a photo, and pictures.
fn targets() -> Vec<Option<DecoderTarget>> {
    let target = |post: usize| {
        let words = (0..CAPTION).map(|at| (3 + 31 * (post + at)) as u32 % TOKENS as u32);
        let bytes = (0..Thumbnail::LENGTH).map(|at| ((at + 7 * post) % 256) as u8);
        Some(DecoderTarget {
            tokens: Some(std::iter::once(1).chain(words).chain([2]).collect()),
            thumbnail: Thumbnail::from_bytes(bytes.collect()).map(Arc::new),
        })
    };
    (0..POSTS).map(target).collect()
}

fn workers() -> Workers {
    Workers::new(rayon::current_num_threads()).expect("threads")
}
