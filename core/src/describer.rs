//! A model with its decoders: what captioning a picture and imagining a caption start from.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use crate::batch::{Batch, Example, Picture};
use crate::config::MuseConfig;
use crate::decoders::captioner::{Captioner, Vocabulary};
use crate::decoders::generator::PixelCnn;
use crate::decoders::{
    CaptionerDecoder, DecoderBatch, DecoderScores, DecoderTarget, Decoders, MicrobatchSize, PREFIX,
    Thumbnail, take_state,
};
use crate::encoders::Encoded;
use crate::encoders::image::REGIONS;
use crate::file::ModelFile;
use crate::load::LoadError;
use crate::model::Muse;
use crate::pixels::{Pixels, prepare};
use crate::text::splitter::split;
use crate::text::tokenizer::{EncodedText, TextTokenizer};
use crate::weights::apply_state;

/// The model was trained or exported without the decoder that is asked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "the model has no {decoder}: train one with {setting} above 0, and export it with --with-decoders"
)]
pub struct MissingDecoder {
    /// What it is called.
    pub decoder: &'static str,
    /// The training's setting that makes one.
    pub setting: &'static str,
}

/// A photo that [`Describer::encode_photo`] has put through the image encoder, and as the image generator would draw it.
#[derive(Clone, Debug)]
pub struct EncodedPhoto {
    picture: Arc<Picture>,
    thumbnail: Arc<Thumbnail>,
}

/// A model file's encoders and decoders.
#[derive(Debug)]
pub struct Describer {
    muse: Muse,
    decoders: Option<Decoders>,
    config: MuseConfig,
    tokenizer: TextTokenizer,
    device: Device,
}

