//! A convolution and its batch normalisation with fixed statistics, in one step.

mod packed;

use std::sync::Arc;

use burn::module::{Module, Param, RunningState};
use burn::nn::Initializer;
use burn::tensor::activation::{gelu, relu};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};
use muse_kernels::{Activation, Window};

use self::packed::PackedConv;
use crate::load::Packing;

/// What the border of the input is padded with zeros to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// TensorFlow's SAME: as little as gives `ceil(size / stride)`, the odd pixel at the bottom and right.
    Same,
    /// PyTorch's: half the kernel on each side.
    Half,
}

/// Sizes of a [`ConvNorm`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvNormConfig {
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
    pub(super) border: Border,
    pub(super) epsilon: f64,
}

/// A convolution without bias, then batch normalisation by the running statistics, in training too (they came with the
/// weights; a few thousand pictures would only blur them).
///
/// As the statistics are fixed, the normalisation is linear in the convolution's output and is folded into its weights
/// on the way: one pass over the feature map instead of five, the same function, and the same gradients for the weights,
/// scale and shift.
#[derive(Module, Debug)]
pub(super) struct ConvNorm {
    weight: Param<Tensor<4>>, // [out, in / groups, kernel, kernel]
    norm: FixedBatchNorm,
    stride: usize,
    kernel: usize,
    groups: usize,
    #[module(skip)]
    border: Border,
    /// In the place of the parameters, in a model that is only asked.
    #[module(skip)]
    packed: Option<Arc<PackedConv>>,
}

/// The numbers of a batch normalisation. The statistics are buffers: unfreezing the network does not train them.
#[derive(Module, Debug)]
struct FixedBatchNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    running_mean: RunningState<Tensor<1>>,
    running_var: RunningState<Tensor<1>>,
    epsilon: f64,
}

impl ConvNormConfig {
    /// A layer with random weights.
    pub(super) fn init(self, device: &Device) -> ConvNorm {
        let fan_out = self.output / self.groups * self.kernel * self.kernel;
        let kaiming = Initializer::KaimingNormal {
            gain: std::f64::consts::SQRT_2,
            fan_out_only: true,
        };
        let shape = [
            self.output,
            self.input / self.groups,
            self.kernel,
            self.kernel,
        ];
        ConvNorm {
            weight: kaiming.init_with(shape, None, Some(fan_out), device),
            norm: FixedBatchNorm {
                gamma: Initializer::Ones.init([self.output], device),
                beta: Initializer::Zeros.init([self.output], device),
                running_mean: RunningState::new(Tensor::zeros([self.output], device)),
                running_var: RunningState::new(Tensor::ones([self.output], device)),
                epsilon: self.epsilon,
            },
            stride: self.stride,
            kernel: self.kernel,
            groups: self.groups,
            border: self.border,
            packed: None,
        }
    }
}

impl ConvNorm {
    /// Takes its weights from a model file, the normalisation folded into them.
    pub(super) fn pack(&mut self, path: &str, weights: &mut Packing) {
        self.packed = PackedConv::new(self, path, weights).map(Arc::new);
    }

    /// The `activation` of the layer, plus a `residual`. A map of h × w pixels becomes one of h / stride × w / stride, rounded up;
    /// see [`Layout`] for where its channels are.
    pub(super) fn forward(
        &self,
        map: Tensor<4>,
        activation: Activation,
        residual: Option<Tensor<4>>,
    ) -> Tensor<4> {
        if let Some(packed) = &self.packed {
            return packed.forward(self, map, activation, residual);
        }
        let (scale, shift) = self.norm.scale_and_shift();
        let weight = self.weight.val() * scale.reshape([-1, 1, 1, 1]);
        let [_, _, height, width] = map.dims();
        let options = ConvOptions::new_with_padding(
            [self.stride; 2],
            [self.padding(height), self.padding(width)],
            [1, 1],
            self.groups,
        );
        let map = conv2d(map, weight, Some(shift), options);
        let map = match activation {
            Activation::None => map,
            Activation::Gelu => gelu(map),
            Activation::Relu => relu(map),
            Activation::Relu6 => map.clamp(0.0, 6.0),
        };
        match residual {
            Some(residual) => map + residual,
            None => map,
        }
    }

    /// What it reads of a map.
    fn window(&self, height: usize, width: usize) -> Window {
        Window {
            kernel: self.kernel,
            stride: self.stride,
            before: [self.padding(height).0, self.padding(width).0],
            out: [height.div_ceil(self.stride), width.div_ceil(self.stride)],
        }
    }

    /// Zeros before and after an axis of `size` pixels.
    fn padding(&self, size: usize) -> (usize, usize) {
        match self.border {
            Border::Half => (self.kernel / 2, self.kernel / 2),
            Border::Same => {
                let needed = (size.div_ceil(self.stride) - 1) * self.stride + self.kernel;
                let total = needed.saturating_sub(size);
                (total / 2, total - total / 2)
            }
        }
    }
}

/// Where the channels of a network's maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[B, channels, h, w]`, as in training.
    First,
    /// `[B, h, w, channels]`, as packed layers have them.
    Last,
}

impl Layout {
    /// That of a network with this layer.
    pub(super) fn of(layer: &ConvNorm) -> Self {
        match layer.packed {
            Some(_) => Self::Last,
            None => Self::First,
        }
    }

    /// From `[B, channels, h, w]`.
    pub(super) fn enter(self, map: Tensor<4>) -> Tensor<4> {
        match self {
            Self::First => map,
            Self::Last => map.permute([0, 2, 3, 1]),
        }
    }

    /// To `[B, channels, h, w]`.
    pub(super) fn leave(self, map: Tensor<4>) -> Tensor<4> {
        match self {
            Self::First => map,
            Self::Last => map.permute([0, 3, 1, 2]),
        }
    }
}

impl FixedBatchNorm {
    /// `y = scale * x + shift` for each channel.
    fn scale_and_shift(&self) -> (Tensor<1>, Tensor<1>) {
        let deviation = (self.running_var.value() + self.epsilon).sqrt();
        let scale = self.gamma.val() / deviation;
        let shift = self.beta.val() - self.running_mean.value() * scale.clone();
        (scale, shift)
    }
}
