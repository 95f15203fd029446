//! The whole model: encoders, exchange, fusion, heads (arXiv:2309.02190).

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Device, ExecutionError, Tensor};

use crate::batch::{Batch, PictureInput, Pictures};
use crate::config::{ConfigError, MuseConfig};
use crate::encoders::Encoded;
use crate::encoders::image::{ImageEncoder, REGIONS};
use crate::encoders::text::TextEncoder;
use crate::exchange::{CrossTransformer, Crossed, ExchangeTrace, Stream};
use crate::heads::{self, Heads, Logits, Losses, Outputs};
use crate::layers::dropout::mask;
pub use crate::layers::linear::Linear;
use crate::layers::readback::{Host, Numbers, Readback, Ticket};
use crate::load::Packing;
use crate::text::shape::WORD_SHAPES;

/// MuSE, with the heads that its configuration names.
#[derive(Module, Debug)]
pub struct Muse {
    /// The text encoder.
    pub text: TextEncoder,
    /// The image encoder.
    pub image: ImageEncoder,
    /// Embedding of each word's shape, added to its pieces' embeddings.
    pub word_shapes: Option<Embedding>,
    /// Of whole channels (Tompson et al. 2015, arXiv:1411.4280): neighbouring regions tell what a single one hides.
    image_dropout: Dropout,
    /// Image channels to model width, C→d.
    pub projection: Linear,
    /// What stands for each region of an absent picture, `[1, d]`.
    pub absent: Param<Tensor<2>>,
    /// The cls row of the text stream, `[1, d]`.
    pub text_cls: Param<Tensor<2>>,
    /// The cls row of the image stream, `[1, d]`.
    pub image_cls: Param<Tensor<2>>,
    /// The layers that both streams share.
    pub cross: CrossTransformer,
    /// The heads.
    pub heads: Heads,
}

/// What a forward pass gives.
pub struct Output {
    /// What the heads give.
    pub heads: Outputs,
    /// For each layer what the exchange did in the text and in the image stream.
    pub trace: Vec<[ExchangeTrace; 2]>,
}

/// What a forward pass gives, read back to the host.
#[derive(Clone, Debug, Default)]
pub struct Predictions {
    /// What the heads gave, for each sample.
    pub logits: Logits,
    /// What each layer's exchange saw and did, for each sample; empty unless it was asked for.
    pub trace: Vec<Vec<[TraceRow; 2]>>,
}

/// One sample's row of an [`ExchangeTrace`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceRow {
    /// The attention that the cls row pays to each row, itself first; padding included.
    pub scores: Vec<f32>,
    /// 1 where the row was exchanged; `None` in a layer without exchange.
    pub chosen: Option<Vec<f32>>,
}

impl Muse {
    /// A model with random weights.
    ///
    /// # Errors
    ///
    /// When `config` contradicts itself (see [`MuseConfig::validate`]).
    pub fn new(config: &MuseConfig, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let d = config.text.width();
        // Kaiming-normal with fan-in d.
        let row = || {
            let normal = Initializer::Normal {
                mean: 0.0,
                std: (2.0 / d as f64).sqrt(),
            };
            normal.init([1, d], device)
        };
        Ok(Self {
            text: TextEncoder::new(&config.text, device),
            image: ImageEncoder::new(config.image.encoder, device),
            word_shapes: config.word_shapes.then(|| {
                // Zero: at first the pretrained encoder sees what it was trained on.
                EmbeddingConfig::new(WORD_SHAPES, d)
                    .with_initializer(Initializer::Zeros)
                    .init(device)
            }),
            image_dropout: DropoutConfig::new(config.image.dropout).init(),
            projection: Linear::new(config.image.encoder.channels(), d, device),
            absent: row(),
            text_cls: row(),
            image_cls: row(),
            cross: CrossTransformer::new(&config.exchange, d, device).zero_init_residuals(device),
            heads: Heads::new(config, device),
        })
    }

    /// Takes weights from a model file, as it has them; the model can then be asked and no more.
    pub(crate) fn pack(&mut self, weights: &mut Packing) {
        self.text.pack("text", weights);
        self.image.pack("image", weights);
        self.projection.pack("projection", weights);
        self.cross.pack("cross", weights);
        self.heads.pack(weights);
    }

    /// Runs the model on a batch.
    pub fn forward(&self, batch: &Batch) -> Output {
        self.heads(batch, self.fuse(batch))
    }

    /// The heads' part of [`Self::forward`].
    pub fn heads(&self, batch: &Batch, crossed: Crossed) -> Output {
        Output {
            heads: self.heads.forward(&crossed, batch.words.as_ref()),
            trace: crossed.trace,
        }
    }

    /// Encoders and exchange: the rows that the heads read.
    pub fn fuse(&self, batch: &Batch) -> Crossed {
        self.cross(batch, self.encode(batch))
    }

    /// The encoders' part of [`Self::fuse`].
    pub fn encode(&self, batch: &Batch) -> Encoded {
        Encoded {
            text: self.encode_text(batch),
            image: self.encode_image(batch),
        }
    }

    /// T_e `[B, N, d]`.
    pub fn encode_text(&self, batch: &Batch) -> Tensor<3> {
        let extra = self
            .word_shapes
            .as_ref()
            .map(|shapes| shapes.forward(batch.shapes.clone()));
        self.text
            .forward(batch.pieces.clone(), batch.text_mask.clone(), extra)
    }

