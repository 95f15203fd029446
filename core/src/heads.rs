//! The heads: what the model answers.

pub mod entities;
pub mod score;
pub mod sentiment;
