//! The whole model: encoders, exchange, fusion, heads (arXiv:2309.02190).

use burn::module::{Module, Param};
use burn::nn::{
    Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig,
};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, Transaction};

use crate::batch::{Batch, PictureInput, Pictures, Words};
use crate::config::{ConfigError, MuseConfig};
use crate::encoders::Encoded;
use crate::encoders::image::{ImageEncoder, REGIONS};
use crate::encoders::text::TextEncoder;
use crate::exchange::{CrossTransformer, Crossed, ExchangeTrace, Stream};
use crate::heads::entities::crf::Crf;
use crate::layers::dropout::draw;
use crate::layers::linear::linear;
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
    /// The entity head.
    pub entities: Option<EntityHead>,
    /// The sentiment head.
    pub sentiment: Option<SentimentHead>,
}

/// Fused rows of the words → emissions → CRF.
#[derive(Module, Debug)]
pub struct EntityHead {
    fusion: Linear,
    dropout: Dropout,
    emissions: Linear,
    /// The CRF over the words.
    pub crf: Crf,
}

/// Both cls rows → classes.
#[derive(Module, Debug)]
pub struct SentimentHead {
    fusion: Linear,
    dropout: Dropout,
    classes: Linear,
}

/// What a forward pass gives. B samples, W words, K tags.
pub struct Output {
    /// `[B, W, K]`; `None` without an entity head or without any word.
    pub emissions: Option<Tensor<3>>,
    /// Logits `[B, classes]`; `None` without a sentiment head.
    pub sentiment: Option<Tensor<2>>,
    /// For each layer what the exchange did in the text and in the image stream.
    pub trace: Vec<[ExchangeTrace; 2]>,
}

/// The parts of L_task; each a mean over the samples that carry the label, `[1]`.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// CRF negative log-likelihood of a sentence.
    pub entities: Option<Tensor<1>>,
    /// Cross-entropy of a post.
    pub sentiment: Option<Tensor<1>>,
}

/// What a forward pass gives, read back to the host, for each sample of the batch.
#[derive(Clone, Debug, Default)]
pub struct Predictions {
    /// Row-major `[words, K]`, one for each sample; each empty without an entity head.
    pub emissions: Vec<Vec<f32>>,
    /// Logits, one row for each sample; empty without a sentiment head.
    pub sentiment: Vec<Vec<f32>>,
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
        let dropout = || DropoutConfig::new(config.fusion_dropout).init();
        let tags = config.tags.len();
        let classes = config.classes.len();
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
            projection: LinearConfig::new(config.image.encoder.channels(), d).init(device),
            absent: row(),
            text_cls: row(),
            image_cls: row(),
            cross: CrossTransformer::new(&config.exchange, d, device).zero_init_residuals(device),
            entities: (tags > 0).then(|| EntityHead {
                fusion: LinearConfig::new(2 * d, d).init(device),
                dropout: dropout(),
                emissions: LinearConfig::new(d, tags).init(device),
                crf: Crf::new(tags, device),
            }),
            sentiment: (classes > 0).then(|| SentimentHead {
                fusion: LinearConfig::new(2 * d, d).init(device),
                dropout: dropout(),
                classes: LinearConfig::new(d, classes).init(device),
            }),
        })
    }

    /// Runs the model on a batch.
    pub fn forward(&self, batch: &Batch) -> Output {
        self.heads(batch, self.fuse(batch))
    }

    /// The heads' part of [`Self::forward`].
    pub fn heads(&self, batch: &Batch, crossed: Crossed) -> Output {
        let emissions = match (&self.entities, &batch.words) {
            (Some(head), Some(words)) => Some(head.forward(&crossed, words, batch.size)),
            _ => None,
        };
        let sentiment = self.sentiment.as_ref().map(|head| head.forward(&crossed));
        Output {
            emissions,
            sentiment,
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
        let regions = match draw(&self.image_dropout, shape, &absent.device()) {
            Some(kept) => regions * kept,
            None => regions,
        };
        let regions = linear(&self.projection, regions);
        Tensor::cat(vec![regions, absent.expand([1, REGIONS, d])], 0).select(0, slots.clone())
    }

    /// The parts of L_task for a batch and its output.
    pub fn losses(&self, batch: &Batch, output: &Output) -> Losses {
        let entities = match (&self.entities, &output.emissions, &batch.words, &batch.tags) {
            (Some(head), Some(emissions), Some(words), Some(tags)) => {
                let likelihood = head.crf.log_likelihood(
                    emissions.clone(),
                    tags.target.clone(),
                    words.mask.clone(),
                );
                Some((likelihood * tags.carried.clone()).sum().neg() / tags.count as f32)
            }
            _ => None,
        };
        let sentiment = match (&output.sentiment, &batch.sentiment) {
            (Some(logits), Some(classes)) => {
                let likelihood = log_softmax(logits.clone(), 1) * classes.target.clone();
                Some(likelihood.sum().neg() / classes.count as f32)
            }
            _ => None,
        };
        Losses {
            entities,
            sentiment,
        }
    }

    /// Runs the model and waits for its answers.
    pub fn predict(&self, batch: &Batch) -> Predictions {
        self.predict_encoded(batch, self.encode(batch))
    }

    /// [`Self::predict`] from what the encoders gave.
    pub fn predict_encoded(&self, batch: &Batch, encoded: Encoded) -> Predictions {
        let output = self.heads(batch, self.cross(batch, encoded));
        let (transaction, shape) = Self::read(batch, output, false);
        Predictions::from_data(batch, shape, transaction.execute())
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
    ) -> Result<Predictions, burn::tensor::ExecutionError> {
        let output = self.forward(batch);
        let (transaction, shape) = Self::read(batch, output, trace);
        let data = transaction.execute_async().await?;
        Ok(Predictions::from_data(batch, shape, data))
    }

    /// Registers what is to be read, all at once: a GPU is waited for once.
    fn read(batch: &Batch, output: Output, trace: bool) -> (Transaction, ReadShape) {
        let mut transaction = Transaction::default();
        let mut shape = ReadShape::default();
        if let Some(emissions) = output.emissions {
            let [_, words, tags] = emissions.dims();
            debug_assert_eq!(Some(words), batch.words.as_ref().map(|w| w.width));
            shape.emissions = Some([words, tags]);
            transaction = transaction.register(emissions);
        }
        if let Some(logits) = output.sentiment {
            shape.sentiment = Some(logits.dims()[1]);
            transaction = transaction.register(logits);
        }
        if trace {
            for stream in output.trace.into_iter().flatten() {
                shape
                    .trace
                    .push((stream.scores.dims()[1], stream.chosen.is_some()));
                transaction = transaction.register(stream.scores);
                if let Some(chosen) = stream.chosen {
                    transaction = transaction.register(chosen);
                }
            }
        }
        (transaction, shape)
    }
}