    /// The exchange's part of [`Self::fuse`].
    pub fn cross(&self, batch: &Batch, Encoded { text, image }: Encoded) -> Crossed {
        let cls = [self.text_cls.val(), self.image_cls.val()];
        let multiplicities = [&batch.text_multiplicities, &batch.image_multiplicities];
        let together = self
            .cross
            .together(cls.each_ref(), [&text, &image], multiplicities);
        if let Some(crossed) = together {
            return crossed;
        }
        let with_cls = |cls: &Param<Tensor<2>>, rows: Tensor<3>| {
            let [size, _, d] = rows.dims();
            let cls = cls.val().unsqueeze::<3>().expand([size, 1, d]);
            Tensor::cat(vec![cls, rows], 1)
        };
        self.cross.forward(
            Stream {
                rows: with_cls(&self.text_cls, text),
                multiplicities: batch.text_multiplicities.clone(),
            },
            Stream {
                rows: with_cls(&self.image_cls, image),
                multiplicities: batch.image_multiplicities.clone(),
            },
        )
    }

    /// I_e `[B, 64, d]`, or `[B, 1, d]` when no sample has a picture.
    pub fn encode_image(&self, batch: &Batch) -> Tensor<3> {
        let absent = self.absent.val().unsqueeze::<3>(); // [1, 1, d]
        let [_, _, d] = absent.dims();
        let Some(Pictures { input, slots }) = &batch.pictures else {
            return absent.expand([batch.size, 1, d]);
        };
        let regions = match input {
            PictureInput::Pixels(pixels) => self.image.regions(pixels.clone()),
            PictureInput::Regions(regions) => regions.clone(),
        }; // [M, 64, C]
        let [pictures, _, channels] = regions.dims();
        let shape = [pictures, 1, channels];
        let regions = match mask(&self.image_dropout, shape, &absent.device()) {
            Some(mask) => regions * mask,
            None => regions,
        };
        let regions = self.projection.forward(regions);
        let Some(slots) = slots else {
            return regions;
        };
        Tensor::cat(vec![regions, absent.expand([1, REGIONS, d])], 0).select(0, slots.clone())
    }

    /// The parts of L_task for a batch and its output.
    pub fn losses(&self, batch: &Batch, output: &Output) -> Losses {
        let words = batch.words.as_ref();
        self.heads.losses(&output.heads, &batch.targets, words)
    }

    /// Runs the model and waits for its answers.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn predict(&self, batch: &Batch) -> Result<Predictions, ExecutionError> {
        self.predict_encoded(batch, self.encode(batch))
    }

    /// [`Self::predict`] from what the encoders gave.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn predict_encoded(
        &self,
        batch: &Batch,
        encoded: Encoded,
    ) -> Result<Predictions, ExecutionError> {
        let output = self.heads(batch, self.cross(batch, encoded));
        let (readback, pending) = output.register(false);
        Ok(pending.take(readback.execute()?, batch))
    }

    /// Runs the model; the answers are awaited, as WebGPU requires. `trace` asks for the exchange's trace too.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub async fn predict_async(
        &self,
        batch: &Batch,
        trace: bool,
    ) -> Result<Predictions, ExecutionError> {
        let (readback, pending) = self.forward(batch).register(trace);
        Ok(pending.take(readback.execute_async().await?, batch))
    }
}

/// An output on its way to the host.
struct Pending {
    heads: heads::Pending,
    /// For each layer the scores, and what was chosen.
    trace: Vec<[(Ticket, Option<Ticket>); 2]>,
}

impl Output {
    fn register(self, trace: bool) -> (Readback, Pending) {
        let mut readback = Readback::default();
        let heads = self.heads.register(&mut readback);
        let trace = self.trace.into_iter().filter(|_| trace);
        let trace = trace.map(|layer| {
            layer.map(|stream| {
                let scores = readback.push(stream.scores);
                (scores, stream.chosen.map(|chosen| readback.push(chosen)))
            })
        });
        let trace = trace.collect();
        (readback, Pending { heads, trace })
    }
}

impl Pending {
    fn take(self, mut numbers: Numbers, batch: &Batch) -> Predictions {
        let words = batch.words.as_ref();
        let logits = self.heads.take(&mut numbers, words, batch.size);
        let layers: Vec<[(Host, Option<Host>); 2]> = (self.trace.into_iter())
            .map(|layer| {
                layer.map(|(scores, chosen)| {
                    let chosen = chosen.map(|chosen| numbers.take(chosen));
                    (numbers.take(scores), chosen)
                })
            })
            .collect();
        let row = |sample: usize, (scores, chosen): &(Host, Option<Host>)| TraceRow {
            scores: scores.row(sample).to_vec(),
            chosen: chosen.as_ref().map(|chosen| chosen.row(sample).to_vec()),
        };
        let samples = if layers.is_empty() { 0 } else { batch.size };
        let trace = (0..samples).map(|sample| {
            let layers = layers.iter();
            let rows = layers.map(|layer| layer.each_ref().map(|stream| row(sample, stream)));
            rows.collect()
        });
        Predictions {
            logits,
            trace: trace.collect(),
        }
    }
}

impl Predictions {
    /// Adds the predictions of the samples that follow.
    pub fn append(&mut self, mut next: Self) {
        self.logits.append(next.logits);
        self.trace.append(&mut next.trace);
    }
}
