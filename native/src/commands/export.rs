//! `muse export`: a model file again, with weights of another precision.

use std::io::{self, Write};
use std::path::PathBuf;

use muse_core::file::Precision;

use super::load_model_file;
use crate::output;

/// What to write.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model file.
    pub model: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// The precision of its weights.
    pub precision: Precision,
}

/// Runs the command.
///
/// # Errors
///
/// When the model cannot be read or the file cannot be written.
pub fn run(options: Options) -> anyhow::Result<()> {
    let model = load_model_file(&options.model)?;
    let bytes = model.to_bytes(options.precision);
    output::write_file(&options.out, &bytes)?;
    let size = bytes.len() as f64 / 1e6;
    writeln!(
        io::stdout(),
        "{}: {size:.1} MB",
        output::plain(&options.out.to_string_lossy())
    )?;
    Ok(())
}
