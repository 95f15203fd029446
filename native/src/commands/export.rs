//! `muse export`: a model file again, with weights of another precision, or the mean of several.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use muse_core::file::{Mean, Precision};

use super::load_model_file;
use crate::output;

/// What to write.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model files, at least one; of several the mean is written.
    pub models: Vec<PathBuf>,
    /// The file to write.
    pub out: PathBuf,
    /// The precision of its weights.
    pub precision: Precision,
    /// Write the decoders, too.
    pub with_decoders: bool,
}

/// Runs the command.
///
/// # Errors
///
/// When a model cannot be read, when the models do not fit together, or when the file cannot be written.
pub fn run(options: Options) -> anyhow::Result<()> {
    let mut mean = Mean::default();
    for path in &options.models {
        let mut model = load_model_file(path)?;
        match options.with_decoders {
            true => ensure!(
                model.config.decoders.is_some(),
                "{} has no decoders; they come with a training whose train.weights.captioning or \
                 train.weights.generation is above 0",
                output::plain(&path.to_string_lossy())
            ),
            false => {
                model.drop_decoders();
                model.config.validate().with_context(|| {
                    format!(
                        "without its decoders {} is no model; to keep them, export it with --with-decoders",
                        output::plain(&path.to_string_lossy())
                    )
                })?;
            }
        }
        mean.add(model)
            .with_context(|| output::plain(&path.to_string_lossy()).into_owned())?;
    }
    let model = mean.finish().context("no model was given")?;
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
