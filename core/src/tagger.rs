//! From a caption and its picture to what the heads say: what the command line, the page and the package call.

mod answer;
mod exchange;

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, ExecutionError, Tensor, TensorData};

use crate::batch::{Batch, Example, Picture};
use crate::config::MuseConfig;
use crate::file::StoredModel;
use crate::heads::Labeller;
use crate::heads::entities::UnknownStyle;
use crate::layers::{cpu, gpu};
use crate::load::LoadError;
use crate::model::{Muse, Predictions};
use crate::pixels::{Pixels, prepare};
use crate::text::splitter::{Word, split};
use crate::text::tokenizer::{TextTokenizer, Window};

pub use crate::heads::classifier::Class;
pub use crate::heads::entities::Entity;
pub use answer::Tagged;
pub use exchange::{Exchange, ExchangedLayer, ExchangedToken, Margins};

/// Windows that run through the model together: enough to fill a GPU, few enough that a caption of any length fits into
/// memory.
const BATCH_SIZE: usize = 64;

/// A caption to tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caption {
    /// As a user writes it; it is split into words by [`split`].
    Text(String),
    /// Already split. Spans then refer to the words joined by single spaces.
    Words(Vec<String>),
}

/// A caption and the picture it belongs to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caption.
    pub caption: Caption,
    /// The picture, if there is one.
    pub picture: Option<Pixels>,
}

/// A picture that [`Tagger::encode_picture`] has put through the image encoder: it can go with any number of captions.
#[derive(Clone, Debug)]
pub struct EncodedPicture(Arc<Picture>);

impl EncodedPicture {
    /// Waits until the device has done its part, without blocking.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub async fn ready(&self) -> Result<(), TaggerError> {
        if let Picture::Encoded(regions) = self.0.as_ref() {
            // A device runs its work in order: one number read means that all of it is there.
            let number = regions.as_ref().clone().slice([0..1, 0..1, 0..1]);
            number.into_data_async().await?;
        }
        Ok(())
    }
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TaggerError {
    /// The file cannot.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(#[from] ExecutionError),
    /// Each of its weights is a number, but what it computes is none.
    #[error(
        "the model computes NaN or infinity where a score should be: its weights are damaged or were trained to overflow; \
         use another model file"
    )]
    NotFinite,
}

/// A model that is ready to tag.
#[derive(Debug)]
pub struct Tagger {
    model: Muse,
    config: MuseConfig,
    tokenizer: TextTokenizer,
    labeller: Labeller,
    device: Device,
    /// In which style captions are tagged, where not in that of the model's choice.
    style: Option<usize>,
    /// How many readings are told.
    readings: usize,
}

