//! MuSE in the browser: [`muse_core`] behind a JavaScript class.
//!
//! The package's worker (`web/js/worker.js`) is what calls it; pages use the package. Built twice, once for each device:
//! with the feature `cpu`, and with `webgpu`.
//!
//! All failures reach JavaScript as an `Error` with a `code`: `model`, `image` or `device`. A panic, such as that of an
//! allocation that fails, is a `WebAssembly.RuntimeError`; the module cannot be used after it.

mod answer;
mod device;
mod failure;
mod journal;

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::Device;
use muse_core::pixels::{self, Pixels};
use muse_core::tagger::Reading;
use muse_core::{Caption, EncodedPicture, Tagger};
use wasm_bindgen::prelude::*;

use crate::answer::{Description, Timings};
use crate::failure::{Code, failure};

/// Runs once, when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    journal::install();
}

/// What was logged since the last call, as JSON: `[{"level", "target", "message"}]`.
#[wasm_bindgen(js_name = takeLog)]
pub fn take_log() -> String {
    journal::take()
}

#[wasm_bindgen]
extern "C" {
    /// Milliseconds, of a page's and of a worker's clock alike.
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// A model that is ready to tag.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Muse {
    tagger: Rc<Tagger>,
    kind: device::Kind,
}

#[wasm_bindgen]
impl Muse {
    /// Loads a model file from its bytes onto `"cpu"` or `"webgpu"`.
    ///
    /// # Errors
    ///
    /// `model`: not a model file of this format version, or damaged. `device`: there is no such device, or it failed.
    pub async fn load(bytes: Vec<u8>, device: String) -> Result<Muse, JsValue> {
        let (device, kind): (Device, _) = device::open(&device).await?;
        let tagger = Tagger::from_bytes_async(&bytes, &device)
            .await
            .map_err(failure::of_tagger)?;
        let tagger = Rc::new(tagger);
        Ok(Self { tagger, kind })
    }

    /// Where it runs, as JSON: `{"kind", "name"}`.
    #[wasm_bindgen(getter)]
    pub fn device(&self) -> String {
        answer::json(&self.kind.describe())
    }

    /// What the model is, as JSON.
    pub fn describe(&self) -> String {
        answer::json(&Description::new(
            self.tagger.config(),
            self.tagger.weights(),
        ))
    }

    /// A pass over a caption of so many word pieces, with a picture or without: on a GPU it compiles the kernels.
    ///
    /// # Errors
    ///
    /// `device`: it failed. `model`: what it computes is no number.
    pub async fn warm(&self, pieces: usize, picture: bool) -> Result<(), JsValue> {
        let caption = vec!["a".to_owned(); pieces.saturating_sub(2)];
        let seen = picture.then(|| {
            self.tagger.encode_picture(&Pixels {
                width: 1,
                height: 1,
                rgb: vec![128; 3],
            })
        });
        let requests = [(Caption::Words(caption), seen)];
        let reading = self.tagger.read_async(&requests, true).await;
        self.tagger.decode(reading.map_err(failure::of_tagger)?);
        Ok(())
    }

    /// An empty job. `exchange` asks what the exchange did; `style` is the place of one among the model's, for its own choice none.
    pub fn job(&self, exchange: bool, style: Option<usize>) -> Job {
        Job {
            tagger: Rc::clone(&self.tagger),
            captions: Vec::new(),
            pictures: Vec::new(),
            exchange,
            style,
            reading: None,
            timings: Timings::default(),
        }
    }
}

/// A picture, before and after the image encoder has seen it: that it does once, however many captions it goes with.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Picture(Rc<RefCell<Look>>);

#[derive(Clone, Debug)]
enum Look {
    Pixels(Pixels),
    Encoded(EncodedPicture),
}

#[wasm_bindgen]
impl Picture {
    /// Decodes a JPEG, PNG, WebP or GIF (its first frame), turned upright.
    ///
    /// # Errors
    ///
    /// `image`: of another format, damaged or too large.
    pub fn decode(file: &[u8]) -> Result<Picture, JsValue> {
        Self::of(pixels::decode(file))
    }

    /// From `width × height` RGBA pixels; transparent parts are laid over white.
    ///
    /// # Errors
    ///
    /// `image`: empty, too large, or not of that size.
    #[wasm_bindgen(js_name = fromRgba)]
    pub fn from_rgba(rgba: &[u8], width: usize, height: usize) -> Result<Picture, JsValue> {
        Self::of(Pixels::from_rgba(rgba, width, height))
    }

