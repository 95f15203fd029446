//! The image encoder: one of the CNNs, and its map cut into 8×8 regions.

mod conv_norm;
pub mod efficientnet;
pub mod resnet;
#[cfg(test)]
mod tests;

use burn::module::Module;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use self::efficientnet::EfficientNetLite0;
use self::resnet::ResNet;
use crate::load::Packing;
use crate::pixels::ImagePreparation;
use crate::validate::{self, ConfigError};
use crate::weights::{StateDict, WeightsError, load};

/// Regions along each side of a picture.
const GRID: usize = 8;

/// Regions of a picture: the 8×8 grid.
pub const REGIONS: usize = GRID * GRID;

/// The image encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageEncoderConfig {
    /// Which network.
    pub encoder: CnnKind,
    /// How a picture is prepared for it.
    pub preparation: ImagePreparation,
    /// Dropout of its channels, each in all regions of a picture at once, in training.
    #[serde(default)]
    pub dropout: f64,
}

impl ImageEncoderConfig {
    /// Checks the settings, which may come from a damaged or hostile file.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let preparation = self.preparation.validate();
        preparation.map_err(|error| error.within("preparation"))?;
        validate::dropout("dropout", self.dropout)
    }
}

/// The convolutional networks that can look at the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CnnKind {
    /// EfficientNet-Lite0 (default): 3.4 M weights without its classifier.
    #[serde(rename = "efficientnet-lite0")]
    EfficientnetLite0,
    /// ResNet-18, as in torchvision.
    Resnet18,
    /// ResNet-34.
    Resnet34,
    /// ResNet-50.
    Resnet50,
    /// ResNet-101.
    Resnet101,
    /// ResNet-152, the paper's.
    Resnet152,
}

impl CnnKind {
    /// Channels C of the last feature map.
    pub fn channels(self) -> usize {
        match self {
            Self::EfficientnetLite0 => 1280,
            Self::Resnet18 | Self::Resnet34 => 512,
            Self::Resnet50 | Self::Resnet101 | Self::Resnet152 => 2048,
        }
    }

    /// Input size and normalisation that the published weights expect.
    pub fn default_preparation(self) -> ImagePreparation {
        match self {
            Self::EfficientnetLite0 => ImagePreparation {
                size: 256,
                mean: [127.0; 3],
                std: [128.0; 3],
            },
            // ImageNet statistics of torchvision, on 0..255.
            _ => ImagePreparation {
                size: 224,
                mean: [123.675, 116.28, 103.53],
                std: [58.395, 57.12, 57.375],
            },
        }
    }
}

/// A convolutional network without pooling and classifier.
#[derive(Module, Debug)]
pub enum ImageEncoder {
    /// The default.
    EfficientNetLite0(EfficientNetLite0),
    /// Any of the five depths.
    ResNet(ResNet),
}

impl ImageEncoder {
    /// A network with random weights.
    pub fn new(kind: CnnKind, device: &Device) -> Self {
        let resnet = |blocks, bottleneck| Self::ResNet(ResNet::new(blocks, bottleneck, device));
        match kind {
            CnnKind::EfficientnetLite0 => Self::EfficientNetLite0(EfficientNetLite0::new(device)),
            CnnKind::Resnet18 => resnet([2, 2, 2, 2], false),
            CnnKind::Resnet34 => resnet([3, 4, 6, 3], false),
            CnnKind::Resnet50 => resnet([3, 4, 6, 3], true),
            CnnKind::Resnet101 => resnet([3, 4, 23, 3], true),
            CnnKind::Resnet152 => resnet([3, 8, 36, 3], true),
        }
    }

    /// Loads torchvision's names into a ResNet, `efficientnet_lite_pytorch`'s into an EfficientNet-Lite0. The classifier and
    /// the counters of the normalisations are left out.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Mismatch`], in the file's names.
    pub fn load_published(self, kind: CnnKind, mut dict: StateDict) -> Result<Self, WeightsError> {
        let (classifier, published_name): (_, fn(&str) -> _) = match &self {
            Self::EfficientNetLite0(_) => ("_fc.", efficientnet::published_name),
            Self::ResNet(_) => ("fc.", resnet::published_name),
        };
        dict.retain(|name, _| {
            !name.starts_with(classifier) && !name.ends_with(".num_batches_tracked")
        });
        load(self, &format!("{kind:?}"), dict, published_name)
    }

    /// Takes its weights from a model file.
    pub(crate) fn pack(&mut self, path: &str, weights: &mut Packing) {
        match self {
            Self::EfficientNetLite0(cnn) => cnn.pack(path, weights),
            Self::ResNet(cnn) => cnn.pack(path, weights),
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
    grid.reshape([batch, channels, REGIONS]).swap_dims(1, 2)
}
