//! Gradients are those of the functions, by differences; every tier and every number of threads gives the same digits.

use muse_kernels::learning::{
    AdamW, Attention, Convolution, Dropout, Matrix, concat_elu, concat_elu_backward, cross_entropy,
    gate, gate_backward, gelu, gelu_backward, linear, normalise, normalise_backward, product, relu,
    relu_backward, scale, sum_rows, sum_squares,
};
use muse_kernels::{Tier, awake};
use proptest::collection::vec;
use proptest::prelude::*;

/// What `run` gives in plain Rust on one thread, having checked that other tiers and numbers of threads give the same digits.
fn everywhere(run: impl Fn(Tier) -> Vec<f32> + Sync) -> Vec<f32> {
    let bits = |values: Vec<f32>| -> Vec<u32> { values.into_iter().map(f32::to_bits).collect() };
    let plain = on(1, || run(Tier::PLAIN));
    for tier in Tier::all() {
        for threads in [1, 3] {
            let given = bits(on(threads, || run(tier)));
            assert_eq!(given, bits(plain.clone()), "{tier}, {threads} threads");
        }
    }
    plain
}

fn on<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("threads").install(run)
}

/// Any numbers do.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |at: usize| ((at * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0;
    (0..count).map(number).collect()
}

/// The gradient of the sum of `function`'s outputs, weighted by `weights`, by differences.
fn by_differences(
    values: &[f32],
    weights: &[f32],
    function: impl Fn(&[f32]) -> Vec<f32>,
) -> Vec<f32> {
    const STEP: f32 = 1.0 / 256.0;
    let whole = |values: &[f32]| -> f64 {
        let outputs = function(values);
        let pairs = outputs.iter().zip(weights);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut values = values.to_vec();
    (0..values.len())
        .map(|at| {
            let value = values[at];
            values[at] = value + STEP;
            let above = whole(&values);
            values[at] = value - STEP;
            let below = whole(&values);
            values[at] = value;
            ((above - below) / (2.0 * f64::from(STEP))) as f32
        })
        .collect()
}

fn assert_close(given: &[f32], right: &[f32], bound: f32) {
    assert_eq!(given.len(), right.len());
    for (at, (given, right)) in given.iter().zip(right).enumerate() {
        let bound = bound * (1.0 + right.abs());
        assert!((given - right).abs() < bound, "{at}: {given}, not {right}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_follows_a_product_has_its_gradient(values in vec(-4.0f32..4.0, 1..40), seed in 0..99usize) {
        let weights = numbers(values.len(), seed);
        let tier = Tier::best();
        for (forward, backward) in [
            (gelu as fn(Tier, &mut [f32]), gelu_backward as fn(Tier, &mut [f32], &[f32])),
            (relu, relu_backward),
        ] {
            // Where ReLU has a corner there is no gradient.
            let away = |x: &f32| if x.abs() < 0.01 { 0.5 } else { *x };
            let values: Vec<f32> = values.iter().map(away).collect();
            let run = |values: &[f32]| { let mut out = values.to_vec(); forward(tier, &mut out); out };
            let mut given = weights.clone();
            backward(tier, &mut given, &values);
            assert_close(&given, &by_differences(&values, &weights, run), 2e-3);
        }
    }

    #[test]
    fn normalised_rows_have_their_gradients(count in 1..5usize, width in 2..20usize, seed in 0..99usize) {
        let rows = numbers(count * width, seed);
        let (gamma, beta, weights) =
            (numbers(width, seed + 1), numbers(width, seed + 2), numbers(count * width, seed + 3));
        let tier = Tier::best();
        let run = |rows: &[f32], gamma: &[f32], beta: &[f32]| {
            let mut out = rows.to_vec();
            let known = normalise(tier, &mut out, gamma, beta, 0.1);
            (out, known)
        };
        let (_, known) = run(&rows, &gamma, &beta);
        let mut given = weights.clone();
        let [scales, shifts] = normalise_backward(tier, &mut given, &rows, &gamma, &known);
        let of_rows = by_differences(&rows, &weights, |rows| run(rows, &gamma, &beta).0);
        assert_close(&given, &of_rows, 3e-3);
        let of_gamma = by_differences(&gamma, &weights, |gamma| run(&rows, gamma, &beta).0);
        assert_close(&scales, &of_gamma, 3e-3);
        assert_close(&shifts, &by_differences(&beta, &weights, |beta| run(&rows, &gamma, beta).0), 3e-3);
    }

    #[test]
    fn a_cross_entropy_has_its_gradient(count in 1..5usize, width in 1..40usize, seed in 0..99usize) {
        let scores = numbers(count * width, seed);
        let targets: Vec<usize> = (0..count).map(|row| (row * 31 + seed) % width).collect();
        let run = |scores: &[f32]| cross_entropy(Tier::best(), &mut scores.to_vec(), width, &targets);
        let mut given = scores.clone();
        cross_entropy(Tier::best(), &mut given, width, &targets);
        let right = by_differences(&scores, &vec![1.0; count], run);
        assert_close(&given, &right, 3e-3);
        let nats = run(&vec![0.5; count * width]);
        assert_close(&nats, &vec![(width as f32).ln(); count], 1e-5);
    }

    #[test]
    fn attention_has_its_gradients(samples in 1..3usize, rows in 1..6usize, heads in 1..3usize, size in 1..5usize, seed in 0..99u64) {
        let width = heads * size;
        let count = samples * rows * width;
        let [query, key, value, weights] = [1, 2, 3, 4].map(|n| numbers(count, n + seed as usize));
        let mut bias = numbers(samples * rows, 5);
        bias[rows - 1] = if rows > 1 { -1e9 } else { 0.0 };
        let tier = Tier::best();
        for dropout in [None, Some(Dropout::new(0.3, seed))] {
            let attention = Attention { rows, width, heads, dropout };
            let run = |query: &[f32], key: &[f32], value: &[f32]| {
                attention.forward(tier, [query, key, value], Some(&bias))
            };
            let attended = run(&query, &key, &value);
            for first in attended.first.chunks(rows) {
                prop_assert!((first.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
            prop_assert!(rows == 1 || attended.first[rows - 1] == 0.0);
            let given = attention.backward(tier, &weights, [&query, &key, &value], &attended.paid);
            let right = [
                by_differences(&query, &weights, |query| run(query, &key, &value).rows),
                by_differences(&key, &weights, |key| run(&query, key, &value).rows),
                by_differences(&value, &weights, |value| run(&query, &key, value).rows),
            ];
            for (given, right) in given.iter().zip(&right) {
                assert_close(given, right, 3e-3);
            }
        }
    }

    #[test]
    fn gates_have_their_gradients(count in 1..5usize, channels in 1..20usize, seed in 0..99usize) {
        // At 0 itself ELU has no gradient.
        let values: Vec<f32> = numbers(count * channels, seed).iter().map(|x| x + 1e-3).collect();
        let weights = numbers(2 * values.len(), seed + 1);
        let tier = Tier::best();
        let elu = |values: &[f32]| concat_elu(tier, values, channels);
        for (x, pair) in values.chunks(channels).flatten().zip(elu(&values).chunks(2 * channels).flat_map(|row| {
            (0..channels).map(|at| [row[at], row[channels + at]]).collect::<Vec<_>>()
        })) {
            let right = [*x, -x].map(|x| if x > 0.0 { x } else { x.exp() - 1.0 });
            assert_close(&pair, &right, 1e-6);
        }
        let given = concat_elu_backward(tier, &weights, &values, channels);
        assert_close(&given, &by_differences(&values, &weights, elu), 1e-2);

        let pairs = numbers(2 * values.len(), seed + 2);
        let gated = |pairs: &[f32]| gate(tier, pairs, channels);
        assert_close(&gated(&pairs)[..1], &[pairs[0] / (1.0 + (-pairs[channels]).exp())], 1e-6);
        let given = gate_backward(tier, &values, &pairs, channels);
        assert_close(&given, &by_differences(&pairs, &values, gated), 3e-3);
    }

    #[test]
    fn convolutions_have_their_gradients(
        count in 1..9usize, inputs in 1..5usize, outputs in 1..5usize, offsets in vec(-12isize..12, 1..5), seed in 0..99usize,
    ) {
        let rows = numbers(count * inputs, seed);
        let kernel = numbers(offsets.len() * inputs * outputs, seed + 1);
        let weights = numbers(count * outputs, seed + 2);
        let convolution = Convolution { offsets: &offsets, inputs, outputs };
        let mut right = vec![0.0; count * outputs];
        for (place, offset) in offsets.iter().enumerate() {
            for row in 0..count {
                let from = row as isize + offset;
                if !(0..count as isize).contains(&from) {
                    continue;
                }
                for output in 0..outputs {
                    right[row * outputs + output] += (0..inputs).map(|input| {
                        rows[from as usize * inputs + input] * kernel[(place * inputs + input) * outputs + output]
                    }).sum::<f32>();
                }
            }
        }
        assert_close(&convolution.forward(&rows, &kernel), &right, 1e-4);
        let [of_rows, of_kernel] = convolution.backward(&weights, &rows, &kernel);
        assert_close(&of_rows, &by_differences(&rows, &weights, |rows| convolution.forward(rows, &kernel)), 5e-3);
        assert_close(&of_kernel, &by_differences(&kernel, &weights, |kernel| convolution.forward(&rows, kernel)), 5e-3);
    }

    #[test]
    fn products_are_sums_of_products(rows in 0..9usize, depth in 0..9usize, columns in 1..9usize, seed in 0..99usize) {
        let (left, right) = (numbers(rows * depth, seed), numbers(depth * columns, seed + 1));
        let bias = numbers(columns, seed + 2);
        let element = |row: usize, column: usize| -> f32 {
            (0..depth).map(|k| left[row * depth + k] * right[k * columns + column]).sum()
        };
        let places = || (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let expected: Vec<f32> = places().map(|(row, column)| element(row, column)).collect();
        let matrix = |values, columns| Matrix::new(values, columns);
        if depth > 0 {
            assert_close(&product(matrix(&left, depth), matrix(&right, columns)), &expected, 1e-4);
            let moved: Vec<f32> = places().map(|(row, column)| element(row, column) + bias[column]).collect();
            assert_close(&linear(matrix(&left, depth), matrix(&right, columns), &bias), &moved, 1e-4);
            // (A·B)ᵀ = Bᵀ·Aᵀ
            let turned = product(matrix(&right, columns).transposed(), matrix(&left, depth).transposed());
            let expected: Vec<f32> = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| element(r, c)).collect();
            assert_close(&turned, &expected, 1e-4);
        }
    }
}

#[test]
fn tiers_and_threads_change_no_digit() {
    // Several blocks, the last one not whole.
    let (count, width) = (301, 173);
    let rows = numbers(count * width, 1);
    let others = numbers(count * width, 2);
    let [gamma, beta] = [3, 4].map(|seed| numbers(width, seed));
    let dropout = Dropout::new(0.4, 77);
    everywhere(|tier| {
        let mut all = Vec::new();
        let mut keep = |change: &dyn Fn(&mut [f32])| {
            let mut values = rows.clone();
            change(&mut values);
            all.extend(values);
        };
        keep(&|values| gelu(tier, values));
        keep(&|values| gelu_backward(tier, values, &others));
        keep(&|values| relu(tier, values));
        keep(&|values| relu_backward(tier, values, &others));
        keep(&|values| dropout.apply(tier, values));
        keep(&|values| dropout.apply_and_add(tier, values, &others));
        keep(&|values| scale(tier, values, 0.3));
        keep(&|values| {
            let adamw = AdamW {
                betas: [0.9, 0.99],
                epsilon: 1e-8,
                time: 3,
                rate: 0.1,
                decay: 0.99,
            };
            let (mut first, mut second) = (others.clone(), numbers(others.len(), 9));
            second.iter_mut().for_each(|value| *value = value.abs());
            adamw.step(tier, values, &others, [&mut first, &mut second]);
            scale(tier, values, first.iter().chain(&second).sum());
        });
        let targets: Vec<usize> = (0..count).map(|row| row % width).collect();
        keep(&|values| drop(cross_entropy(tier, values, width, &targets)));
        all.extend(cross_entropy(tier, &mut rows.clone(), width, &targets));
        all.push(sum_squares(tier, &rows) as f32);
        all.extend(concat_elu(tier, &rows, width));
        all.extend(concat_elu_backward(
            tier,
            &[&rows[..], &others].concat(),
            &others,
            width,
        ));
        let pairs = [&rows[..], &others].concat();
        all.extend(gate(tier, &pairs, width));
        all.extend(gate_backward(tier, &rows, &pairs, width));
        let mut normal = rows.clone();
        let known = normalise(tier, &mut normal, &gamma, &beta, 1e-5);
        let mut gradients = others.clone();
        let [scales, shifts] = normalise_backward(tier, &mut gradients, &rows, &gamma, &known);
        all.extend(
            [
                normal,
                gradients,
                scales,
                shifts,
                sum_rows(tier, &rows, width),
            ]
            .concat(),
        );
        all
    });
}

#[test]
fn threads_change_no_digit_of_products() {
    let (samples, rows, width) = (7, 65, 384);
    let count = samples * rows * width;
    let [query, key, value, gradient] = [1, 2, 3, 4].map(|seed| numbers(count, seed));
    let weight = numbers(width * 500, 5);
    let tier = Tier::best();
    let run = || {
        let attention = Attention {
            rows,
            width,
            heads: 12,
            dropout: Some(Dropout::new(0.1, 1)),
        };
        let streams = [&query[..], &key, &value];
        let attended = attention.forward(tier, streams, None);
        let gradients = attention.backward(tier, &gradient, streams, &attended.paid);
        let matrix = Matrix::new(&query, width);
        let mut all = [attended.rows, attended.first, gradients.concat()].concat();
        all.extend(product(matrix, Matrix::new(&weight, 500)));
        all.extend(product(matrix.transposed(), Matrix::new(&key, width)));
        all.extend(linear(matrix, Matrix::new(&weight, 500), &weight[..500]));
        all
    };
    let one = on(1, run);
    for threads in [2, 3, 5] {
        assert!(on(threads, run) == one, "{threads} threads");
    }
}

#[test]
fn works_side_by_side_all_end() {
    let (tell, told) = std::sync::mpsc::channel();
    // On a thread of its own: if some of them waited for each other, the test should fail and not wait, too.
    std::thread::spawn(move || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build();
        let pool = pool.expect("threads");
        fn parts(depth: u32) -> u32 {
            if depth == 0 {
                std::thread::sleep(std::time::Duration::from_micros(20));
                return 1;
            }
            let (a, b) = rayon::join(|| parts(depth - 1), || parts(depth - 1));
            a + b
        }
        let work = || awake(|| parts(4) + awake(|| parts(3)) + parts(4)) as f32;
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| (0..40).map(|_| pool.install(work)).sum::<f32>()))
                .collect();
            let sums = callers
                .into_iter()
                .map(|caller| caller.join().expect("a sum"));
            tell.send(sums.collect::<Vec<_>>())
                .expect("somebody listens");
        });
    });
    let sums = told.recv_timeout(std::time::Duration::from_secs(60));
    let sums = sums.expect("all of them end");
    assert!(
        sums.iter().all(|sum| *sum == sums[0]) && sums[0].is_finite(),
        "{sums:?}"
    );
}

