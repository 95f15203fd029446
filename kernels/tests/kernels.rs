//! Every tier gives the digits of plain Rust, and these are right.

use muse_kernels::{
    Activation, Attention, Depthwise, Floats, Packed, Scale, Shape, Table, Tier, Window, normalise,
    patches,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Numbers without surprises.
fn number() -> BoxedStrategy<f32> {
    prop_oneof![4 => -3.0f32..3.0, 1 => Just(0.0), 1 => -300.0f32..300.0].boxed()
}

/// Any number there is.
fn any_number() -> BoxedStrategy<f32> {
    prop_oneof![30 => number(), 1 => any::<f32>(), 1 => select(vec![
        0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, 1e-30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN,
    ])].boxed()
}

fn activation() -> impl Strategy<Value = Activation> {
    select(vec![
        Activation::None,
        Activation::Gelu,
        Activation::Relu,
        Activation::Relu6,
    ])
}

/// What `run` gives in plain Rust, having checked that every other tier gives the same digits.
fn on_every_tier(run: impl Fn(Tier) -> Vec<f32>) -> Vec<f32> {
    // Which NaN it is, is nobody's business.
    let bits = |values: &[f32]| -> Vec<u32> {
        let canonical = values
            .iter()
            .map(|x| if x.is_nan() { f32::NAN } else { *x });
        canonical.map(f32::to_bits).collect()
    };
    let plain = run(Tier::PLAIN);
    for tier in Tier::all() {
        assert_eq!(bits(&run(tier)), bits(&plain), "{tier}");
    }
    plain
}

fn applied(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Gelu => {
            // erf by its series, which converges where GELU differs from a ramp.
            let z = (x * std::f64::consts::FRAC_1_SQRT_2).clamp(-5.0, 5.0);
            let (mut term, mut sum) = (z, z);
            for n in 1..300 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            0.5 * x * (1.0 + sum * std::f64::consts::FRAC_2_SQRT_PI)
        }
    }
}

/// A matrix with its scale, some rows, and what is added.
#[derive(Clone, Debug)]
struct Case {
    sizes: [usize; 2],
    weights: Vec<i8>,
    by_input: bool,
    scale: Vec<f32>,
    bias: Vec<f32>,
    rows: Vec<f32>,
    residual: Option<Vec<f32>>,
    activation: Activation,
}

impl Case {
    fn scale(&self) -> Scale<'_> {
        match self.by_input {
            true => Scale::Inputs(&self.scale),
            false => Scale::Outputs(&self.scale),
        }
    }

    fn weight(&self, input: usize, output: usize) -> i8 {
        self.weights[input * self.sizes[1] + output]
    }

    fn run(&self) -> Vec<f32> {
        let weight = |i, o| self.weight(i, o);
        let packed = Packed::new(self.sizes, weight, self.scale(), Some(&self.bias));
        on_every_tier(|tier| {
            let count = self.rows.len() / self.sizes[0];
            let mut out = vec![9.0; count * self.sizes[1]];
            packed.product(
                tier,
                &self.rows,
                self.activation,
                self.residual.as_deref(),
                &mut out,
            );
            out
        })
    }
}

