//! From prepared samples on the host to the tensors of one step.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;

use crate::config::MuseConfig;
use crate::decoders::Pair;
use crate::encoders::image::REGIONS;
use crate::exchange::Multiplicities;
use crate::text::tokenizer::EncodedText;

/// A picture that is ready for the model.
#[derive(Clone, Debug)]
pub enum Picture {
    /// The CNN's input, planar `[3, S, S]`.
    Pixels(Vec<f32>),
    /// The CNN's output, `[64, C]`, as a cache keeps it.
    Regions(Vec<f16>),
    /// The CNN's output where the model is, `[1, 64, C]`.
    Seen(Box<Tensor<3>>),
}

/// One text window with what belongs to it.
#[derive(Clone, Debug)]
pub struct Example {
    /// Pieces, word shapes and each word's first piece.
    pub text: EncodedText,
    /// The picture; windows of one caption share it. The pictures of a batch are all of one kind.
    pub picture: Option<Arc<Picture>>,
    /// Tag of each word, as an index into [`MuseConfig::tags`]; `None` when the sample has no entity labels.
    pub tags: Option<Vec<usize>>,
    /// What the sentiment head is to answer: a weight for each of [`MuseConfig::classes`], 1 at the label and 0 elsewhere where
    /// there is nothing but a label; `None` when the sample has none.
    pub sentiment: Option<Vec<f32>>,
    /// What the decoders learn from; `None` without decoders, or where caption and picture do not belong together.
    pub pair: Option<Pair>,
}

impl Example {
    /// To be answered, not learnt from.
    pub fn unlabelled(text: EncodedText, picture: Option<Arc<Picture>>) -> Self {
        Self {
            text,
            picture,
            tags: None,
            sentiment: None,
            pair: None,
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
    pub(crate) tags: Option<Labels<3>>,
    pub(crate) sentiment: Option<Labels<2>>,
}

/// The distinct pictures of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Pictures {
    pub(crate) input: PictureInput,
    /// For each sample which picture it has, `[B]`; M stands for none.
    pub(crate) slots: Tensor<1, Int>,
}

#[derive(Clone, Debug)]
pub(crate) enum PictureInput {
    /// `[M, 3, S, S]`
    Pixels(Tensor<4>),
    /// `[M, 64, C]`
    Regions(Tensor<3>),
}

/// Where the words' first pieces stand.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// `[B·W]`: rows of the flattened text stream.
    pub(crate) text_rows: Tensor<1, Int>,
    /// `[B·W]`: rows of the flattened image stream.
    pub(crate) region_rows: Tensor<1, Int>,
    /// `[B, W]`: 1 at real words.
    pub(crate) mask: Tensor<2>,
    /// Words of each sample.
    pub(crate) counts: Vec<usize>,
    pub(crate) width: usize,
}

/// Labels as weights of the answers: one-hot, or softer; with all-zero rows where a sample has none.
#[derive(Clone, Debug)]
pub(crate) struct Labels<const D: usize> {
    pub(crate) target: Tensor<D>,
    /// `[B]`: 1 where the sample carries the label.
    pub(crate) carried: Tensor<1>,
    /// How many samples carry it.
    pub(crate) count: usize,
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
            words: Words::new(examples, length, regions, device),
            tags: tags(examples, config.tags.len(), device),
            sentiment: sentiment(examples, config.classes.len(), device),
        }
    }
}

impl Batch {
    /// Whether a sample has entity labels.
    pub fn has_tags(&self) -> bool {
        self.tags.is_some()
    }

    /// Whether a sample has a sentiment label.
    pub fn has_sentiment(&self) -> bool {
        self.sentiment.is_some()
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
        let mut seen = Vec::new();
        for picture in &distinct {
            match picture.as_ref() {
                Picture::Pixels(values) => pixels.extend_from_slice(values),
                Picture::Regions(values) => regions.extend(values.iter().map(|v| v.to_f32())),
                Picture::Seen(regions) => seen.push(regions.as_ref().clone()),
            }
        }
        let input = if !seen.is_empty() {
            PictureInput::Regions(Tensor::cat(seen, 0))
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
        let slots = Tensor::from_data(TensorData::new(slots, [examples.len()]), device);
        (Some(Self { input, slots }), REGIONS)
    }
}

impl Words {
    fn new(examples: &[Example], length: usize, regions: usize, device: &Device) -> Option<Self> {
        let counts: Vec<usize> = examples.iter().map(|e| e.text.first_pieces.len()).collect();
        let width = counts.iter().copied().max().unwrap_or(0);
        if width == 0 {
            return None;
        }
        let size = examples.len();
        let mut text_rows = vec![0i32; size * width];
        let mut region_rows = vec![0i32; size * width];
        let mut mask = vec![0f32; size * width];
        for (row, example) in examples.iter().enumerate() {
            for (word, &piece) in example.text.first_pieces.iter().enumerate() {
                let at = row * width + word;
                text_rows[at] = (row * (1 + length) + 1 + piece) as i32;
                region_rows[at] = (row * (1 + regions) + 1 + piece.min(regions - 1)) as i32;
                mask[at] = 1.0;
            }
        }
        let rows = |data: Vec<i32>| {
            Tensor::<1, Int>::from_data(TensorData::new(data, [size * width]), device)
        };
        Some(Self {
            text_rows: rows(text_rows),
            region_rows: rows(region_rows),
            mask: Tensor::from_data(TensorData::new(mask, [size, width]), device),
            counts,
            width,
        })
    }
}

fn tags(examples: &[Example], kinds: usize, device: &Device) -> Option<Labels<3>> {
    let size = examples.len();
    let width = examples
        .iter()
        .map(|e| e.text.first_pieces.len())
        .max()
        .unwrap_or(0);
    let mut one_hot = vec![0f32; size * width * kinds];
    let mut carried = vec![0f32; size];
    for (row, example) in examples.iter().enumerate() {
        let Some(tags) = &example.tags else { continue };
        if tags.is_empty() {
            continue; // no words: nothing to learn
        }
        carried[row] = 1.0;
        for (word, &tag) in tags.iter().enumerate() {
            one_hot[(row * width + word) * kinds + tag] = 1.0;
        }
    }
    labels(one_hot, [size, width, kinds], carried, device)
}

fn sentiment(examples: &[Example], classes: usize, device: &Device) -> Option<Labels<2>> {
    let size = examples.len();
    let mut target = vec![0f32; size * classes];
    let mut carried = vec![0f32; size];
    for (row, example) in examples.iter().enumerate() {
        if let Some(weights) = &example.sentiment {
            carried[row] = 1.0;
            target[row * classes..(row + 1) * classes].copy_from_slice(weights);
        }
    }
    labels(target, [size, classes], carried, device)
}

fn labels<const D: usize>(
    target: Vec<f32>,
    shape: [usize; D],
    carried: Vec<f32>,
    device: &Device,
) -> Option<Labels<D>> {
    let count = carried.iter().filter(|&&c| c > 0.0).count();
    let size = carried.len();
    (count > 0).then(|| Labels {
        target: Tensor::from_data(TensorData::new(target, shape), device),
        carried: Tensor::from_data(TensorData::new(carried, [size]), device),
        count,
    })
}
