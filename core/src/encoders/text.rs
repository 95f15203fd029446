//! The text encoder.

pub mod bert;