#[derive(Default)]
struct ReadShape {
    /// `[W, K]`
    emissions: Option<[usize; 2]>,
    /// The classes.
    sentiment: Option<usize>,
    /// For each layer and stream its rows, and whether it exchanged.
    trace: Vec<(usize, bool)>,
}

impl Predictions {
    /// Adds the predictions of the samples that follow.
    pub fn append(&mut self, mut next: Self) {
        self.emissions.append(&mut next.emissions);
        self.sentiment.append(&mut next.sentiment);
        self.trace.append(&mut next.trace);
    }

    fn from_data(batch: &Batch, shape: ReadShape, data: Vec<burn::tensor::TensorData>) -> Self {
        let mut data = data
            .into_iter()
            .map(|d| d.convert::<f32>().try_to_vec::<f32>().unwrap_or_default());
        let mut predictions = Self {
            emissions: vec![Vec::new(); batch.size],
            sentiment: Vec::new(),
            trace: Vec::new(),
        };
        if let (Some([width, tags]), Some(words)) = (shape.emissions, &batch.words) {
            let rows = data.next().unwrap_or_default();
            predictions.emissions = rows
                .chunks(width * tags)
                .zip(&words.counts)
                .map(|(row, count)| row[..count * tags].to_vec())
                .collect();
        }
        if let Some(classes) = shape.sentiment {
            let rows = data.next().unwrap_or_default();
            predictions.sentiment = rows.chunks(classes).map(<[f32]>::to_vec).collect();
        }
        if !shape.trace.is_empty() {
            let streams: Vec<Vec<TraceRow>> = shape
                .trace
                .iter()
                .map(|&(rows, exchanged)| {
                    let scores = data.next().unwrap_or_default();
                    let chosen = exchanged.then(|| data.next().unwrap_or_default());
                    trace_rows(&scores, chosen.as_deref(), rows)
                })
                .collect();
            predictions.trace = (0..batch.size)
                .map(|sample| {
                    let (layers, _) = streams.as_chunks::<2>();
                    layers
                        .iter()
                        .map(|layer| layer.each_ref().map(|stream| stream[sample].clone()))
                        .collect()
                })
                .collect();
        }
        predictions
    }
}

/// One row for each sample, of values that lie one after the other.
fn trace_rows(scores: &[f32], chosen: Option<&[f32]>, rows: usize) -> Vec<TraceRow> {
    scores
        .chunks(rows)
        .enumerate()
        .map(|(sample, scores)| TraceRow {
            scores: scores.to_vec(),
            chosen: chosen.map(|all| all[sample * rows..(sample + 1) * rows].to_vec()),
        })
        .collect()
}

impl EntityHead {
    /// Emissions `[B, W, K]` from the rows of each word's first piece and of the region with the same index.
    fn forward(&self, crossed: &Crossed, words: &Words, size: usize) -> Tensor<3> {
        let rows = |stream: &Tensor<3>, index: &burn::tensor::Tensor<1, burn::tensor::Int>| {
            let d = stream.dims()[2];
            stream
                .clone()
                .reshape([-1, d as i32])
                .select(0, index.clone())
        };
        let pairs = Tensor::cat(
            vec![
                rows(&crossed.text, &words.text_rows),
                rows(&crossed.image, &words.region_rows),
            ],
            1,
        ); // [B·W, 2d]
        let fused = self.dropout.forward(linear(&self.fusion, pairs));
        let emissions = self.emissions.forward(fused);
        let tags = emissions.dims()[1];
        emissions.reshape([size, words.width, tags])
    }
}

impl SentimentHead {
    /// Logits `[B, classes]`.
    fn forward(&self, crossed: &Crossed) -> Tensor<2> {
        let cls = |stream: &Tensor<3>| stream.clone().narrow(1, 0, 1).squeeze_dim::<2>(1);
        let pair = Tensor::cat(vec![cls(&crossed.text), cls(&crossed.image)], 1);
        let fused = self.dropout.forward(linear(&self.fusion, pair));
        self.classes.forward(fused)
    }
}
