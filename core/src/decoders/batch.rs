//! What the decoders learn from: captions and the pictures they belong to.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::DecodersConfig;
use crate::decoders::captioner::Captions;
use crate::decoders::generator::{MICROBATCH, SIDE, to_unit};
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

/// What the decoders learn from a caption and a picture that belong together.
#[derive(Clone, Debug)]
pub struct DecoderTarget {
    /// The caption's tokens in the captioner's vocabulary, start to end; `None` without a captioner or a word.
    pub tokens: Option<Vec<u32>>,
    /// The picture; `None` without a generator.
    pub thumbnail: Option<Arc<Thumbnail>>,
}

/// How many pairs of a batch a decoder reads together.
///
/// Each microbatch goes forward and backward by itself, so that groups can run side by side and the activations of one are gone
/// before those of the next come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicrobatchSize {
    /// Of the captioner.
    pub captions: usize,
    /// Of the image generator.
    pub pictures: usize,
}

impl MicrobatchSize {
    /// Measured on Flex: smaller groups are slower a caption, larger ones leave cores idle.
    pub const CPU: Self = Self {
        captions: 20,
        pictures: MICROBATCH,
    };
    /// A GPU has the width for all captions; pictures are limited by its memory.
    pub const GPU: Self = Self {
        captions: usize::MAX,
        pictures: MICROBATCH,
    };
}

/// The pairs of a batch, on the device, in microbatches. Each decoder may read others.
#[derive(Clone, Debug)]
pub struct DecoderBatch {
    pub(super) captions: Vec<CaptionGroup>,
    pub(super) pictures: Vec<PictureGroup>,
}

/// A microbatch that the captioner reads together.
#[derive(Clone, Debug)]
pub(super) struct CaptionGroup {
    pub(super) samples: Vec<usize>,
    pub(super) rows: Rows,
    pub(super) tokens: Captions,
}

/// A microbatch of P that the image generator reads together.
#[derive(Clone, Debug)]
pub(super) struct PictureGroup {
    pub(super) samples: Vec<usize>,
    pub(super) rows: Rows,
    /// `[P, 3, 32, 32]`, −1 to 1.
    pub(super) pixels: Tensor<4>,
}

impl DecoderBatch {
    /// Whether there is something for the captioner.
    pub fn has_captions(&self) -> bool {
        !self.captions.is_empty()
    }

    /// Whether there is something for the image generator.
    pub fn has_pictures(&self) -> bool {
        !self.pictures.is_empty()
    }

    /// Of each sample's target, if it has one; `None` when there is nothing to learn from.
    pub fn new(
        targets: &[Option<DecoderTarget>],
        config: &DecodersConfig,
        size: MicrobatchSize,
        device: &Device,
    ) -> Option<Self> {
        let targets = || {
            targets
                .iter()
                .enumerate()
                .filter_map(|(sample, target)| Some((sample, target.as_ref()?)))
        };
        let rows = |samples: &[usize]| {
            let rows: Vec<i32> = samples.iter().map(|&sample| sample as i32).collect();
            Tensor::from_data(rows.as_slice(), device)
        };
        let mut batch = Self {
            captions: Vec::new(),
            pictures: Vec::new(),
        };
        if let Some(captioner) = &config.captioner {
            let vocabulary = captioner.vocabulary.len();
            let captions: Vec<(usize, &Vec<u32>)> = targets()
                .filter_map(|(sample, target)| Some((sample, target.tokens.as_ref()?)))
                .collect();
            for group in captions.chunks(size.captions) {
                let (samples, tokens): (Vec<usize>, Vec<Vec<u32>>) = group
                    .iter()
                    .map(|&(sample, tokens)| (sample, tokens.clone()))
                    .unzip();
                batch.captions.push(CaptionGroup {
                    rows: rows(&samples),
                    tokens: Captions::new(&tokens, vocabulary, device),
                    samples,
                });
            }
        }
        if config.generator.is_some() {
            let pictures: Vec<(usize, &Thumbnail)> = targets()
                .filter_map(|(sample, target)| Some((sample, target.thumbnail.as_deref()?)))
                .collect();
            for group in pictures.chunks(size.pictures) {
                let samples: Vec<usize> = group.iter().map(|&(sample, _)| sample).collect();
                let bytes = group.iter().flat_map(|(_, thumbnail)| thumbnail.bytes());
                let pixels: Vec<f32> = bytes.map(|&byte| to_unit(byte)).collect();
                let shape = [samples.len(), 3, SIDE, SIDE];
                batch.pictures.push(PictureGroup {
                    rows: rows(&samples),
                    pixels: Tensor::from_data(TensorData::new(pixels, shape), device),
                    samples,
                });
            }
        }
        (batch.has_captions() || batch.has_pictures()).then_some(batch)
    }
}
