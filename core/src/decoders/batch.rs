//! What the decoders learn from: captions and the pictures they belong to.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::DecodersConfig;
use crate::batch::Example;
use crate::decoders::captioner::Captions;
use crate::decoders::generator::{SIDE, TOGETHER, to_unit};
use crate::pixels::{ImagePreparation, Pixels, prepare};

/// Rows of a batch.
pub(super) type Rows = Tensor<1, Int>;

/// A picture shrunk to 32×32: planar `[3, 32, 32]`, 0 to 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail(Vec<u8>);

impl Thumbnail {
    /// Bytes of a thumbnail.
    pub const LENGTH: usize = 3 * SIDE * SIDE;

    /// Shrinks a picture to the square, as [`prepare`] does.
    pub fn new(pixels: &Pixels) -> Self {
        let preparation = ImagePreparation {
            size: SIDE,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        // Whole numbers from 0 to 255.
        let values = prepare(pixels, &preparation);
        Self(values.into_iter().map(|value| value as u8).collect())
    }

    /// From what [`Self::bytes`] gave; `None` when these are not as many.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == Self::LENGTH).then_some(Self(bytes))
    }

    /// Planar `[3, 32, 32]`.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A caption and a picture that belong together.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The caption's tokens in the captioner's vocabulary, start to end; `None` without a captioner or a word.
    pub tokens: Option<Vec<u32>>,
    /// The picture; `None` without a generator.
    pub thumbnail: Option<Arc<Thumbnail>>,
}

/// How many pairs a decoder reads together.
///
/// Each group goes forward and backward by itself, so that groups can run side by side and the activations of one are gone
/// before those of the next come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// Of the captioner.
    pub captions: usize,
    /// Of the image generator.
    pub pictures: usize,
}

impl Together {
    /// Measured on Flex: smaller groups are slower a caption, larger ones leave cores idle.
    pub const CPU: Self = Self {
        captions: 20,
        pictures: TOGETHER,
    };
    /// A GPU has the width for all captions; pictures are limited by its memory.
    pub const GPU: Self = Self {
        captions: usize::MAX,
        pictures: TOGETHER,
    };
}

/// The pairs of a batch, on the device, in groups. Each decoder may read others.
#[derive(Clone, Debug)]
pub struct Pairs {
    pub(super) captions: Vec<CaptionPairs>,
    pub(super) pictures: Vec<PicturePairs>,
}

/// A group that the captioner reads together.
#[derive(Clone, Debug)]
pub(super) struct CaptionPairs {
    pub(super) samples: Vec<usize>,
    pub(super) rows: Rows,
    pub(super) tokens: Captions,
}

/// A group of P that the image generator reads together.
#[derive(Clone, Debug)]
pub(super) struct PicturePairs {
    pub(super) samples: Vec<usize>,
    pub(super) rows: Rows,
    /// `[P, 3, 32, 32]`, −1 to 1.
    pub(super) pixels: Tensor<4>,
}

impl Pairs {
    /// Whether there is something for the captioner.
    pub fn has_captions(&self) -> bool {
        !self.captions.is_empty()
    }

    /// Whether there is something for the image generator.
    pub fn has_pictures(&self) -> bool {
        !self.pictures.is_empty()
    }

    /// The pairs of `examples`; `None` when there is nothing to learn from.
    pub fn new(
        examples: &[Example],
        config: &DecodersConfig,
        together: Together,
        device: &Device,
    ) -> Option<Self> {
        let of = |wanted: &dyn Fn(&Pair) -> bool| -> Vec<usize> {
            (examples.iter().enumerate())
                .filter(|(_, example)| example.pair.as_ref().is_some_and(wanted))
                .map(|(sample, _)| sample)
                .collect()
        };
        let rows = |samples: &[usize]| {
            let rows: Vec<i32> = samples.iter().map(|&sample| sample as i32).collect();
            Tensor::from_data(TensorData::new(rows, [samples.len()]), device)
        };
        let pair = |sample: usize| examples[sample].pair.as_ref();
        let mut pairs = Self {
            captions: Vec::new(),
            pictures: Vec::new(),
        };
        if let Some(captioner) = &config.captioner {
            let vocabulary = captioner.vocabulary.len();
            for samples in of(&|pair| pair.tokens.is_some()).chunks(together.captions) {
                let tokens: Vec<Vec<u32>> = (samples.iter())
                    .filter_map(|&sample| pair(sample)?.tokens.clone())
                    .collect();
                pairs.captions.push(CaptionPairs {
                    rows: rows(samples),
                    tokens: Captions::new(&tokens, vocabulary, device),
                    samples: samples.to_vec(),
                });
            }
        }
        if config.generator.is_some() {
            for samples in of(&|pair| pair.thumbnail.is_some()).chunks(together.pictures) {
                let pixels: Vec<f32> = (samples.iter())
                    .filter_map(|&sample| pair(sample)?.thumbnail.as_ref())
                    .flat_map(|thumbnail| thumbnail.bytes().iter())
                    .map(|&byte| to_unit(byte))
                    .collect();
                let shape = [samples.len(), 3, SIDE, SIDE];
                pairs.pictures.push(PicturePairs {
                    rows: rows(samples),
                    pixels: Tensor::from_data(TensorData::new(pixels, shape), device),
                    samples: samples.to_vec(),
                });
            }
        }
        (pairs.has_captions() || pairs.has_pictures()).then_some(pairs)
    }
}
