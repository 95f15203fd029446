//! Entities.

pub mod crf;
