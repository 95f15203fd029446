//! A [`ConvNorm`] of a model that is only asked, on maps whose channels lie side by side.

use burn::tensor::Tensor;
use muse_kernels::{Activation, Depthwise, Floats, Packed, Scale, Shape, Tier, patches};

use super::ConvNorm;
use crate::layers::cpu::{self, Numbers};
use crate::load::{Packing, Weights};

/// Weights with the normalisation folded in.
#[derive(Clone, Debug)]
pub(super) enum PackedConv {
    /// Of 8 bits.
    Whole(Packed),
    /// Of floats.
    Floats(Floats),
    /// A filter for each channel.
    Depthwise(Depthwise),
}

impl PackedConv {
    /// `None` where a tensor is missing or has another shape, or the layer is of a kind of its own.
    pub(super) fn new(layer: &ConvNorm, path: &str, weights: &mut Packing) -> Option<Self> {
        let shape: [usize; 4] = layer.weight.lazy_shape().dims();
        let [outputs, inputs, kernel, _] = shape;
        let depthwise = inputs == 1 && layer.groups == outputs;
        if layer.groups != 1 && !depthwise {
            return None;
        }
        let names = ["gamma", "beta", "running_mean", "running_var"];
        let names = names.map(|name| format!("{path}.norm.{name}"));
        let weight = format!("{path}.weight");
        let there = names.iter().all(|name| weights.has(name, &[outputs]));
        if !there || !weights.has(&weight, &shape) {
            return None;
        }
        let [gamma, beta, mean, variance] = names.map(|name| weights.floats(&name));
        let deviation = |o: usize| (variance[o] + layer.norm.epsilon as f32).sqrt();
        let scale: Vec<f32> = (0..outputs).map(|o| gamma[o] / deviation(o)).collect();
        let shift: Vec<f32> = (0..outputs).map(|o| beta[o] - mean[o] * scale[o]).collect();
        // A patch has its pixels one by one, each with all its channels; the weights have the channels one by one.
        let at = |input: usize, output: usize| {
            let (pixel, channel) = (input / inputs, input % inputs);
            (output * inputs + channel) * kernel * kernel + pixel
        };
        let sizes = [inputs * kernel * kernel, outputs];
        Some(match weights.take(&weight) {
            Weights::Whole(whole) if whole.axis() == 0 && !depthwise => {
                let scale: Vec<f32> = whole
                    .scale()
                    .iter()
                    .zip(&scale)
                    .map(|(a, b)| a * b)
                    .collect();
                let weight = |i, o| whole.at(at(i, o));
                let packed = Packed::new(sizes, weight, Scale::Outputs(&scale), Some(&shift));
                Self::Whole(packed.of_even_rows())
            }
            floats => {
                let floats = floats.into_tensor().data;
                if depthwise {
                    let pixels = 0..kernel * kernel;
                    let weights = pixels.flat_map(|pixel| {
                        let of =
                            |(o, scale): (usize, &f32)| floats[o * kernel * kernel + pixel] * scale;
                        scale.iter().enumerate().map(of).collect::<Vec<_>>()
                    });
                    Self::Depthwise(Depthwise {
                        weights: weights.collect(),
                        bias: shift,
                    })
                } else {
                    let weight = |i, o| floats[at(i, o)] * scale[o];
                    Self::Floats(Floats::new(sizes, weight, Some(&shift)))
                }
            }
        })
    }

    /// `[B, h, w, in]` to `[B, h / stride, w / stride, out]`.
    pub(super) fn forward(
        &self,
        layer: &ConvNorm,
        map: Tensor<4>,
        activation: Activation,
        residual: Option<Tensor<4>>,
    ) -> Tensor<4> {
        let [batch, height, width, channels] = map.dims();
        let numbers = Numbers::of(&map).expect(cpu::PACKED);
        let residual = residual.map(|residual| Numbers::of(&residual).expect(cpu::PACKED));
        let [outputs, ..]: [usize; 4] = layer.weight.lazy_shape().dims();
        let window = layer.window(height, width);
        let shape = Shape {
            height,
            width,
            channels,
        };
        let size = window.out[0] * window.out[1] * outputs;
        let mut out = vec![0.0; batch * size];
        let (mut rows, tier) = (Vec::new(), Tier::best());
        let pixels = numbers.chunks_exact((height * width * channels).max(1));
        for (picture, (map, out)) in pixels.zip(out.chunks_exact_mut(size.max(1))).enumerate() {
            let residual = residual.as_deref();
            let residual = residual.map(|residual| &residual[picture * size..(picture + 1) * size]);
            let rows = match self {
                Self::Depthwise(_) => map,
                _ if window.kernel == 1 && window.stride == 1 => map,
                _ => {
                    patches(map, shape, window, &mut rows);
                    &rows
                }
            };
            match self {
                Self::Depthwise(filter) => {
                    filter.convolve(tier, map, shape, window, activation, out)
                }
                Self::Whole(packed) => packed.product(tier, rows, activation, residual, out),
                Self::Floats(floats) => floats.product(tier, rows, activation, residual, out),
            }
        }
        cpu::tensor(out, [batch, window.out[0], window.out[1], outputs])
    }
}
