//! Operations of the image generator.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use muse_kernels::Tier;
use muse_kernels::learning::{
    Convolution, concat_elu as elu, concat_elu_backward, gate as open, gate_backward,
};

use super::graph::{Step, flex, numbers, record, tracked, whole};

/// The sum over places p of each row's neighbour `offsets[p]` rows on, of rows `[N, in]`, times `kernel[p]`, `[places, in, out]`:
/// `[N, out]`. Where there is no neighbour it counts as 0.
pub(crate) fn convolve(
    rows: &Tensor<2>,
    kernel: &Tensor<3>,
    offsets: &[isize],
) -> Option<Tensor<2>> {
    let ([count, _], [_, input, output]) = (rows.dims(), kernel.dims());
    let inputs = [tracked(rows)?, tracked(kernel)?];
    let [rows, kernel] = inputs
        .each_ref()
        .map(|input| whole(input.primitive().clone()));
    let step = Convolved {
        rows,
        kernel,
        offsets: offsets.to_vec(),
        sizes: [input, output],
    };
    let result = step
        .convolution()
        .forward(numbers(&step.rows), numbers(&step.kernel));
    Some(record(
        inputs.each_ref(),
        step,
        flex(result, vec![count, output]),
    ))
}

#[derive(Clone, Debug)]
struct Convolved {
    rows: FlexTensor,
    kernel: FlexTensor,
    offsets: Vec<isize>,
    sizes: [usize; 2],
}

impl Convolved {
    fn convolution(&self) -> Convolution<'_> {
        Convolution {
            offsets: &self.offsets,
            inputs: self.sizes[0],
            outputs: self.sizes[1],
        }
    }
}

impl Step<2> for Convolved {
    fn gradients(self, gradient: FlexTensor, _: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let (gradient, [rows, kernel]) = (whole(gradient), [&self.rows, &self.kernel]);
        let [of_rows, of_kernel] =
            self.convolution()
                .backward(numbers(&gradient), numbers(rows), numbers(kernel));
        let shape = |tensor: &FlexTensor| tensor.layout().shape().to_vec();
        [
            Some(flex(of_rows, shape(rows))),
            Some(flex(of_kernel, shape(kernel))),
        ]
    }
}

/// ELU of `[N, C]` and of its negative, side by side: `[N, 2·C]`.
pub(crate) fn concat_elu(values: &Tensor<2>) -> Option<Tensor<2>> {
    let [count, channels] = values.dims();
    let inputs = [tracked(values)?];
    let values = whole(inputs[0].primitive().clone());
    let both = elu(Tier::best(), numbers(&values), channels);
    let step = Elu { values, channels };
    Some(record(
        inputs.each_ref(),
        step,
        flex(both, vec![count, 2 * channels]),
    ))
}

#[derive(Clone, Debug)]
struct Elu {
    values: FlexTensor,
    channels: usize,
}

impl Step<1> for Elu {
    fn gradients(self, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let (gradient, values) = (whole(gradient), numbers(&self.values));
        let (tier, count) = (Tier::best(), values.len() / self.channels.max(1));
        let gradient = concat_elu_backward(tier, numbers(&gradient), values, self.channels);
        [Some(flex(gradient, vec![count, self.channels]))]
    }
}

/// a · σ(b) of a and b side by side, `[N, 2·C]`: `[N, C]`.
pub(crate) fn gate(values: &Tensor<2>) -> Option<Tensor<2>> {
    let [count, both] = values.dims();
    let inputs = [tracked(values)?];
    let values = whole(inputs[0].primitive().clone());
    let gated = open(Tier::best(), numbers(&values), both / 2);
    let step = Gated { values, both };
    Some(record(
        inputs.each_ref(),
        step,
        flex(gated, vec![count, both / 2]),
    ))
}

#[derive(Clone, Debug)]
struct Gated {
    values: FlexTensor,
    both: usize,
}

impl Step<1> for Gated {
    fn gradients(self, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let (gradient, values) = (whole(gradient), numbers(&self.values));
        let (tier, count) = (Tier::best(), values.len() / self.both.max(1));
        let gradient = gate_backward(tier, numbers(&gradient), values, self.both / 2);
        [Some(flex(gradient, vec![count, self.both]))]
    }
}
