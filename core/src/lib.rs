//! MuSE (arXiv:2309.02190): entities and sentiment of a caption and its picture,
//! by exchanging tokens between a text and an image Transformer.
//!
//! ```text
//! text  ─┐                             ┌─ entities
//!        ├ encoders → exchange → heads ┤
//! image ─┘     └─ decoders (training)  └─ sentiment
//! ```
//!
//! Each of these four is a module of that name; [`model`] joins encoders, exchange and heads. Settings and their checks are beside
//! what they are of, and [`config`] composes them.
//!
//! This crate knows tensors, text and pixels: no files, no terminal, no threads, no browser.
//! [`Tagger`] is the one way in for inference; [`model::Muse`] is what a trainer trains.

pub mod batch;
pub mod config;
pub mod decoders;
pub mod describer;
pub mod encoders;
pub mod exchange;
pub mod file;
pub mod heads;
mod layers;
pub mod load;
pub mod model;
pub mod objective;
pub mod pixels;
pub mod pretraining;
pub mod tagger;
pub mod text;
pub mod validate;
pub mod weights;

pub use config::MuseConfig;
pub use tagger::{Caption, Class, EncodedPicture, Entity, Exchange, Request, Tagged, Tagger};
