//! The image encoder: one of the CNNs, and its map cut into 8×8 regions.

mod conv_norm;
pub mod efficientnet;
pub mod resnet;

use burn::module::Module;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};

use self::efficientnet::EfficientNetLite0;
use self::resnet::ResNet;
use crate::config::CnnKind;

/// Regions along each side of the picture.
const GRID: usize = 8;

/// A convolutional network without pooling and classifier.
#[derive(Module, Debug)]
pub enum Cnn {
    /// The default.
    EfficientNetLite0(EfficientNetLite0),
    /// Any of the five depths.
    ResNet(ResNet),
}

impl Cnn {
    /// A network with random weights.
    pub fn new(kind: CnnKind, device: &Device) -> Self {
        match ResNet::new(kind, device) {
            Some(resnet) => Self::ResNet(resnet),
            None => Self::EfficientNetLite0(EfficientNetLite0::new(device)),
        }
    }

    /// The last feature map `[B, C, h, w]` of prepared pictures `[B, 3, S, S]`.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        match self {
            Self::EfficientNetLite0(cnn) => cnn.forward(pixels),
            Self::ResNet(cnn) => cnn.forward(pixels),
        }
    }

    /// The regions `[B, 64, C]`, row by row: the last feature map of `pixels` `[B, 3, S, S]`, averaged to 8×8.
    pub fn regions(&self, pixels: Tensor<4>) -> Tensor<3> {
        regions(self.forward(pixels))
    }

    /// The network's stages from the input to the output: the paths, within this module, of the parts that can be trained
    /// while everything before them is fixed (`stem`, `blocks.0` … `head`; `conv1`, `layer1` … `layer4`).
    pub fn stages(&self) -> Vec<String> {
        match self {
            Self::EfficientNetLite0(cnn) => cnn.stages(),
            Self::ResNet(cnn) => cnn.stages(),
        }
    }
}

/// `[B, C, h, w]` averaged to 8×8, as rows `[B, 64, C]`.
pub fn regions(map: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = map.dims();
    let grid = if [height, width] == [GRID, GRID] {
        map
    } else {
        adaptive_avg_pool2d(map, [GRID, GRID])
    };
    grid.reshape([batch, channels, GRID * GRID]).swap_dims(1, 2)
}
