use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::DropoutConfig;
use burn::tensor::activation::{gelu, log_softmax, relu, softmax};
use burn::tensor::module::{layer_norm, linear};
use burn::tensor::{Device, Distribution, Int, Tensor, Tolerance};
use muse_kernels::Activation;

use super::*;
use crate::encoders::text::bert::{Bert, BertConfig};
use crate::layers::dropout;

fn device() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
}

fn leaf<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    random(shape).require_grad()
}

/// Asserts that both say the same, and have the same gradients of the `inputs` given to them.
fn assert_same<const D: usize, const E: usize>(
    inputs: &[Tensor<D>],
    vectors: &[Tensor<1>],
    ours: Tensor<E>,
    right: Tensor<E>,
) {
    let tolerance = Tolerance::<f32>::rel_abs(1e-4, 1e-4);
    let weights = random(ours.dims());
    let close = |ours: burn::tensor::TensorData, right| ours.assert_approx_eq(&right, tolerance);
    close(ours.to_data(), right.to_data());
    let [ours, right] = [ours, right].map(|output| (output * weights.clone()).sum().backward());
    for input in inputs {
        let [ours, right] = [&ours, &right].map(|all| input.grad(all).expect("it is wanted"));
        close(ours.into_data(), right.into_data());
    }
    for vector in vectors {
        let [ours, right] = [&ours, &right].map(|all| vector.grad(all).expect("it is wanted"));
        close(ours.into_data(), right.into_data());
    }
}

#[test]
fn products_are_burns() {
    let (rows, weight, bias) = (leaf([3, 5, 7]), leaf([7, 4]), leaf([4]));
    let ours = product(&rows, &weight, &bias).expect("it learns");
    let right = linear(rows.clone(), weight.clone(), Some(bias.clone()));
    assert_same(&[rows], std::slice::from_ref(&bias), ours, right);
    // Rows that are not side by side, and have no gradient.
    let rows = random([7, 6]).transpose();
    let ours = product(&rows, &weight, &bias).expect("it learns");
    let right = linear(rows, weight.clone(), Some(bias.clone()));
    assert_same(&[weight], &[bias], ours, right);
}

#[test]
fn frozen_weights_have_no_gradient() {
    let (rows, weight, bias) = (leaf([3, 7]), random([7, 4]), random([4]));
    let product = product(&rows, &weight, &bias).expect("it learns");
    let gradients = product.sum().backward();
    assert!(weight.grad(&gradients).is_none() && bias.grad(&gradients).is_none());
    let right = weight.sum_dim(1).transpose().expand([3, 7]);
    let given = rows.grad(&gradients).expect("it is wanted").into_data();
    given.assert_approx_eq(&right.inner().into_data(), Tolerance::<f32>::absolute(1e-5));
}

#[test]
fn activations_are_burns() {
    let rows = leaf([2, 3, 9]);
    for (activation, right) in [
        (Activation::Gelu, gelu(rows.clone())),
        (Activation::Relu, relu(rows.clone())),
    ] {
        let ours = activate(&rows, activation).expect("it learns");
        assert_same(std::slice::from_ref(&rows), &[], ours, right);
    }
}

#[test]
fn normalised_rows_are_burns() {
    let (rows, gamma, beta) = (leaf([2, 3, 9]), leaf([9]), leaf([9]));
    let ours = normalise(&rows, &gamma, &beta, 1e-5).expect("it learns");
    let right = layer_norm(rows.clone(), gamma.clone(), Some(beta.clone()), 1e-5);
    assert_same(&[rows], &[gamma, beta], ours, right);
}

#[test]
fn what_is_dropped_has_no_gradient() {
    let (rows, residual) = (leaf([4, 50]), leaf([4, 50]));
    let drawn = Dropout::new(0.3, 5);
    let mask = drop(&Tensor::ones([4, 50], &device()), drawn).expect("it learns");
    let ours = drop(&rows, drawn).expect("it learns");
    assert_same(
        std::slice::from_ref(&rows),
        &[],
        ours,
        rows.clone() * mask.clone(),
    );
    let ours = drop_and_add(&rows, drawn, &residual).expect("it learns");
    let right = residual.clone() + rows.clone() * mask;
    assert_same(&[rows, residual], &[], ours, right);
}