fn case(number: fn() -> BoxedStrategy<f32>) -> impl Strategy<Value = Case> {
    let sizes = (
        1usize..300,
        1usize..40,
        0usize..15,
        any::<bool>(),
        any::<bool>(),
    );
    sizes.prop_flat_map(move |(inputs, outputs, rows, by_input, residual)| {
        let scales = if by_input { inputs } else { outputs };
        let residuals = if residual { rows * outputs } else { 0 };
        (
            vec(-127i8..=127, inputs * outputs),
            vec(0.001f32..0.1, scales),
            vec(-2.0f32..2.0, outputs),
            vec(number(), rows * inputs),
            vec(-2.0f32..2.0, residuals),
            activation(),
        )
            .prop_map(
                move |(weights, scale, bias, rows, added, activation)| Case {
                    sizes: [inputs, outputs],
                    weights,
                    by_input,
                    scale,
                    bias,
                    rows,
                    residual: residual.then_some(added),
                    activation,
                },
            )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 200 }))]

    #[test]
    fn a_product_of_whole_numbers_is_right(case in case(number)) {
        let [inputs, outputs] = case.sizes;
        let found = case.run();
        for (row, values) in case.rows.chunks_exact(inputs).enumerate() {
            for output in 0..outputs {
                let (mut sum, mut size) = (0.0f64, 0.0f64);
                let mut largest = 0.0f64;
                for (input, value) in values.iter().enumerate() {
                    let scale = if case.by_input { case.scale[input] } else { case.scale[output] };
                    let weight = f64::from(case.weight(input, output)) * f64::from(scale);
                    sum += f64::from(*value) * weight;
                    size += (f64::from(*value) * weight).abs();
                    largest = largest.max(f64::from(value.abs() * 127.0 * scale));
                }
                let at = row * outputs + output;
                let mut right = applied(case.activation, sum + f64::from(case.bias[output]));
                right += case.residual.as_ref().map_or(0.0, |r| f64::from(r[at]));
                // Half a step of 16 bits for each number of a block, and f32's own rounding.
                let bound = largest * inputs as f64 / 65534.0 + size * 1e-6 + 1e-5;
                let error = (f64::from(found[at]) - right).abs();
                prop_assert!(error <= bound, "{} instead of {right}: {error:e} of {bound:e}", found[at]);
            }
        }
    }

    #[test]
    fn a_product_of_any_numbers_is_the_same_everywhere(case in case(any_number)) {
        let found = case.run();
        for (row, values) in case.rows.chunks_exact(case.sizes[0]).enumerate() {
            let scaled = |(i, x): (usize, &f32)| if case.by_input { x * case.scale[i] } else { *x };
            if values.iter().enumerate().map(scaled).any(|x| !x.is_finite()) {
                let products = &found[row * case.sizes[1]..][..case.sizes[1]];
                prop_assert!(products.iter().all(|x| x.is_nan()), "{products:?}");
            }
        }
    }

    #[test]
    fn a_product_of_floats_is_right(
        (inputs, outputs) in (1usize..40, 1usize..40), seed in vec(number(), 1600), rows in 0usize..10,
        activation in activation(), residual in any::<bool>(),
    ) {
        let weight = |i: usize, o: usize| seed[i * outputs + o] / 8.0;
        let (bias, values) = (&seed[1600 - outputs..], &seed[..rows * inputs]);
        let residual = residual.then(|| &seed[7..7 + rows * outputs]);
        let matrix = Floats::new([inputs, outputs], weight, Some(bias));
        let found = on_every_tier(|tier| {
            let mut out = vec![9.0; rows * outputs];
            matrix.product(tier, values, activation, residual, &mut out);
            out
        });
        for (at, found) in found.into_iter().enumerate() {
            let (row, output) = (at / outputs, at % outputs);
            let products = (0..inputs).map(|i| f64::from(values[row * inputs + i]) * f64::from(weight(i, output)));
            let size: f64 = products.clone().map(f64::abs).sum();
            let right = applied(activation, products.sum::<f64>() + f64::from(bias[output]));
            let right = right + residual.map_or(0.0, |r| f64::from(r[at]));
            prop_assert!((f64::from(found) - right).abs() <= size * 1e-5 + 1e-4, "{found} instead of {right}");
        }
    }

    #[test]
    fn attention_is_right(
        (heads, size) in (1usize..5, 1usize..20), count in 1usize..23, seed in vec(-2.0f32..2.0, 3 * 22 * 5 * 20),
        hidden in 0usize..4,
    ) {
        let width = heads * size;
        let part = |which: usize| &seed[which * count * width..(which + 1) * count * width];
        let mut bias = vec![0.0; count];
        let seen = count - hidden.min(count - 1);
        bias[seen..].fill(-1e9);
        let (query, key, value) = (part(0), part(1), part(2));
        let key_bias = (hidden > 0).then_some(&bias[..]);
        let found = on_every_tier(|tier| {
            let given = Attention { query, key, value, key_bias, rows: count, width, heads };
            let (mut out, first) = given.attend(tier);
            out.extend(first);
            out
        });
        let mut right = vec![0.0f64; count * width + count];
        for head in 0..heads {
            for row in 0..count {
                let at = |row: usize, column: usize| row * width + head * size + column;
                let scores: Vec<f64> = (0..seen).map(|other| {
                    let products = (0..size).map(|c| f64::from(query[at(row, c)]) * f64::from(key[at(other, c)]));
                    (products.sum::<f64>() / (size as f64).sqrt()).exp()
                }).collect();
                let whole: f64 = scores.iter().sum();
                for (other, score) in scores.iter().enumerate() {
                    for c in 0..size {
                        right[at(row, c)] += score / whole * f64::from(value[at(other, c)]);
                    }
                    if row == 0 {
                        right[count * width + other] += score / whole / heads as f64;
                    }
                }
            }
        }
        for (found, right) in found.into_iter().zip(right) {
            prop_assert!((f64::from(found) - right).abs() < 1e-5, "{found} instead of {right}");
        }
    }

    #[test]
    fn a_row_is_normalised(width in 1usize..70, seed in vec(number(), 210), any in vec(any_number(), 210)) {
        let (gamma, beta) = (&seed[..width], &seed[70..70 + width]);
        let run = |rows: &[f32]| on_every_tier(|tier| {
            let mut rows = rows.to_vec();
            normalise(tier, &mut rows, gamma, beta, 1e-5);
            rows
        });
        run(&any[..3 * width]);
        let rows = &seed[..3 * width];
        for (found, row) in run(rows).chunks_exact(width).zip(rows.chunks_exact(width)) {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            for (column, found) in found.iter().enumerate() {
                let right = (row[column] - mean) / (variance + 1e-5).sqrt() * f64::from(gamma[column]);
                let right = right + f64::from(beta[column]);
                prop_assert!((f64::from(*found) - right).abs() <= 1e-4 * (1.0 + right.abs()), "{found}: {right}");
            }
        }
    }

    #[test]
    fn convolutions_are_right(
        (height, width) in (1usize..9, 1usize..9), channels in 1usize..40, kernel in select(vec![1usize, 3, 5, 7]),
        stride in 1usize..3, before in 0usize..4, seed in vec(-2.0f32..2.0, 64 * 40), activation in activation(),
    ) {
        let before = before.min(kernel / 2);
        let out = [height.div_ceil(stride), width.div_ceil(stride)];
        let (shape, window) = (Shape { height, width, channels }, Window { kernel, stride, before: [before; 2], out });
        let map = &seed[..height * width * channels];
        let pixel = |y: usize, x: usize, c: usize| {
            let (y, x) = (y.checked_sub(before)?, x.checked_sub(before)?);
            (y < height && x < width).then(|| map[(y * width + x) * channels + c])
        };
        let mut rows = Vec::new();
        patches(map, shape, window, &mut rows);
        let mut at = rows.iter();
        for (y, x) in (0..out[0]).flat_map(|y| (0..out[1]).map(move |x| (y * stride, x * stride))) {
            for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
                for c in 0..channels {
                    prop_assert_eq!(at.next().copied(), Some(pixel(y + ky, x + kx, c).unwrap_or(0.0)));
                }
            }
        }
        prop_assert!(at.next().is_none());

        let weights: Vec<f32> = seed.iter().rev().cycle().take(kernel * kernel * channels).copied().collect();
        let bias = &seed[100..100 + channels];
        let layer = Depthwise { weights: weights.clone(), bias: bias.to_vec() };
        let found = on_every_tier(|tier| {
            let mut result = vec![9.0; out[0] * out[1] * channels];
            layer.convolve(tier, map, shape, window, activation, &mut result);
            result
        });
        let taps = rows.chunks_exact(kernel * kernel * channels);
        for (found, patch) in found.chunks_exact(channels).zip(taps) {
            for (c, found) in found.iter().enumerate() {
                let products = (0..kernel * kernel).map(|k| k * channels + c);
                let sum: f64 = products.map(|i| f64::from(patch[i]) * f64::from(weights[i])).sum();
                let right = applied(activation, sum + f64::from(bias[c]));
                prop_assert!((f64::from(*found) - right).abs() < 1e-4, "{found} instead of {right}");
            }
        }
    }

    #[test]
    fn a_tables_rows_are_added(columns in 1usize..20, rows in 1usize..9, weights in vec(-127i8..=127, 180), by_row in any::<bool>()) {
        let scale: Vec<f32> = (0..if by_row { rows } else { columns }).map(|i| 0.5 + i as f32).collect();
        let weights = weights[..rows * columns].to_vec();
        let table = Table::new(columns, weights.clone(), by_row, scale.clone());
        for row in 0..rows {
            let mut sum = vec![1.0; columns];
            table.add(row, &mut sum);
            for (column, sum) in sum.into_iter().enumerate() {
                let scale = if by_row { scale[row] } else { scale[column] };
                prop_assert_eq!(sum, 1.0 + f32::from(weights[row * columns + column]) * scale);
            }
        }
    }
}

