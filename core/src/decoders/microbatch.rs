//! A step's work on the decoders, in microbatches that know nothing of each other.

use burn::tensor::Tensor;

use super::Decoders;
use super::batch::{CaptionGroup, DecoderBatch, PictureGroup, Rows};
use crate::decoders::captioner::LAMBDA;
use crate::decoders::generator::DropoutMasks;
use crate::encoders::Encoded;
use crate::objective::Part;

/// Some pairs of a batch, for one of the decoders.
///
/// It holds all that its loss depends on besides the decoder's weights, the dropout's random numbers included: the losses are
/// the same in whatever order, and on whatever threads, they are computed.
#[derive(Clone, Debug)]
pub struct Microbatch<'a> {
    /// What the decoder reads of the other modality: I_n `[P, 64, d]` of P pictures, or the `[CLS]` rows of T_n `[P, 1, d]`
    /// of P captions.
    pub input: Tensor<3>,
    work: Work<'a>,
}

#[derive(Clone, Debug)]
enum Work<'a> {
    Captions(Box<Captioning<'a>>),
    Pictures(Generation<'a>),
}

#[derive(Clone, Debug)]
struct Captioning<'a> {
    pairs: &'a CaptionGroup,
    dropout: Option<Tensor<2>>,
    /// Its share of the batch's target tokens.
    tokens: f32,
    /// Its share of the batch's captions.
    captions: f32,
}

#[derive(Clone, Debug)]
struct Generation<'a> {
    pairs: &'a PictureGroup,
    dropout: DropoutMasks,
    /// Pictures of the batch.
    count: usize,
}

impl Microbatch<'_> {
    /// Which part of the objective it is of: [`Part::Captioning`] or [`Part::Generation`].
    pub fn part(&self) -> Part {
        match self.work {
            Work::Captions(_) => Part::Captioning,
            Work::Pictures(_) => Part::Generation,
        }
    }

    /// The same with an input whose gradient ends there.
    pub fn detached(&self) -> Self {
        Self {
            input: self.input.clone().detach().require_grad(),
            work: self.work.clone(),
        }
    }

    /// Its share of L_it or L_ti, `[1]`: the shares of a batch's microbatches add up to the loss of all its pairs.
    ///
    /// # Panics
    ///
    /// When `decoders` lacks the decoder that it is for.
    pub fn loss(&self, decoders: &Decoders) -> Tensor<1> {
        let input = self.input.clone();
        match &self.work {
            Work::Captions(work) => {
                let captioner = decoders
                    .captioner
                    .as_ref()
                    .expect("the captioner that it is for");
                let (tokens, dropout) = (&work.pairs.tokens, work.dropout.clone());
                let losses = captioner.losses_with(input, tokens, dropout);
                losses.cross_entropy * work.tokens
                    + losses.regularisation * (LAMBDA * work.captions)
            }
            Work::Pictures(work) => {
                let generator = decoders
                    .generator
                    .as_ref()
                    .expect("the generator that it is for");
                let (pixels, dropout) = (work.pairs.pixels.clone(), work.dropout.clone());
                let losses = generator.losses_with(pixels, input.squeeze_dim(1), dropout);
                losses.sum() / work.count as f32
            }
        }
    }
}

impl Decoders {
    /// The microbatches of a batch, each with a dropout of its own.
    pub fn microbatches<'a>(
        &self,
        encoded: &Encoded,
        batch: &'a DecoderBatch,
    ) -> Vec<Microbatch<'a>> {
        let mut microbatches = Vec::new();
        if let Some(captioner) = &self.captioner {
            let groups = batch.captions.iter();
            let captions: usize = groups.clone().map(|group| group.samples.len()).sum();
            let targets: usize = groups.clone().map(|group| group.tokens.targets()).sum();
            microbatches.extend(groups.map(|group| {
                let input = self.regions_of(encoded, &group.rows);
                Microbatch {
                    work: Work::Captions(Box::new(Captioning {
                        pairs: group,
                        dropout: captioner.dropout_mask(&group.tokens, &input.device()),
                        tokens: group.tokens.targets() as f32 / targets as f32,
                        captions: group.samples.len() as f32 / captions as f32,
                    })),
                    input,
                }
            }));
        }
        if let Some(generator) = &self.generator {
            let groups = batch.pictures.iter();
            let count = groups.clone().map(|group| group.samples.len()).sum();
            microbatches.extend(groups.map(|group| {
                let input = self.condition_of(encoded, &group.rows);
                Microbatch {
                    work: Work::Pictures(Generation {
                        pairs: group,
                        dropout: generator.dropout_masks(group.samples.len(), &input.device()),
                        count,
                    }),
                    input: input.unsqueeze_dim(1),
                }
            }));
        }
        microbatches
    }

    /// I_n of some rows of a batch, `[P, 64, d]`.
    pub(super) fn regions_of(&self, encoded: &Encoded, rows: &Rows) -> Tensor<3> {
        self.regions(encoded.image.clone().select(0, rows.clone()))
    }

    /// The `[CLS]` rows of T_n of some rows of a batch, `[P, d]`.
    pub(super) fn condition_of(&self, encoded: &Encoded, rows: &Rows) -> Tensor<2> {
        let text = encoded.text.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
        self.condition(text.select(0, rows.clone()))
    }
}
