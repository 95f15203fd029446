//! `muse export`: a model file again, with weights of another precision, or the mean of several.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use muse_core::file::{Mean, Precision};

use super::load_model_file;
use crate::output;

/// What to write.
#[derive(Debug, Args)]
pub struct Options {
    /// Model file; of several with one configuration the mean of their weights is written
    #[arg(required = true)]
    pub models: Vec<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Precision of the weights in the file
    #[arg(long, value_enum)]
    pub precision: PrecisionName,
    /// Write the decoders too, for `muse caption` and `muse imagine`; they are left out otherwise
    #[arg(long)]
    pub with_decoders: bool,
}

/// A precision as the command line names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PrecisionName {
    /// 4 bytes a weight
    F32,
    /// 2 bytes a weight
    F16,
    /// 1 byte a weight, and a scale for each row
    Int8,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::F16 => Self::F16,
            PrecisionName::Int8 => Self::Int8,
        }
    }
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
    let bytes = model.to_bytes(options.precision.into());
    output::write_file(&options.out, &bytes)?;
    let size = bytes.len() as f64 / 1e6;
    writeln!(
        io::stdout(),
        "{}: {size:.1} MB",
        output::plain(&options.out.to_string_lossy())
    )?;
    Ok(())
}