impl Tagger {
    /// Loads a model file onto a device, and waits for it. On the web: [`Self::from_bytes_async`].
    ///
    /// # Errors
    ///
    /// When the bytes are not a model file of this format version, or are damaged.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self, TaggerError> {
        let (model, config, tokenizer) = load(bytes, device)?;
        let labeller = Labeller::new(&model.heads, &config)?;
        Ok(Self::assemble(model, config, tokenizer, labeller, device))
    }

    /// Loads a model file onto a device without ever blocking on it.
    ///
    /// # Errors
    ///
    /// As [`Self::from_bytes`].
    pub async fn from_bytes_async(bytes: &[u8], device: &Device) -> Result<Self, TaggerError> {
        let (model, config, tokenizer) = load(bytes, device)?;
        let labeller = Labeller::new_async(&model.heads, &config).await?;
        Ok(Self::assemble(model, config, tokenizer, labeller, device))
    }

    /// From a model in memory, as a trainer has it.
    ///
    /// # Errors
    ///
    /// When the device fails.
    pub fn new(
        model: Muse,
        config: MuseConfig,
        tokenizer: TextTokenizer,
        device: &Device,
    ) -> Result<Self, TaggerError> {
        let labeller = Labeller::new(&model.heads, &config)?;
        Ok(Self::assemble(model, config, tokenizer, labeller, device))
    }

    fn assemble(
        model: Muse,
        config: MuseConfig,
        tokenizer: TextTokenizer,
        labeller: Labeller,
        device: &Device,
    ) -> Self {
        Self {
            model,
            config,
            tokenizer,
            labeller,
            style: None,
            readings: 0,
            device: device.clone(),
        }
    }

    /// The network, for measurements. It can be asked and no more: its weights may be packed.
    pub fn muse(&self) -> &Muse {
        &self.model
    }

    /// What the model is made of.
    pub fn config(&self) -> &MuseConfig {
        &self.config
    }

    /// How many weights the model has.
    pub fn weights(&self) -> usize {
        self.model.num_params()
    }

    /// Tags one caption.
    ///
    /// # Errors
    ///
    /// As [`Self::tag_batch`].
    pub fn tag(&self, request: &Request) -> Result<Tagged, TaggerError> {
        let mut tagged = self.tag_batch(std::slice::from_ref(request))?;
        Ok(tagged.pop().expect("one answer for one request"))
    }

    /// Tags several captions in one pass; the answers come in the same order.
    ///
    /// # Errors
    ///
    /// [`TaggerError::NotFinite`] when the model's answers are no numbers; [`TaggerError::Device`] when they cannot be read
    /// back.
    pub fn tag_batch(&self, requests: &[Request]) -> Result<Vec<Tagged>, TaggerError> {
        let mut reading = Reading::of(self.prepare(requests));
        for group in reading.prepared.examples.chunks(BATCH_SIZE) {
            let predictions = cpu::awake(&self.device, || self.model.predict(&self.batch(group)))?;
            reading.predictions.append(sound(predictions)?);
        }
        Ok(self.decode(reading))
    }

    /// From now on entities are annotated in this style, or in that of the model's choice.
    ///
    /// # Errors
    ///
    /// When the model has no such style.
    pub fn set_style(&mut self, name: Option<&str>) -> Result<(), UnknownStyle> {
        let styles = &self.config.names.styles;
        self.style = name.map(|name| styles.place(Some(name))).transpose()?;
        Ok(())
    }

    /// How sure an entity must be to be worth telling, where nobody asks for anything else: see [`Calibration::threshold`]. Answers
    /// have those that are less sure, too.
    ///
    /// [`Calibration::threshold`]: crate::heads::Calibration::threshold
    pub fn threshold(&self) -> f32 {
        let styles = &self.config.names.styles;
        let style = self.style.or(styles.place(None).ok());
        self.config.calibration.threshold(style.unwrap_or_default())
    }

    /// From now on answers tell so many of the likeliest sequences of tags.
    pub fn set_readings(&mut self, count: usize) {
        self.readings = count;
    }

    /// Puts a picture through the image encoder.
    pub fn encode_picture(&self, pixels: &Pixels) -> EncodedPicture {
        let preparation = &self.config.image.preparation;
        let input = TensorData::new(
            prepare(pixels, preparation),
            [1, 3, preparation.size, preparation.size],
        );
        let regions = self
            .model
            .image
            .regions(Tensor::from_data(input, &self.device));
        let regions = gpu::settled(regions);
        EncodedPicture(Arc::new(Picture::Encoded(Box::new(regions))))
    }

    /// Cuts captions into windows, which [`Self::read_some`] reads; [`Self::decode`] does the rest.
    pub fn begin(&self, requests: &[(Caption, Option<EncodedPicture>)]) -> Reading {
        let mut prepared = Prepared::default();
        for (caption, picture) in requests {
            self.add(
                &mut prepared,
                caption,
                picture.as_ref().map(|p| p.0.clone()),
            );
        }
        Reading::of(prepared)
    }

    /// Lets the model read at most `windows` of the windows that it has not read yet, awaiting the device.
    ///
    /// `exchange` asks what the exchange did, and must be the same in each call for a reading.
    ///
    /// # Errors
    ///
    /// When the device fails, and [`TaggerError::NotFinite`].
    pub async fn read_some(
        &self,
        reading: &mut Reading,
        windows: usize,
        exchange: bool,
    ) -> Result<(), TaggerError> {
        let rest = &reading.prepared.examples[reading.done()..];
        let group = &rest[..windows.min(rest.len())];
        if !group.is_empty() {
            let predictions = self.model.predict_async(&self.batch(group), exchange).await;
            reading.predictions.append(sound(predictions?)?);
        }
        Ok(())
    }

    /// The model's part of tagging several captions: [`Self::begin`], and [`Self::read_some`] until all is read.
    ///
    /// # Errors
    ///
    /// As [`Self::read_some`].
    pub async fn read_async(
        &self,
        requests: &[(Caption, Option<EncodedPicture>)],
        exchange: bool,
    ) -> Result<Reading, TaggerError> {
        let mut reading = self.begin(requests);
        while reading.done() < reading.windows() {
            self.read_some(&mut reading, BATCH_SIZE, exchange).await?;
        }
        Ok(reading)
    }

    /// Labels, spans and confidences of what the model has read.
    ///
    /// # Panics
    ///
    /// When it has not read all windows.
    pub fn decode(&self, reading: Reading) -> Vec<Tagged> {
        self.decode_in(reading, self.style)
    }

    /// [`Self::decode`] in a style, the place of its name among the model's; in that of the model's choice when `None`.
    ///
    /// # Panics
    ///
    /// When it has not read all windows.
    pub fn decode_in(&self, reading: Reading, style: Option<usize>) -> Vec<Tagged> {
        assert_eq!(reading.done(), reading.windows(), "all windows are read");
        self.answer(reading.prepared, reading.predictions, style)
    }

    fn batch(&self, examples: &[Example]) -> Batch {
        Batch::new(examples, &self.config, self.tokenizer.pad(), &self.device)
    }

    fn prepare(&self, requests: &[Request]) -> Prepared {
        let mut prepared = Prepared::default();
        for request in requests {
            let picture = request.picture.as_ref().map(|pixels| {
                let preparation = &self.config.image.preparation;
                Arc::new(Picture::Pixels(prepare(pixels, preparation)))
            });
            self.add(&mut prepared, &request.caption, picture);
        }
        prepared
    }

    fn add(&self, prepared: &mut Prepared, caption: &Caption, picture: Option<Arc<Picture>>) {
        let (text, words) = match caption {
            Caption::Text(text) => (text.clone(), split(text)),
            Caption::Words(words) => (words.join(" "), spaced(words)),
        };
        let texts: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
        let windows = self.tokenizer.windows(&texts, self.config.max_pieces);
        prepared.examples.extend(
            windows
                .iter()
                .map(|w| Example::unlabelled(w.encoded.clone(), picture.clone())),
        );
        prepared.captions.push(PreparedCaption {
            text,
            words,
            windows,
            pictured: picture.is_some(),
        });
    }

    fn answer(
        &self,
        prepared: Prepared,
        predictions: Predictions,
        style: Option<usize>,
    ) -> Vec<Tagged> {
        let mut at = 0;
        let answer = |caption: PreparedCaption| {
            let rows = at..at + caption.windows.len();
            at = rows.end;
            let (labeller, readings) = (&self.labeller, self.readings);
            Tagged::new(caption, labeller, &predictions, rows, style, readings)
        };
        prepared.captions.into_iter().map(answer).collect()
    }
}

