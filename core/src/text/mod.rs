//! From a caption to the text encoder's hidden states.

pub mod bert;
pub mod detokenizer;
pub mod shape;
pub mod splitter;
pub mod tokenizer;