impl Describer {
    /// Loads a model file onto a device.
    ///
    /// # Errors
    ///
    /// When the bytes are not a model file of this format version, or are damaged.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self, LoadError> {
        let mut file = ModelFile::from_bytes(bytes)?;
        let own = take_state(&mut file.state);
        let muse = file.take_muse(device)?;
        let d = file.config.text.width();
        let decoders = match &file.config.decoders {
            Some(sizes) => Some(apply_state(Decoders::new(sizes, d, device), own)?),
            None => None,
        };
        Ok(Self {
            muse,
            decoders,
            config: file.config,
            tokenizer: file.tokenizer,
            device: device.clone(),
        })
    }

    /// What the model is made of.
    pub fn config(&self) -> &MuseConfig {
        &self.config
    }

    /// The text encoder's tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The captioner, its vocabulary, and I_n `[1, 64, d]` of a picture: where it looks.
    ///
    /// # Errors
    ///
    /// When the model has no captioner.
    pub fn captioning_inputs(
        &self,
        picture: &Pixels,
    ) -> Result<(&Captioner, &Vocabulary, Tensor<3>), MissingDecoder> {
        let config = self.config.decoders.as_ref();
        let captioner = config.and_then(|config| config.captioner.as_ref());
        let (Some(decoders), Some(CaptionerDecoder { vocabulary, .. })) =
            (&self.decoders, captioner)
        else {
            return Err(MissingDecoder {
                decoder: "captioner",
                setting: "train.weights.captioning",
            });
        };
        let Some(captioner) = &decoders.captioner else {
            unreachable!("a configured captioner has weights, or the file was refused")
        };
        let regions = self.muse.projection.forward(self.regions(picture)); // I_e
        Ok((captioner, vocabulary, decoders.regions(regions)))
    }

    /// Puts a photo through the image encoder: it can then be scored with any number of captions. (Blind decoders spare the
    /// encoder the work.)
    pub fn encode_photo(&self, photo: &Pixels) -> EncodedPhoto {
        let regions = match self.is_blind() {
            true => {
                let channels = self.config.image.encoder.channels();
                Tensor::zeros([1, REGIONS, channels], &self.device)
            }
            false => self.regions(photo),
        };
        EncodedPhoto {
            picture: Arc::new(Picture::Encoded(Box::new(regions))),
            thumbnail: Arc::new(Thumbnail::new(photo)),
        }
    }

    /// The image encoder's regions, `[1, 64, C]`.
    fn regions(&self, picture: &Pixels) -> Tensor<3> {
        let preparation = &self.config.image.preparation;
        let shape = [1, 3, preparation.size, preparation.size];
        let pixels = TensorData::new(prepare(picture, preparation), shape);
        let pixels = Tensor::from_data(pixels, &self.device);
        self.muse.image.regions(pixels)
    }

    /// The image generator, and the `[CLS]` row of T_n `[1, d]` of a caption: what it draws. Of a caption longer than the
    /// model's window only the beginning counts.
    ///
    /// # Errors
    ///
    /// When the model has no image generator.
    pub fn generation_inputs(
        &self,
        caption: &str,
    ) -> Result<(&PixelCnn, Tensor<2>), MissingDecoder> {
        let Some((decoders, generator)) = self
            .decoders
            .as_ref()
            .and_then(|decoders| Some((decoders, decoders.generator.as_ref()?)))
        else {
            return Err(MissingDecoder {
                decoder: "image generator",
                setting: "train.weights.generation",
            });
        };
        let words: Vec<String> = split(caption).into_iter().map(|word| word.text).collect();
        let example = Example::unlabelled(self.first_window(&words), None);
        let batch = self.batch(std::slice::from_ref(&example));
        let text = self.muse.encode_text(&batch); // T_e [1, N, d]
        let row = text.narrow(1, 0, 1).squeeze_dim::<2>(1);
        Ok((generator, decoders.condition(row)))
    }

    /// Of a caption longer than the model's window the beginning that [`Self::generation_inputs`] reads; `None` of others.
    pub fn words_read<'a>(&self, caption: &'a str) -> Option<&'a str> {
        let split = split(caption);
        let words: Vec<String> = split.iter().map(|word| word.text.clone()).collect();
        let windows = self.tokenizer.windows(&words, self.config.max_pieces);
        let last = windows[0].words.end.checked_sub(1)?;
        (windows.len() > 1).then(|| {
            let end = caption.char_indices().nth(split[last].end);
            &caption[..end.map_or(caption.len(), |(at, _)| at)]
        })
    }

    /// A caption's tokens in the captioner's vocabulary, start to end; `None` without a captioner. Of a caption longer than
    /// the model's window only the beginning counts.
    pub fn tokens(&self, words: &[String]) -> Option<Vec<u32>> {
        let captioner = self.config.decoders.as_ref()?.captioner.as_ref()?;
        let pieces = self.first_window(words).pieces;
        Some(captioner.vocabulary.encode(&pieces[1..pieces.len() - 1]))
    }

    /// How well the decoders do on captions and photos, pair by pair.
    pub fn scores(&self, pairs: &[(&[String], &EncodedPhoto)]) -> DecoderScores {
        let (Some(sizes), Some(decoders)) = (&self.config.decoders, &self.decoders) else {
            return DecoderScores::default();
        };
        let (examples, targets): (Vec<Example>, Vec<_>) = pairs
            .iter()
            .map(|(words, photo)| {
                let picture = Arc::clone(&photo.picture);
                let target = DecoderTarget {
                    tokens: self.tokens(words),
                    thumbnail: (sizes.generator.as_ref()).map(|_| Arc::clone(&photo.thumbnail)),
                };
                let text = self.first_window(words);
                (Example::unlabelled(text, Some(picture)), Some(target))
            })
            .unzip();
        let size = MicrobatchSize::CPU;
        let Some(batch) = DecoderBatch::new(&targets, sizes, size, &self.device) else {
            return DecoderScores::default();
        };
        let encoded = match decoders.is_blind() {
            true => {
                let d = self.config.text.width();
                let zeros = |rows| Tensor::zeros([examples.len(), rows, d], &self.device);
                Encoded {
                    text: zeros(1),
                    image: zeros(REGIONS),
                }
            }
            false => self.muse.encode(&self.batch(&examples)),
        };
        decoders.scores(&encoded, &batch)
    }

    fn is_blind(&self) -> bool {
        self.decoders.as_ref().is_some_and(Decoders::is_blind)
    }

    fn first_window(&self, words: &[String]) -> EncodedText {
        let mut windows = self.tokenizer.windows(words, self.config.max_pieces);
        windows.swap_remove(0).encoded
    }

    fn batch(&self, examples: &[Example]) -> Batch {
        Batch::new(examples, &self.config, self.tokenizer.pad(), &self.device)
    }
}

impl ModelFile {
    /// Leaves the decoders out.
    pub fn drop_decoders(&mut self) {
        self.config.decoders = None;
        self.state.retain(|name, _| !name.starts_with(PREFIX));
    }
}
