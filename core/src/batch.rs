//! From prepared samples on the host to the tensors of one step.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;

use crate::config::MuseConfig;
use crate::encoders::image::REGIONS;
use crate::exchange::Multiplicities;
use crate::heads::entities::Words;
use crate::heads::{Labels, Targets};
use crate::objective::Part;
use crate::text::tokenizer::EncodedText;

/// A picture that is ready for the model.
#[derive(Clone, Debug)]
pub enum Picture {
    /// The CNN's input, planar `[3, S, S]`.
    Pixels(Vec<f32>),
    /// The CNN's output, `[64, C]`, as a cache keeps it.
    Regions(Vec<f16>),
    /// The CNN's output where the model is, `[1, 64, C]`.
    Encoded(Box<Tensor<3>>),
}

/// One text window with what belongs to it.
#[derive(Clone, Debug)]
pub struct Example {
    /// Pieces, word shapes and each word's first piece.
    pub text: EncodedText,
    /// The picture; windows of one caption share it. The pictures of a batch are all of one kind.
    pub picture: Option<Arc<Picture>>,
    /// What is known of it.
    pub labels: Labels,
}

impl Example {
    /// To be answered, not learnt from.
    pub fn unlabelled(text: EncodedText, picture: Option<Arc<Picture>>) -> Self {
        Self {
            text,
            picture,
            labels: Labels::default(),
        }
    }
}

/// The tensors of one step. B samples, N pieces, W words, M distinct pictures.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Number of samples B.
    pub size: usize,
    pub(crate) pieces: Tensor<2, Int>,
    pub(crate) shapes: Tensor<2, Int>,
    /// `[B, N]`; `None` when nothing is padded.
    pub(crate) text_mask: Option<Tensor<2>>,
    pub(crate) text_multiplicities: Multiplicities,
    pub(crate) image_multiplicities: Multiplicities,
    pub(crate) pictures: Option<Pictures>,
    pub(crate) words: Option<Words>,
    pub(crate) targets: Targets,
}

/// The distinct pictures of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Pictures {
    pub(crate) input: PictureInput,
    /// For each sample which picture it has, `[B]`; M stands for none. `None` where each has its own, in their order.
    pub(crate) slots: Option<Tensor<1, Int>>,
}

#[derive(Clone, Debug)]
pub(crate) enum PictureInput {
    /// `[M, 3, S, S]`
    Pixels(Tensor<4>),
    /// `[M, 64, C]`
    Regions(Tensor<3>),
}

impl Batch {
    /// Pads `examples` to a common length and moves them to `device`.
    ///
    /// `pad` is the padding piece. No example may be longer than `config.max_pieces`, and there must be at least one.
    pub fn new(examples: &[Example], config: &MuseConfig, pad: u32, device: &Device) -> Self {
        let size = examples.len();
        let lengths: Vec<usize> = examples.iter().map(|e| e.text.pieces.len()).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);

        let mut pieces = vec![pad as i32; size * length];
        let mut shapes = vec![0i32; size * length];
        let mut mask = vec![0f32; size * length];
        for (row, example) in examples.iter().enumerate() {
            let at = row * length;
            for (column, &piece) in example.text.pieces.iter().enumerate() {
                pieces[at + column] = piece as i32;
                shapes[at + column] = example.text.shapes[column] as i32;
                mask[at + column] = 1.0;
            }
        }
        let padded = lengths.iter().any(|&l| l < length);
        let counts: Vec<Vec<f32>> = (0..size)
            .map(|row| {
                let mut counts = vec![1.0]; // cls
                counts.extend_from_slice(&mask[row * length..(row + 1) * length]);
                counts
            })
            .collect();

        let (pictures, regions) = Pictures::new(examples, config, device);
        let image_counts = match regions {
            REGIONS => vec![1.0; 1 + REGIONS],
            // No sample has a picture: one region stands for all.
            _ => vec![1.0, REGIONS as f32],
        };
        let texts: Vec<_> = examples.iter().map(|example| &example.text).collect();
        let labels: Vec<_> = examples.iter().map(|example| &example.labels).collect();
        let words = Words::new(&texts, length, regions, device);
        let matrix = |data: Vec<i32>| {
            Tensor::<2, Int>::from_data(TensorData::new(data, [size, length]), device)
        };
        Self {
            size,
            pieces: matrix(pieces),
            shapes: matrix(shapes),
            text_mask: padded
                .then(|| Tensor::from_data(TensorData::new(mask, [size, length]), device)),
            text_multiplicities: Multiplicities::new(&counts, device),
            image_multiplicities: Multiplicities::new(&vec![image_counts; size], device),
            pictures,
            targets: Targets::new(&labels, words.as_ref(), config, device),
            words,
        }
    }

    /// Which heads some sample has a label for.
    pub fn labelled_heads(&self) -> impl Iterator<Item = Part> {
        self.targets.parts()
    }
}

impl Pictures {
    /// The distinct pictures, and how many rows the image stream has besides its cls row.
    fn new(examples: &[Example], config: &MuseConfig, device: &Device) -> (Option<Self>, usize) {
        let mut distinct: Vec<&Arc<Picture>> = Vec::new();
        let slots: Vec<Option<usize>> = examples
            .iter()
            .map(|example| {
                let picture = example.picture.as_ref()?;
                let known = distinct.iter().position(|d| Arc::ptr_eq(d, picture));
                Some(known.unwrap_or_else(|| {
                    distinct.push(picture);
                    distinct.len() - 1
                }))
            })
            .collect();
        let count = distinct.len();
        if count == 0 {
            return (None, 1);
        }
        let channels = config.image.encoder.channels();
        let side = config.image.preparation.size;
        let mut pixels = Vec::new();
        let mut regions = Vec::new();
        let mut encoded = Vec::new();
        for picture in &distinct {
            match picture.as_ref() {
                Picture::Pixels(values) => pixels.extend_from_slice(values),
                Picture::Regions(values) => regions.extend(values.iter().map(|v| v.to_f32())),
                Picture::Encoded(regions) => encoded.push(regions.as_ref().clone()),
            }
        }
        // In training the row of an absent picture is to have a gradient, if one of 0.
        let own = !encoded.is_empty() && slots.iter().copied().eq((0..count).map(Some));
        let input = if encoded.len() == 1 {
            PictureInput::Regions(encoded.remove(0))
        } else if !encoded.is_empty() {
            PictureInput::Regions(Tensor::cat(encoded, 0))
        } else if !pixels.is_empty() {
            PictureInput::Pixels(Tensor::from_data(
                TensorData::new(pixels, [count, 3, side, side]),
                device,
            ))
        } else {
            PictureInput::Regions(Tensor::from_data(
                TensorData::new(regions, [count, REGIONS, channels]),
                device,
            ))
        };
        let slots: Vec<i32> = slots
            .into_iter()
            .map(|slot| slot.unwrap_or(count) as i32)
            .collect();
        let slots = (!own).then(|| Tensor::from_data(slots.as_slice(), device));
        (Some(Self { input, slots }), REGIONS)
    }
}
