//! Causal convolutions with weight normalisation (Salimans & Kingma 2016, arXiv:1602.07868).

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor, s};

use super::grid::Grid;
use crate::layers::learn;

/// A convolution that looks up and to the left: its kernel's last line lies on the pixel's own line; a kernel of 2 columns
/// ends at the pixel, one of 3 columns has the pixel in its middle.
///
/// Weight normalisation: the weights of an output are `gain · direction / ‖direction‖`.
#[derive(Module, Debug)]
pub(super) struct Conv {
    /// `[lines · columns, inputs, outputs]`, the kernel's places in reading order.
    direction: Param<Tensor<3>>,
    /// `[outputs]`.
    gain: Param<Tensor<1>>,
    /// `[outputs]`.
    bias: Param<Tensor<1>>,
    lines: usize,
    columns: usize,
}

/// The norm that uniform weights of ±1/√fan-in have on average, with which a layer begins.
const NORM: f64 = 0.577_350_269_189_625_8;

impl Conv {
    pub(super) fn new(kernel: [usize; 2], inputs: usize, outputs: usize, device: &Device) -> Self {
        let [lines, columns] = kernel;
        let uniform = uniform(lines * columns * inputs);
        Self {
            direction: uniform.init([lines * columns, inputs, outputs], device),
            gain: Initializer::Constant { value: NORM }.init([outputs], device),
            bias: uniform.init([outputs], device),
            lines,
            columns,
        }
    }

    /// The same layer with smaller weights at the beginning.
    pub(super) fn scaled(mut self, factor: f64, device: &Device) -> Self {
        let [outputs] = self.gain.lazy_shape().dims();
        let value = factor * NORM;
        self.gain = Initializer::Constant { value }.init([outputs], device);
        self
    }

    /// The normalised weights `[places, inputs, outputs]`.
    pub(super) fn kernel(&self) -> Tensor<3> {
        let direction = self.direction.val();
        let norm = direction.clone().square().sum_dims(&[0, 1]).sqrt(); // [1, 1, outputs]
        direction * (self.gain.val().unsqueeze::<3>() / norm)
    }

    /// The bias `[outputs]`.
    pub(super) fn bias(&self) -> Tensor<1> {
        self.bias.val()
    }

    /// The number of inputs.
    pub(super) fn inputs(&self) -> usize {
        self.direction.lazy_shape().dims::<3>()[1]
    }

    /// The kernel's places as (dy, dx), in reading order.
    pub(super) fn places(&self) -> impl Iterator<Item = [isize; 2]> + use<> {
        let (lines, columns) = (self.lines as isize, self.columns as isize);
        (0..lines).flat_map(move |y| (0..columns).map(move |x| [y + 1 - lines, x - columns / 2]))
    }

    /// `[M, inputs]` to `[M, outputs]`; what it gives in the border means nothing.
    pub(super) fn forward(&self, x: Tensor<2>, grid: &Grid) -> Tensor<2> {
        self.forward_without_bias(x, grid) + self.bias().unsqueeze()
    }

    pub(super) fn forward_without_bias(&self, x: Tensor<2>, grid: &Grid) -> Tensor<2> {
        let kernel = self.kernel();
        let line = grid.width as isize + 1;
        let offsets: Vec<isize> = self.places().map(|[dy, dx]| dy * line + dx).collect();
        learn::convolve(&x, &kernel, &offsets)
            .unwrap_or_else(|| sum_of_products(self.neighbours(x, grid), kernel))
    }

    /// Every second pixel of every second line: from `grid` to the grid of half its sides.
    pub(super) fn forward_halving(&self, x: Tensor<2>, grid: &Grid, half: &Grid) -> Tensor<2> {
        let channels = x.dims()[1];
        let neighbours = self.neighbours(x, grid).map(|x| {
            // Every second of W + 1 columns are W/2 + 1: the border comes along.
            x.reshape([grid.batch, grid.height + 1, grid.width + 1, channels])
                .slice(s![.., ..;2, ..;2])
                .reshape([half.rows(), channels])
        });
        sum_of_products(neighbours, self.kernel()) + self.bias().unsqueeze()
    }

    /// A 1 × 1 convolution of inputs that lie apart.
    pub(super) fn forward_parts(&self, parts: &[&Tensor<2>]) -> Tensor<2> {
        let kernel = self.kernel().squeeze_dim::<2>(0);
        let mut sum = self.bias().unsqueeze();
        let mut from = 0;
        for &part in parts {
            let width = part.dims()[1];
            let kernel = kernel.clone().narrow(0, from, width);
            let product = learn::convolve(part, &kernel.clone().unsqueeze(), &[0])
                .unwrap_or_else(|| part.clone().matmul(kernel));
            sum = product + sum;
            from += width;
        }
        sum
    }