#[test]
fn the_largest_numbers_do_not_coarsen_the_others() {
    // Two of them in the same block: without keeping these, a step would be 1000 / 32767.
    let mut row: Vec<f32> = (0..128).map(|i| ((i * 37) % 101) as f32 / 1e4).collect();
    (row[3], row[77]) = (1000.0, -900.0);
    let packed = Packed::new(
        [128, 1],
        |i, _| if i == 3 || i == 77 { 0 } else { 1 },
        Scale::Outputs(&[1.0]),
        None,
    );
    let right: f64 = row.iter().map(|x| f64::from(*x)).sum::<f64>() - 100.0;
    let found = on_every_tier(|tier| {
        let mut out = [0.0];
        packed.product(tier, &row, Activation::None, None, &mut out);
        out.to_vec()
    });
    assert!(
        (f64::from(found[0]) - right).abs() < 1e-4,
        "{found:?} instead of {right}"
    );
}

#[cfg(feature = "threads")]
#[test]
fn threads_change_no_digit() {
    let wave = |count: usize| -> Vec<f32> { (0..count).map(|i| (i as f32 * 0.37).sin()).collect() };
    let scale = vec![0.01; 384];
    let packed = Packed::new(
        [384, 384],
        |i, o| (i * 31 + o * 17) as i8,
        Scale::Outputs(&scale),
        None,
    );
    let floats = Floats::new([384, 40], |i, o| (i + o) as f32 / 400.0, None);
    let filter = Depthwise {
        weights: wave(9 * 32),
        bias: wave(32),
    };
    let rows = wave(70 * 384);
    let run = || {
        let tier = Tier::best();
        let mut product = vec![0.0; rows.len()];
        packed.product(tier, &rows, Activation::Gelu, Some(&rows), &mut product);
        let mut small = vec![0.0; 70 * 40];
        floats.product(tier, &rows, Activation::None, None, &mut small);
        let (attended, first) = Attention {
            query: &rows,
            key: &product,
            value: &rows,
            key_bias: None,
            rows: 70,
            width: 384,
            heads: 12,
        }
        .attend(tier);
        let (shape, window) = (
            Shape {
                height: 64,
                width: 64,
                channels: 32,
            },
            Window {
                kernel: 3,
                stride: 1,
                before: [1; 2],
                out: [64; 2],
            },
        );
        let mut map = vec![0.0; 64 * 64 * 32];
        filter.convolve(
            tier,
            &wave(64 * 64 * 32),
            shape,
            window,
            Activation::Relu6,
            &mut map,
        );
        [product, small, attended, first, map]
    };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads").install(run)
    };
    let one = with(1);
    for threads in [2, 3, 7] {
        assert!(with(threads) == one, "{threads} threads");
    }
}
