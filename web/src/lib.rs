//! MuSE in the browser: [`muse_core`] behind a JavaScript class.
//!
//! ```js
//! const muse = new Muse(modelBytes);
//! const { entities, sentiment } = JSON.parse(muse.tag("Eileen Collins at NASA", photoBytes));
//! ```
//!
//! The model runs on the CPU. Offsets count Unicode scalars, not JavaScript's UTF-16 units.

use burn::tensor::Device;
use muse_core::image::pixels;
use muse_core::{Caption, Request, Tagger};
use wasm_bindgen::prelude::*;

/// A model that is ready to tag.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Muse {
    tagger: Tagger,
}

#[wasm_bindgen]
impl Muse {
    /// Loads a model file from its bytes.
    ///
    /// # Errors
    ///
    /// When the bytes are not a model file of this format version, or are damaged.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: &[u8]) -> Result<Muse, JsError> {
        Ok(Self {
            tagger: Tagger::from_bytes(bytes, &Device::flex())?,
        })
    }

    /// Tags a caption, with its picture (the bytes of a JPEG, PNG, WebP or GIF file) or without, and gives
    /// `{"entities": [{"type", "text", "start", "end", "first_word", "last_word", "score"}], "sentiment"}` as JSON.
    ///
    /// # Errors
    ///
    /// When the picture cannot be decoded.
    pub fn tag(&self, caption: String, image: Option<Vec<u8>>) -> Result<String, JsError> {
        let picture = image.as_deref().map(pixels::decode).transpose()?;
        let tagged = self.tagger.tag(&Request {
            caption: Caption::Text(caption),
            picture,
        });
        Ok(serde_json::to_string(&tagged)?)
    }
}