/// Captions on their way through the model.
#[derive(Debug)]
pub struct Reading {
    prepared: Prepared,
    predictions: Predictions,
}

impl Reading {
    fn of(prepared: Prepared) -> Self {
        Self {
            prepared,
            predictions: Predictions::default(),
        }
    }

    /// Windows that all the captions together were cut into.
    pub fn windows(&self) -> usize {
        self.prepared.examples.len()
    }

    /// Windows that the model has read.
    pub fn done(&self) -> usize {
        self.predictions.logits.len()
    }
}

/// The predictions, if all of their scores are numbers.
fn sound(predictions: Predictions) -> Result<Predictions, TaggerError> {
    match predictions.logits.are_finite() {
        true => Ok(predictions),
        false => Err(TaggerError::NotFinite),
    }
}

#[derive(Debug, Default)]
struct Prepared {
    captions: Vec<PreparedCaption>,
    examples: Vec<Example>,
}

#[derive(Debug)]
struct PreparedCaption {
    text: String,
    words: Vec<Word>,
    windows: Vec<Window>,
    pictured: bool,
}

fn load(bytes: &[u8], device: &Device) -> Result<(Muse, MuseConfig, TextTokenizer), LoadError> {
    let mut file = StoredModel::from_bytes(bytes)?;
    let muse = file.take_muse(device)?;
    file.config.decoders = None;
    Ok((muse, file.config, file.tokenizer))
}

/// Where words stand when single spaces join them.
fn spaced(words: &[String]) -> Vec<Word> {
    let mut start = 0;
    words
        .iter()
        .map(|word| {
            let end = start + word.chars().count();
            let placed = Word {
                text: word.clone(),
                start,
                end,
            };
            start = end + 1;
            placed
        })
        .collect()
}