#[test]
fn sums_are_of_whole_rows() {
    let rows: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let tier = Tier::best();
    assert_eq!(sum_rows(tier, &rows, 3), [18.0, 22.0, 26.0]);
    assert_eq!(sum_rows(tier, &[], 2), [0.0, 0.0]);
}

#[test]
fn squares_are_added_up() {
    for count in [0, 1, 3, 20_000, 40_001] {
        let values = numbers(count, 1);
        let right: f64 = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let sum = sum_squares(Tier::best(), &values);
        assert!((sum - right).abs() <= 1e-5 * right, "{sum}, not {right}");
    }
}

#[test]
fn a_share_is_dropped_and_the_mean_stays() {
    let tier = Tier::best();
    let of = |share, seed, count| {
        let mut values = vec![1.0; count];
        Dropout::new(share, seed).apply(tier, &mut values);
        values
    };
    let count = 1 << 18;
    for (share, seed) in [(0.1, 1), (0.5, 2), (0.9, 1 << 40), (0.1, u64::MAX)] {
        let values = of(share, seed, count);
        let gone = values.iter().filter(|value| **value == 0.0).count();
        // Five standard deviations.
        let spread = (share * (1.0 - share) * count as f64).sqrt();
        assert!(
            (gone as f64 - share * count as f64).abs() < 5.0 * spread,
            "{gone} of {count} at {share}"
        );
        let kept = (1.0 / (1.0 - share)) as f32;
        assert!(values.iter().all(|value| *value == 0.0 || *value == kept));
        // Neighbours, and the same places under another seed, do not know of each other.
        let pairs = values.windows(2).filter(|pair| *pair == [0.0; 2]).count();
        let both = values.iter().zip(of(share, seed ^ 1, count));
        let both = both.filter(|(a, b)| **a == 0.0 && *b == 0.0).count();
        let expected = share * share * count as f64;
        for found in [pairs, both] {
            assert!(
                (found as f64 - expected).abs() < 8.0 * expected.sqrt(),
                "{found}, not {expected}"
            );
        }
    }
    assert_eq!(of(0.0, 5, 100), vec![1.0; 100]);
    assert!(of(1.0, 5, 1000).iter().all(|value| *value == 0.0));
    let mut values = vec![2.0, 3.0];
    Dropout::new(0.0, 0).apply_and_add(tier, &mut values, &[10.0, 20.0]);
    assert_eq!(values, [12.0, 23.0]);
}
