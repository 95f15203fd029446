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

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use burn::tensor::Device;
use muse_core::image::pixels::{self, Pixels};
use muse_core::{Caption, SeenPicture, Tagger};
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

/// A model that is ready to tag. Its calls must not overlap: each is awaited before the next.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Muse {
    tagger: Tagger,
    kind: device::Kind,
    pictures: RefCell<BTreeMap<i32, Look>>,
    next: Cell<i32>,
}

/// A picture before and after the image encoder has seen it.
#[derive(Clone, Debug)]
enum Look {
    Pixels(Pixels),
    Seen(SeenPicture),
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
        Ok(Self {
            tagger,
            kind,
            pictures: RefCell::default(),
            next: Cell::new(0),
        })
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
    /// `device`: it failed.
    pub async fn warm(&self, pieces: usize, picture: bool) -> Result<(), JsValue> {
        let caption = vec!["a".to_owned(); pieces.saturating_sub(2)];
        let seen = picture.then(|| {
            self.tagger.see(&Pixels {
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

    /// Decodes a JPEG, PNG, WebP or GIF (its first frame), turned upright, and keeps it under the number that it gives.
    ///
    /// # Errors
    ///
    /// `image`: of another format, damaged or too large.
    #[wasm_bindgen(js_name = decodePicture)]
    pub fn decode_picture(&self, file: &[u8]) -> Result<i32, JsValue> {
        let pixels = pixels::decode(file).map_err(|error| failure(Code::Image, &error))?;
        Ok(self.keep(pixels))
    }

    /// Keeps a picture given as `width × height` RGBA pixels; transparent parts are laid over white.
    ///
    /// # Errors
    ///
    /// `image`: empty, too large, or not of that size.
    #[wasm_bindgen(js_name = rgbaPicture)]
    pub fn rgba_picture(&self, rgba: &[u8], width: usize, height: usize) -> Result<i32, JsValue> {
        let pixels =
            Pixels::from_rgba(rgba, width, height).map_err(|error| failure(Code::Image, &error))?;
        Ok(self.keep(pixels))
    }

    fn keep(&self, pixels: Pixels) -> i32 {
        let id = self.next.get();
        self.next.set(id.wrapping_add(1) & i32::MAX);
        self.pictures.borrow_mut().insert(id, Look::Pixels(pixels));
        id
    }

    /// Forgets a picture.
    #[wasm_bindgen(js_name = dropPicture)]
    pub fn drop_picture(&self, id: i32) {
        self.pictures.borrow_mut().remove(&id);
    }

    /// Tags captions, each with the picture of that number, or without one where it is -1. `exchange` asks what the
    /// exchange did. Gives JSON, one object for each caption, with offsets in UTF-16 units.
    ///
    /// # Errors
    ///
    /// `device`: it failed. `image`: no picture has that number.
    pub async fn tag(
        &self,
        captions: Vec<String>,
        pictures: Vec<i32>,
        exchange: bool,
    ) -> Result<String, JsValue> {
        let began = now();
        let mut requests = Vec::with_capacity(captions.len());
        for (index, caption) in captions.iter().enumerate() {
            let picture = match pictures.get(index) {
                Some(&id) if id >= 0 => Some(self.look(id).await?),
                _ => None,
            };
            requests.push((Caption::Text(caption.clone()), picture));
        }
        let looked = now();
        let reading = self.tagger.read_async(&requests, exchange).await;
        let reading = reading.map_err(failure::of_tagger)?;
        let read = now();
        let tagged = self.tagger.decode(reading);
        let timings = Timings {
            picture: looked - began,
            model: read - looked,
            decode: now() - read,
        };
        Ok(answer::json(&answer::answers(&captions, tagged, timings)))
    }

    /// The picture as the image encoder has seen it, once.
    async fn look(&self, id: i32) -> Result<SeenPicture, JsValue> {
        let look = self.pictures.borrow().get(&id).cloned();
        match look {
            Some(Look::Seen(seen)) => Ok(seen),
            Some(Look::Pixels(pixels)) => {
                let seen = self.tagger.see(&pixels);
                seen.ready().await.map_err(failure::of_tagger)?;
                self.pictures
                    .borrow_mut()
                    .insert(id, Look::Seen(seen.clone()));
                Ok(seen)
            }
            None => Err(failure(
                Code::Image,
                &format!("no picture has the number {id}"),
            )),
        }
    }
}