    /// For each place of the kernel, what every pixel finds there.
    fn neighbours(&self, x: Tensor<2>, grid: &Grid) -> impl Iterator<Item = Tensor<2>> + use<> {
        let line = grid.width as isize + 1;
        let [rows, channels] = x.dims();
        let before = (line + 1) as usize;
        let zeros = |rows: usize| Tensor::zeros([rows, channels], &x.device());
        let around = Tensor::cat(vec![zeros(before), x.clone(), zeros(1)], 0);
        self.places().map(move |[dy, dx]| {
            let from = before as isize + dy * line + dx;
            around.clone().narrow(0, from as usize, rows)
        })
    }
}

/// A transposed convolution with stride 2, cropped so that it stays causal: from a grid to that of twice its sides.
#[derive(Module, Debug)]
pub(super) struct TransposedConv {
    /// `[2 · columns, inputs, outputs]`.
    direction: Param<Tensor<3>>,
    /// `[inputs]`: as in PyTorch, whose weights of a transposed convolution begin with the inputs, and whose weight
    /// normalisation goes by the first dimension.
    gain: Param<Tensor<1>>,
    /// `[outputs]`.
    bias: Param<Tensor<1>>,
    columns: usize,
}

impl TransposedConv {
    /// With a kernel of 2 lines and `columns` (2 or 3) columns; of 3, the first result's column is cut off.
    pub(super) fn new(columns: usize, inputs: usize, outputs: usize, device: &Device) -> Self {
        let uniform = uniform(2 * columns * outputs);
        Self {
            direction: uniform.init([2 * columns, inputs, outputs], device),
            gain: Initializer::Constant { value: NORM }.init([inputs], device),
            bias: uniform.init([outputs], device),
            columns,
        }
    }

    /// The normalised weights `[places, inputs, outputs]`.
    pub(super) fn kernel(&self) -> Tensor<3> {
        let direction = self.direction.val();
        let norm = direction.clone().square().sum_dims(&[0, 2]).sqrt(); // [1, inputs, 1]
        direction * (self.gain.val().unsqueeze_dims::<3>(&[0, 2]) / norm)
    }

    /// The bias `[outputs]`.
    pub(super) fn bias(&self) -> Tensor<1> {
        self.bias.val()
    }

    /// The kernel's columns.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The places that a pixel of an even or odd column reads, as the kernel's column and dx in the smaller grid.
    pub(super) fn sources(&self, odd: bool) -> &'static [(usize, usize)] {
        match (self.columns, odd) {
            (3, false) => &[(1, 0)],
            (3, true) => &[(2, 0), (0, 1)],
            (_, false) => &[(0, 0)],
            (_, true) => &[(1, 0)],
        }
    }

    /// `[M, inputs]` to `[M', outputs]`; what it gives in the border means nothing.
    pub(super) fn forward(&self, x: Tensor<2>, grid: &Grid, twice: &Grid) -> Tensor<2> {
        let [rows, channels] = x.dims();
        let (height, width) = (grid.height + 1, grid.width + 1);
        let kernel = self.kernel();
        let outputs = kernel.dims()[2];
        let after = Tensor::zeros([1, channels], &x.device());
        let around = Tensor::cat(vec![x, after], 0);
        let lines = [0, 1].map(|line| {
            let columns = [false, true].map(|odd| {
                let sources = self.sources(odd).iter();
                let (places, inputs): (Vec<Tensor<3>>, Vec<Tensor<2>>) = sources
                    .map(|&(column, dx)| {
                        let place = line * self.columns + column;
                        let input = around.clone().narrow(0, dx, rows);
                        (kernel.clone().narrow(0, place, 1), input)
                    })
                    .unzip();
                sum_of_products(inputs.into_iter(), Tensor::cat(places, 0)) // [M, outputs]
            });
            Tensor::stack::<3>(columns.into(), 1) // [M, 2, outputs]
                .reshape([grid.batch, height, 2 * width, outputs])
        });
        Tensor::stack::<5>(lines.into(), 2) // [B, H + 1, 2, 2·(W + 1), outputs]
            .reshape([grid.batch, 2 * height, 2 * width, outputs])
            .slice(s![.., ..-1, ..-1])
            .reshape([twice.rows(), outputs])
            + self.bias().unsqueeze()
    }
}

fn uniform(fan_in: usize) -> Initializer {
    let limit = 1.0 / (fan_in as f64).sqrt();
    Initializer::Uniform {
        min: -limit,
        max: limit,
    }
}

/// Σ inputs\[k\] · kernel\[k\].
fn sum_of_products(inputs: impl Iterator<Item = Tensor<2>>, kernel: Tensor<3>) -> Tensor<2> {
    let mut products = inputs
        .enumerate()
        .map(|(place, input)| input.matmul(kernel.clone().narrow(0, place, 1).squeeze_dim::<2>(0)));
    let first = products.next().expect("a kernel has a place");
    products.fold(first, |sum, product| sum + product)
}
