//! What the kernels take at the sizes of the shipped model, on every tier of this machine, on one thread.

#![allow(missing_docs)] // of what the macros define

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use muse_kernels::{
    Activation, Attention, Depthwise, Floats, Packed, Scale, Shape, Tier, Window, normalise,
};

/// Pieces of a caption.
const ROWS: usize = 36;

/// Numbers that follow no pattern.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn products(criterion: &mut Criterion) {
    for [inputs, outputs] in [[384, 384], [384, 1536], [1536, 384]] {
        let mut group = criterion.benchmark_group(format!("8 bits, {inputs} to {outputs}"));
        group.throughput(Throughput::Elements((2 * ROWS * inputs * outputs) as u64));
        let weight = |i: usize, o: usize| (i * 31 + o * 17) as i8;
        let scale = vec![0.01; outputs];
        let packed = Packed::new([inputs, outputs], weight, Scale::Outputs(&scale), None);
        let rows = numbers(ROWS * inputs);
        let mut out = vec![0.0; ROWS * outputs];
        for tier in Tier::all() {
            group.bench_function(BenchmarkId::from_parameter(tier), |bencher| {
                bencher.iter(|| packed.product(tier, &rows, Activation::Gelu, None, &mut out));
            });
        }
    }
    let mut group = criterion.benchmark_group("floats, 4096 pixels, 24 to 144");
    group.throughput(Throughput::Elements(2 * 4096 * 24 * 144));
    let floats = Floats::new([24, 144], |i, o| (i * 31 + o * 17) as f32 / 1e4, None);
    let (rows, mut out) = (numbers(4096 * 24), vec![0.0; 4096 * 144]);
    for tier in Tier::all() {
        group.bench_function(BenchmarkId::from_parameter(tier), |bencher| {
            bencher.iter(|| floats.product(tier, &rows, Activation::Relu6, None, &mut out));
        });
    }
}

fn rows(criterion: &mut Criterion) {
    let values = numbers(3 * ROWS * 384);
    let part = |which: usize| &values[which * ROWS * 384..(which + 1) * ROWS * 384];
    let mut group = criterion.benchmark_group("attention, 12 heads of 32");
    for tier in Tier::all() {
        group.bench_function(BenchmarkId::from_parameter(tier), |bencher| {
            let attention = Attention {
                query: part(0),
                key: part(1),
                value: part(2),
                key_bias: None,
                rows: ROWS,
                width: 384,
                heads: 12,
            };
            bencher.iter(|| attention.attend(tier));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("normalisation, 384");
    for tier in Tier::all() {
        group.bench_function(BenchmarkId::from_parameter(tier), |bencher| {
            let (gamma, beta) = (&values[..384], &values[384..768]);
            let rows = || part(0).to_vec();
            let run = |mut rows: Vec<f32>| normalise(tier, &mut rows, gamma, beta, 1e-12);
            bencher.iter_batched(rows, run, BatchSize::SmallInput);
        });
    }
}

fn filters(criterion: &mut Criterion) {
    for (side, channels, kernel, stride) in [(64, 144, 3, 1), (128, 96, 3, 2), (16, 480, 5, 1)] {
        let name = format!("filters, {side}x{side}x{channels}, {kernel}x{kernel}, step {stride}");
        let mut group = criterion.benchmark_group(name);
        let out = side / stride;
        let taps = kernel * kernel * channels;
        group.throughput(Throughput::Elements((2 * out * out * taps) as u64));
        let filter = Depthwise {
            weights: numbers(taps),
            bias: numbers(channels),
        };
        let shape = Shape {
            height: side,
            width: side,
            channels,
        };
        let window = Window {
            kernel,
            stride,
            before: [(kernel - stride) / 2; 2],
            out: [out; 2],
        };
        let map = numbers(side * side * channels);
        let mut result = vec![0.0; out * out * channels];
        for tier in Tier::all() {
            group.bench_function(BenchmarkId::from_parameter(tier), |bencher| {
                let act = Activation::Relu6;
                bencher.iter(|| filter.convolve(tier, &map, shape, window, act, &mut result));
            });
        }
    }
}

criterion_group!(kernels, products, rows, filters);
criterion_main!(kernels);
