//! Operations of rows.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use muse_kernels::learning::{
    Dropout, Matrix, Normalised, gelu, gelu_backward, linear, normalise as normalise_rows,
    normalise_backward, product as multiply, relu, relu_backward, sum_rows,
};
use muse_kernels::{Activation, Tier};

use super::graph::{Step, flex, numbers, record, tracked, whole};

/// `rows` `[.., in]` times `weight` `[in, out]`, plus `bias` `[out]`: `[.., out]`.
pub(crate) fn product<const D: usize>(
    rows: &Tensor<D>,
    weight: &Tensor<2>,
    bias: &Tensor<1>,
) -> Option<Tensor<D>> {
    let ([input, output], mut shape) = (weight.dims(), rows.dims());
    let inputs = [tracked(rows)?, tracked(weight)?, tracked(bias)?];
    shape[D - 1] = output;
    let [rows, weight, bias] = inputs
        .each_ref()
        .map(|tensor| whole(tensor.primitive().clone()));
    let product = linear(
        Matrix::new(numbers(&rows), input),
        Matrix::new(numbers(&weight), output),
        numbers(&bias),
    );
    let product = flex(product, shape.to_vec());
    Some(record(inputs.each_ref(), Product { rows, weight }, product))
}

#[derive(Clone, Debug)]
struct Product {
    /// `[.., in]`
    rows: FlexTensor,
    /// `[in, out]`
    weight: FlexTensor,
}

impl Step<3> for Product {
    fn gradients(self, gradient: FlexTensor, wanted: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let [input, output] = self.weight.layout().shape().dims();
        let gradient = whole(gradient);
        let above = Matrix::new(numbers(&gradient), output);
        let rows = Matrix::new(numbers(&self.rows), input);
        let weight = Matrix::new(numbers(&self.weight), output);
        [
            wanted[0].then(|| {
                let shape = self.rows.layout().shape().to_vec();
                flex(multiply(above, weight.transposed()), shape)
            }),
            wanted[1].then(|| flex(multiply(rows.transposed(), above), vec![input, output])),
            wanted[2].then(|| {
                let sums = sum_rows(Tier::best(), numbers(&gradient), output);
                flex(sums, vec![output])
            }),
        ]
    }
}

/// The `activation` of each number, of those that a product has in a text encoder.
pub(crate) fn activate<const D: usize>(
    rows: &Tensor<D>,
    activation: Activation,
) -> Option<Tensor<D>> {
    if matches!(activation, Activation::None | Activation::Relu6) {
        return None;
    }
    let inputs = [tracked(rows)?];
    let input = whole(inputs[0].primitive().clone());
    let mut output = input.clone();
    Some(match activation {
        Activation::Gelu => {
            gelu(Tier::best(), output.storage_mut());
            record(inputs.each_ref(), Gelu { input }, output)
        }
        Activation::Relu => {
            relu(Tier::best(), output.storage_mut());
            let step = Relu {
                output: output.clone(),
            };
            record(inputs.each_ref(), step, output)
        }
        Activation::None | Activation::Relu6 => return None,
    })
}

#[derive(Clone, Debug)]
struct Gelu {
    input: FlexTensor,
}

impl Step<1> for Gelu {
    fn gradients(self, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let mut gradient = whole(gradient);
        gelu_backward(Tier::best(), gradient.storage_mut(), numbers(&self.input));
        [Some(gradient)]
    }
}

#[derive(Clone, Debug)]
struct Relu {
    output: FlexTensor,
}

impl Step<1> for Relu {
    fn gradients(self, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let mut gradient = whole(gradient);
        relu_backward(Tier::best(), gradient.storage_mut(), numbers(&self.output));
        [Some(gradient)]
    }
}

/// What `dropout` leaves.
pub(crate) fn drop<const D: usize>(rows: &Tensor<D>, dropout: Dropout) -> Option<Tensor<D>> {
    let inputs = [tracked(rows)?];
    let mut output = whole(inputs[0].primitive().clone());
    dropout.apply(Tier::best(), output.storage_mut());
    Some(record(inputs.each_ref(), Dropped(dropout), output))
}

/// What `dropout` leaves of `rows`, added to `residual` of the same shape.
pub(crate) fn drop_and_add<const D: usize>(
    rows: &Tensor<D>,
    dropout: Dropout,
    residual: &Tensor<D>,
) -> Option<Tensor<D>> {
    let inputs = [tracked(rows)?, tracked(residual)?];
    let mut output = whole(inputs[0].primitive().clone());
    let residual = whole(inputs[1].primitive().clone());
    dropout.apply_and_add(Tier::best(), output.storage_mut(), numbers(&residual));
    Some(record(inputs.each_ref(), Dropped(dropout), output))
}

#[derive(Clone, Debug)]
struct Dropped(Dropout);

impl Dropped {
    fn of(self, gradient: FlexTensor) -> FlexTensor {
        let mut gradient = whole(gradient);
        self.0.apply(Tier::best(), gradient.storage_mut());
        gradient
    }
}

impl Step<1> for Dropped {
    fn gradients(self, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(self.of(gradient))]
    }
}

impl Step<2> for Dropped {
    fn gradients(self, gradient: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let residual = wanted[1].then(|| gradient.clone());
        [wanted[0].then(|| self.of(gradient)), residual]
    }
}

/// Layer normalisation of `[.., d]`.
pub(crate) fn normalise<const D: usize>(
    rows: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    let inputs = [tracked(rows)?, tracked(gamma)?, tracked(beta)?];
    let [rows, gamma, beta] = inputs
        .each_ref()
        .map(|input| whole(input.primitive().clone()));
    let mut output = rows.clone();
    let known = normalise_rows(
        Tier::best(),
        output.storage_mut(),
        numbers(&gamma),
        numbers(&beta),
        epsilon as f32,
    );
    let step = Normalise { rows, gamma, known };
    Some(record(inputs.each_ref(), step, output))
}

#[derive(Clone, Debug)]
struct Normalise {
    rows: FlexTensor,
    gamma: FlexTensor,
    known: Normalised,
}

impl Step<3> for Normalise {
    fn gradients(self, gradient: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let mut gradient = whole(gradient);
        let [gamma, beta] = normalise_backward(
            Tier::best(),
            gradient.storage_mut(),
            numbers(&self.rows),
            numbers(&self.gamma),
            &self.known,
        );
        let vector = |values: Vec<f32>| {
            let width = values.len();
            Some(flex(values, vec![width]))
        };
        [Some(gradient), vector(gamma), vector(beta)]
    }
}
