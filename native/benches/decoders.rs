//! The time of the decoders' forward and backward pass on the CPU: `cargo bench -p muse --bench decoders`.
//!
//! `benches/peers/decoders.py` times the same sizes in PyTorch; the batch's numbers are random in both. For one thread set
//! `RAYON_NUM_THREADS=1`.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Duration;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, SamplingMode};
use muse_core::captioner::{Captioner, CaptionerConfig, Captions};
use muse_core::pixel_cnn::{PixelCnn, PixelCnnConfig, SIDE};

/// Pictures and captions of a batch.
/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 40;
/// Width of the model.
const WIDTH: usize = 384;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    captioner(&mut criterion);
    generator(&mut criterion);
    painting(&mut criterion);
    criterion.final_summary();
}

/// Captions of 16 tokens, start and end among them.
fn captioner(criterion: &mut Criterion) {
    const REGIONS: usize = 64;
    const VOCABULARY: usize = 4000;
    const TOKENS: usize = 16;
    let config = CaptionerConfig {
        attention: 256,
        embedding: 256,
        hidden: 256,
        dropout: 0.5,
    };
    let inner = Device::flex();
    let device = inner.clone().autodiff();
    device.seed(1);
    let captioner = Captioner::new(&config, WIDTH, VOCABULARY, &inner)
        .train()
        .set_require_grad(true);
    let regions = Tensor::<3>::random(
        [BATCH, REGIONS, WIDTH],
        Distribution::Normal(0.0, 1.0),
        &device,
    )
    .require_grad();
    let sentences: Vec<Vec<u32>> = (0..BATCH)
        .map(|place| {
            let words = (1..TOKENS - 1).map(|at| (4 + (613 * place + 31 * at) % 3990) as u32);
            std::iter::once(1).chain(words).chain([2]).collect()
        })
        .collect();
    let mut group = criterion.benchmark_group("captioner");
    group
        .sample_size(20)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(6));
    group.bench_function("forward and backward", |bencher| {
        bencher.iter(|| {
            let captions = Captions::new(&sentences, VOCABULARY, &device);
            black_box(captioner.loss(regions.clone(), &captions).backward())
        });
    });
    group.finish();
}

/// The sizes of `configs/muse-decoders.toml`.
const GENERATOR: PixelCnnConfig = PixelCnnConfig {
    blocks: 1,
    filters: 24,
    mixtures: 5,
    dropout: 0.5,
};

fn generator(criterion: &mut Criterion) {
    let inner = Device::flex();
    let device = inner.clone().autodiff();
    device.seed(1);
    let generator = PixelCnn::new(&GENERATOR, WIDTH, &inner)
        .train()
        .set_require_grad(true);
    let random = Distribution::Uniform(-1.0, 1.0);
    let pixels = Tensor::<4>::random([BATCH, 3, SIDE, SIDE], random, &device);
    let condition = Tensor::<2>::random([BATCH, WIDTH], random, &device).require_grad();
    let mut group = criterion.benchmark_group("generator");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_secs(3))
        .measurement_time(Duration::from_secs(12));
    group.bench_function("forward and backward", |bencher| {
        bencher.iter(|| {
            let loss = generator.loss(pixels.clone(), condition.clone());
            black_box(loss.backward())
        });
    });
    group.finish();
}

/// Pictures painted from caches, beside the full pass that each of a picture's pixels would take without them.
fn painting(criterion: &mut Criterion) {
    let device = Device::flex();
    device.seed(1);
    let generator = PixelCnn::new(&GENERATOR, WIDTH, &device);
    let random = Distribution::Uniform(-1.0, 1.0);
    let mut group = criterion.benchmark_group("painting");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    for pictures in [1, 16] {
        let condition = Tensor::<2>::random([pictures, WIDTH], random, &device);
        group.bench_function(format!("{pictures} from caches"), |bencher| {
            bencher.iter(|| {
                let goon = |_| ControlFlow::Continue(());
                black_box(generator.sample(condition.clone(), SIDE, 1.0, 0, goon))
            });
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
