//! Errors as JavaScript sees them.

use std::fmt::Display;

use muse_core::tagger::TaggerError;
use wasm_bindgen::prelude::*;

/// What an error is about, for programs: an `Error`'s `code`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code {
    /// Not a model file of this version, or damaged.
    Model,
    /// Not a picture that can be read.
    Image,
    /// There is no such device, or it failed.
    Device,
}

/// An `Error` with its `code`.
pub(crate) fn failure(code: Code, message: &dyn Display) -> JsValue {
    let code = match code {
        Code::Model => "model",
        Code::Image => "image",
        Code::Device => "device",
    };
    let error = js_sys::Error::new(&message.to_string());
    // Setting a property of an object just made cannot fail.
    let _ = js_sys::Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

/// What a tagger refuses is the model's fault, or the device's.
pub(crate) fn of_tagger(error: TaggerError) -> JsValue {
    let code = match error {
        TaggerError::Device(_) => Code::Device,
        _ => Code::Model,
    };
    failure(code, &error)
}
