//! From a caption to words, their shapes and their pieces, and back.

pub mod detokenizer;
pub mod shape;
pub mod splitter;
pub mod tokenizer;