    fn of(pixels: Result<Pixels, pixels::ImageError>) -> Result<Picture, JsValue> {
        let pixels = pixels.map_err(|error| failure(Code::Image, &error))?;
        Ok(Self(Rc::new(RefCell::new(Look::Pixels(pixels)))))
    }
}

/// Captions that are tagged together, in steps: between two of them the caller can look whether they are still wanted.
///
/// First all are added, then [`Self::look`] until it is done, then [`Self::read`] until it is done, then [`Self::finish`].
#[wasm_bindgen]
#[derive(Debug)]
pub struct Job {
    tagger: Rc<Tagger>,
    captions: Vec<String>,
    pictures: Vec<Option<Rc<RefCell<Look>>>>,
    exchange: bool,
    style: Option<usize>,
    reading: Option<Reading>,
    timings: Timings,
}

#[wasm_bindgen]
impl Job {
    /// Adds a caption without a picture.
    pub fn add(&mut self, caption: String) {
        self.captions.push(caption);
        self.pictures.push(None);
    }

    /// Adds a caption with its picture.
    #[wasm_bindgen(js_name = addWithPicture)]
    pub fn add_with_picture(&mut self, caption: String, picture: &Picture) {
        self.captions.push(caption);
        self.pictures.push(Some(Rc::clone(&picture.0)));
    }

    /// Shows the image encoder the next picture that it has not seen; whether there was one.
    ///
    /// # Errors
    ///
    /// `device`: it failed.
    pub async fn look(&mut self) -> Result<bool, JsValue> {
        let began = now();
        let mut pictures = self.pictures.iter().flatten();
        let unseen = pictures.find_map(|picture| match &*picture.borrow() {
            Look::Pixels(pixels) => Some((Rc::clone(picture), self.tagger.encode_picture(pixels))),
            Look::Encoded(_) => None,
        });
        let Some((picture, seen)) = unseen else {
            return Ok(false);
        };
        seen.ready().await.map_err(failure::of_tagger)?;
        picture.replace(Look::Encoded(seen));
        self.timings.picture += now() - began;
        Ok(true)
    }

    /// Reads at most so many of the windows that the captions are cut into; whether that was not yet all of them.
    ///
    /// # Errors
    ///
    /// `device`: it failed. `image`: a picture was not looked at. `model`: what it computes is no number.
    pub async fn read(&mut self, windows: usize) -> Result<bool, JsValue> {
        let began = now();
        if self.reading.is_none() {
            let mut requests = Vec::with_capacity(self.captions.len());
            for (caption, picture) in self.captions.iter().zip(&self.pictures) {
                let seen = match picture.as_ref().map(|picture| picture.borrow().clone()) {
                    None => None,
                    Some(Look::Encoded(seen)) => Some(seen),
                    Some(Look::Pixels(_)) => {
                        return Err(failure(Code::Image, &"the picture was not looked at"));
                    }
                };
                requests.push((Caption::Text(caption.clone()), seen));
            }
            self.reading = Some(self.tagger.begin(&requests));
        }
        if let Some(reading) = &mut self.reading {
            let read = self.tagger.read_some(reading, windows, self.exchange);
            read.await.map_err(failure::of_tagger)?;
        }
        self.timings.model += now() - began;
        Ok(self.done() < self.windows())
    }

    /// Windows of all captions; 0 before the first of them is read.
    #[wasm_bindgen(getter)]
    pub fn windows(&self) -> usize {
        self.reading.as_ref().map_or(0, Reading::windows)
    }

    /// Windows that were read.
    #[wasm_bindgen(getter)]
    pub fn done(&self) -> usize {
        self.reading.as_ref().map_or(0, Reading::done)
    }

    /// The answers as JSON, one object for each caption, with offsets in UTF-16 units.
    ///
    /// # Errors
    ///
    /// `model`: not all is read.
    pub fn finish(mut self) -> Result<String, JsValue> {
        let began = now();
        let reading = self.reading.take();
        let reading = reading.filter(|reading| reading.done() == reading.windows());
        let Some(reading) = reading else {
            return Err(failure(
                Code::Model,
                &"the captions were not read to the end",
            ));
        };
        let tagged = self.tagger.decode_in(reading, self.style);
        self.timings.decode = now() - began;
        Ok(answer::json(&answer::answers(
            &self.captions,
            tagged,
            self.timings,
        )))
    }
}
