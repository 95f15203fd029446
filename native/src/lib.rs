//! MuSE at the command line: training, tagging, scoring.
//!
//! `main` parses, runs and gives back an exit code; everything it calls is here, so that tests and benches
//! reach it too. What the model is lives in `muse_core`; this crate adds files, threads and the terminal.

pub mod cli;
pub mod commands;
pub mod data;
pub mod device;
pub mod memory;
pub mod output;
pub mod pretrain;
pub mod pretrained;
pub mod reliability;
#[cfg(feature = "studies")]
pub mod studies;
pub mod tagger_pool;
pub mod train;
mod values;
pub mod workers;
