//! ResNet (He et al. 2016, arXiv:1512.03385), in torchvision's form: the stride of a bottleneck is on its 3×3.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use muse_kernels::Activation;

use super::conv_norm::{Border, ConvNorm, ConvNormConfig, Layout};
use crate::layers::cpu;
use crate::load::Packing;
use crate::weights::foreign::{Foreign, norm_parameter, replace_all};

/// A ResNet without pooling and classifier; its fields are named as in torchvision.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: ConvNorm,
    maxpool: MaxPool2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
}

/// A residual block: two 3×3 convolutions, or three (1×1, 3×3, 1×1) in a bottleneck.
#[derive(Module, Debug)]
struct Block {
    conv1: ConvNorm,
    conv2: ConvNorm,
    conv3: Option<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl ResNet {
    /// A network with random weights, of so many blocks in each of its four layers.
    pub fn new(blocks: [usize; 4], bottleneck: bool, device: &Device) -> Self {
        let mut input = 64;
        let mut layer = |blocks: usize, width: usize, stride: usize| {
            (0..blocks)
                .map(|block| {
                    let stride = if block == 0 { stride } else { 1 };
                    let output = if bottleneck { 4 * width } else { width };
                    let block = Block::new(input, width, output, stride, bottleneck, device);
                    input = output;
                    block
                })
                .collect()
        };
        Self {
            conv1: conv(3, 64, 7, 2, device),
            maxpool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            layer1: layer(blocks[0], 64, 1),
            layer2: layer(blocks[1], 128, 2),
            layer3: layer(blocks[2], 256, 2),
            layer4: layer(blocks[3], 512, 2),
        }
    }

    /// The last feature map `[B, C, S/32, S/32]` of `[B, 3, S, S]`, sizes rounded up.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        self.run(pixels, |_| {})
    }

    /// The feature maps after the stem's pooling and after each of the four layers.
    pub fn feature_maps(&self, pixels: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps = Vec::new();
        self.run(pixels, |map| maps.push(map.clone()));
        maps
    }

    fn run(&self, pixels: Tensor<4>, mut observe: impl FnMut(&Tensor<4>)) -> Tensor<4> {
        let layout = Layout::of(&self.conv1);
        let map = layout.enter(pixels);
        let map = self.conv1.forward(map, Activation::Relu, None);
        let mut map = match layout {
            Layout::First => self.maxpool.forward(map),
            Layout::Last => cpu::max_pool(map, 3, 2, 1),
        }; // [B, 64, S/4, S/4]
        observe(&layout.leave(map.clone()));
        for layer in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            for block in layer {
                map = block.forward(map);
            }
            observe(&layout.leave(map.clone()));
        }
        layout.leave(map)
    }

    /// Takes its weights from a model file.
    pub(super) fn pack(&mut self, path: &str, weights: &mut Packing) {
        self.conv1.pack(&format!("{path}.conv1"), weights);
        let layers = [
            &mut self.layer1,
            &mut self.layer2,
            &mut self.layer3,
            &mut self.layer4,
        ];
        for (number, layer) in layers.into_iter().enumerate() {
            for (index, block) in layer.iter_mut().enumerate() {
                let path = format!("{path}.layer{}.{index}", number + 1);
                block.conv1.pack(&format!("{path}.conv1"), weights);
                block.conv2.pack(&format!("{path}.conv2"), weights);
                if let Some(conv3) = &mut block.conv3 {
                    conv3.pack(&format!("{path}.conv3"), weights);
                }
                if let Some(downsample) = &mut block.downsample {
                    downsample.pack(&format!("{path}.downsample"), weights);
                }
            }
        }
    }

    /// Paths of its parts from the input on.
    pub(super) fn stages(&self) -> Vec<String> {
        ["conv1", "layer1", "layer2", "layer3", "layer4"]
            .map(str::to_owned)
            .into()
    }
}

impl Block {
    fn new(
        input: usize,
        width: usize,
        output: usize,
        stride: usize,
        bottleneck: bool,
        device: &Device,
    ) -> Self {
        let downsample =
            (stride != 1 || input != output).then(|| conv(input, output, 1, stride, device));
        if bottleneck {
            Self {
                conv1: conv(input, width, 1, 1, device),
                conv2: conv(width, width, 3, stride, device),
                conv3: Some(conv(width, output, 1, 1, device)),
                downsample,
            }
        } else {
            Self {
                conv1: conv(input, width, 3, stride, device),
                conv2: conv(width, output, 3, 1, device),
                conv3: None,
                downsample,
            }
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(input.clone(), Activation::None, None),
            None => input.clone(),
        };
        let map = self.conv1.forward(input, Activation::Relu, None);
        let map = match &self.conv3 {
            None => self.conv2.forward(map, Activation::None, Some(shortcut)),
            Some(conv3) => {
                let map = self.conv2.forward(map, Activation::Relu, None);
                conv3.forward(map, Activation::None, Some(shortcut))
            }
        };
        relu(map)
    }
}

fn conv(input: usize, output: usize, kernel: usize, stride: usize, device: &Device) -> ConvNorm {
    ConvNormConfig {
        input,
        output,
        kernel,
        stride,
        groups: 1,
        border: Border::Half,
        epsilon: 1e-5,
    }
    .init(device)
}

/// What torchvision calls a parameter.
pub(super) fn published_name(path: &str) -> Foreign {
    let name = match path.split_once(".norm.") {
        None => replace_all(path, &[("downsample.weight", "downsample.0.weight")]),
        Some((conv, parameter)) => {
            let norm = replace_all(conv, &[("downsample", "downsample.1"), ("conv", "bn")]);
            format!("{norm}.{}", norm_parameter(parameter))
        }
    };
    Foreign::plain(name)
}