#[test]
fn attention_is_burns() {
    let (batch, rows, heads, size) = (2, 5, 3, 4);
    let streams = [(); 3].map(|()| leaf([batch, rows, heads * size]));
    let bias = Tensor::from_floats(
        [[0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, -1e9, -1e9]],
        &device(),
    );
    let bias: Tensor<4> = Tensor::<2>::unsqueeze_dims(bias, &[1, 2]);
    for drawn in [None, Some(Dropout::new(0.4, 3))] {
        let [query, key, value] = &streams;
        let (ours, first) =
            attention([query, key, value], Some(&bias), heads, drawn).expect("it learns");
        let split = |rows_: &Tensor<3>| {
            let shape = [batch, rows, heads, size];
            rows_.clone().reshape(shape).swap_dims(1, 2)
        };
        let scores = split(query).matmul(split(key).swap_dims(2, 3)) / (size as f64).sqrt();
        let weights = softmax(scores + bias.clone(), 3);
        let right = crate::layers::attention::scores(weights.clone());
        let tolerance = Tolerance::<f32>::absolute(1e-5);
        first
            .into_data()
            .assert_approx_eq(&right.into_data(), tolerance);
        let mask = drawn.map(|drawn| {
            drop(&Tensor::ones([batch, heads, rows, rows], &device()), drawn).expect("it learns")
        });
        let weights = match mask {
            Some(mask) => weights * mask,
            None => weights,
        };
        let right = weights.matmul(split(value)).swap_dims(1, 2);
        let right = right.reshape([batch, rows, heads * size]);
        assert_same(&streams, &[], ours, right);
    }
}

#[test]
fn convolutions_are_sums_of_burns_products() {
    let (rows, kernel) = (leaf([9, 4]), leaf([3, 4, 5]));
    let both = || {
        let ours = convolve(&rows, &kernel, &[-2, 0, 1]).expect("it learns");
        let zeros = |count| Tensor::<2>::zeros([count, 4], &device());
        let around = Tensor::cat(vec![zeros(2), rows.clone(), zeros(1)], 0);
        let products = [0, 2, 3].into_iter().enumerate().map(|(place, from)| {
            let kernel = kernel.clone().narrow(0, place, 1).squeeze_dim::<2>(0);
            around.clone().narrow(0, from, 9).matmul(kernel)
        });
        let right = products.reduce(|sum, product| sum + product);
        (ours, right.expect("places"))
    };
    // A backward pass uses up its graph.
    let (ours, right) = both();
    assert_same(std::slice::from_ref(&rows), &[], ours, right);
    let (ours, right) = both();
    assert_same(std::slice::from_ref(&kernel), &[], ours, right);
}

#[test]
fn cross_entropies_are_burns() {
    let (rows, table, bias) = (leaf([3, 5]), leaf([7, 5]), leaf([7]));
    let ours = cross_entropy(&rows, &table, &bias, &[6, 0, 6]).expect("it learns");
    let scores = rows.clone().matmul(table.clone().transpose()) + bias.clone().unsqueeze();
    let targets = Tensor::<2, Int>::from_ints([[6], [0], [6]], &device());
    let right = log_softmax(scores, 1).gather(1, targets).mean().neg();
    assert_same(&[rows, table], &[bias], ours, right);
}

#[test]
fn gates_are_burns() {
    let values = leaf([7, 6]);
    let ours = concat_elu(&values).expect("it learns");
    let elu = |x: Tensor<2>| burn::tensor::activation::elu(x, 1.0);
    let right = Tensor::cat(vec![elu(values.clone()), elu(values.clone().neg())], 1);
    assert_same(std::slice::from_ref(&values), &[], ours, right);
    let ours = gate(&values).expect("it learns");
    let open = burn::tensor::activation::sigmoid(values.clone().narrow(1, 3, 3));
    let right = values.clone().narrow(1, 0, 3) * open;
    assert_same(&[values], &[], ours, right);
}

#[test]
fn other_numbers_are_dropped_each_time() {
    let dropout = DropoutConfig::new(0.5).init();
    let rows = Tensor::<2>::ones([4, 40], &device());
    let [first, second] = [(); 2].map(|()| dropout::drop(&dropout, rows.clone()).into_data());
    assert_ne!(first, second);
}

/// All gradients of a module.
struct All<'a>(&'a burn::tensor::Gradients, Vec<f32>);

impl ModuleVisitor for All<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.0).expect("it is wanted");
        let gradient: Vec<f32> = gradient.into_data().try_to_vec().expect("floats");
        self.1.extend(gradient);
    }
}

#[test]
fn threads_change_no_digit() {
    let config = BertConfig {
        vocab_size: 50,
        hidden_size: 192,
        num_hidden_layers: 2,
        num_attention_heads: 6,
        intermediate_size: 400,
        max_position_embeddings: 40,
        type_vocab_size: 1,
        layer_norm_eps: 1e-12,
        // Other tests draw from the same random numbers.
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
    };
    let bert = Bert::new(&config, &Device::flex()).train();
    let device = device();
    let pieces: Vec<i32> = (0..9 * 31).map(|at| at * 7 % 50).collect();
    let learn = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads").install(|| {
            let pieces = Tensor::<1, Int>::from_data(pieces.as_slice(), &device);
            let rows = bert.forward(pieces.reshape([9, 31]), None, None);
            let loss = (rows.clone() * rows.clone() * rows).sum();
            let mut all = All(&loss.backward(), Vec::new());
            bert.visit(&mut all);
            all.1
        })
    };
    let one = learn(1);
    assert!(one.iter().filter(|gradient| gradient.abs() > 1e-3).count() > one.len() / 4);
    for threads in [2, 3, 5] {
        assert!(learn(threads) == one, "{threads} threads");
    }
}
