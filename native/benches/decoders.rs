//! The time of the decoders' forward and backward pass on the CPU: `cargo bench -p muse --bench decoders`.
//!
//! `benches/peers/decoders.py` times the same sizes in PyTorch; the batch's numbers are random in both. For one thread set
//! `RAYON_NUM_THREADS=1`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, SamplingMode};
use muse::train::config::LossWeights;
use muse::train::decode::learn;
use muse::workers::Workers;
use muse_core::decoders::captioner::{CaptionerConfig, Vocabulary};
use muse_core::decoders::generator::{PixelCnn, PixelCnnConfig, SIDE, Sampling};
use muse_core::decoders::{
    CaptionerDecoder, DecoderBatch, DecoderTarget, Decoders, DecodersConfig, MicrobatchSize,
    Thumbnail,
};
use muse_core::encoders::Encoded;
use muse_core::encoders::image::REGIONS;

/// Pictures and captions of a batch.
const BATCH: usize = 40;
/// Width of the model.
const WIDTH: usize = 384;
/// Tokens that the captioner knows.
const VOCABULARY: usize = 4000;
/// Tokens of a caption, start and end among them.
const TOKENS: usize = 16;

/// The sizes of `configs/muse-decoders.toml`.
const CAPTIONER: CaptionerConfig = CaptionerConfig {
    attention: 256,
    embedding: 256,
    hidden: 256,
    dropout: 0.5,
};
const GENERATOR: PixelCnnConfig = PixelCnnConfig {
    blocks: 1,
    filters: 24,
    mixtures: 5,
    dropout: 0.5,
};

fn main() {
    muse::memory::keep();
    let mut criterion = Criterion::default().configure_from_args();
    learning(&mut criterion, "captioner", Some(CAPTIONER), None);
    learning(&mut criterion, "generator", None, Some(GENERATOR));
    painting(&mut criterion);
    criterion.final_summary();
}

/// A decoder's part in a training step, as the trainer does it; what it reads and the dropout's numbers are there.
fn learning(
    criterion: &mut Criterion,
    name: &str,
    captioner: Option<CaptionerConfig>,
    generator: Option<PixelCnnConfig>,
) {
    let inner = Device::flex();
    let device = inner.clone().autodiff();
    device.seed(1);
    let sizes = DecodersConfig {
        noise: 0.0,
        blind: false,
        captioner: captioner.map(|sizes| CaptionerDecoder {
            sizes,
            vocabulary: Vocabulary::of_size(VOCABULARY),
        }),
        generator,
    };
    let decoders = Decoders::new(&sizes, WIDTH, &inner)
        .train()
        .set_require_grad(true);
    let rows = |rows| {
        let normal = Distribution::Normal(0.0, 1.0);
        Tensor::<3>::random([BATCH, rows, WIDTH], normal, &device)
    };
    let encoded = Encoded {
        text: rows(1),
        image: rows(REGIONS),
    };
    let targets: Vec<Option<DecoderTarget>> = (0..BATCH).map(target).map(Some).collect();
    let batch = DecoderBatch::new(&targets, &sizes, MicrobatchSize::CPU, &device).expect("targets");
    let microbatches = decoders.microbatches(&encoded, &batch);
    let weights = LossWeights {
        captioning: 1.0,
        generation: 1.0,
        ..LossWeights::default()
    };
    let workers = Workers::new(rayon::current_num_threads()).expect("threads");
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_secs(3))
        .measurement_time(Duration::from_secs(12));
    group.bench_function("forward and backward", |bencher| {
        bencher.iter(|| black_box(learn(&decoders, &microbatches, &weights, &workers)).gradients);
    });
    group.finish();
}

fn target(place: usize) -> DecoderTarget {
    let words = (1..TOKENS - 1).map(|at| (4 + (613 * place + 31 * at) % 3990) as u32);
    // Noise: a linear congruential generator's upper bits.
    let mut state = place as u32;
    let noise = (0..Thumbnail::LENGTH).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    DecoderTarget {
        tokens: Some(std::iter::once(1).chain(words).chain([2]).collect()),
        thumbnail: Thumbnail::from_bytes(noise.collect()).map(Arc::new),
    }
}

/// Pictures painted from caches, beside the full pass that each of a picture's pixels would take without them.
fn painting(criterion: &mut Criterion) {
    let device = Device::flex();
    device.seed(1);
    let generator = PixelCnn::new(&GENERATOR, WIDTH, &device);
    let random = Distribution::Uniform(-1.0, 1.0);
    let sampling = Sampling {
        temperature: 1.0,
        seed: 0,
        first: 0,
    };
    let mut group = criterion.benchmark_group("painting");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    for pictures in [1, 16] {
        let condition = Tensor::<2>::random([pictures, WIDTH], random, &device);
        group.bench_function(format!("{pictures} from caches"), |bencher| {
            bencher.iter(|| black_box(generator.sample(condition.clone(), SIDE, sampling, || {})));
        });
        let pixels = Tensor::<4>::random([pictures, 3, SIDE, SIDE], random, &device);
        group.bench_function(format!("{pictures}, one full pass of 1024"), |bencher| {
            bencher.iter(|| {
                let logits = generator.forward(pixels.clone(), condition.clone());
                black_box(logits.into_data())
            });
        });
    }
    group.finish();
}
