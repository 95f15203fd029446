//! Studies of trainings: many with varied settings (`muse sweep`), or one for each fold of the data (`muse crossfit`). They start
//! `muse train` as a child process, and read what it leaves behind; the trainer knows nothing of them.
//!
//! And of what came of them: what models say of text, for others to learn from (`muse label`); whether a model is as sure as it is
//! right (`muse calibrate`).

pub mod answer;
pub mod calibrate;
pub mod crossfit;
pub mod label;
pub mod launch;
pub mod plot;
pub mod sweep;

use clap::Subcommand;
use sha2::{Digest, Sha256};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Study {
    /// Train the settings of a sweep file with several seeds each: tables and plots
    Sweep(sweep::Options),
    /// Make soft labels, each by a model that did not see it; also a cross-validation
    Crossfit(crossfit::Options),
    /// Label text with the answers of models, for another to learn from
    Label(label::Options),
    /// Make a model as sure as it is right, by labelled data that it was not trained on
    Calibrate(calibrate::Options),
}

impl Study {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// See [`sweep::run`], [`crossfit::run`], [`label::run`] and [`calibrate::run`].
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Sweep(options) => sweep::run(&options),
            Self::Crossfit(options) => crossfit::run(&options),
            Self::Label(options) => label::run(&options),
            Self::Calibrate(options) => calibrate::run(&options),
        }
    }
}

/// Twelve hexadecimal digits of a text's SHA-256, which tell what a file or folder was made from.
fn id(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let digits = digest[..6].iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}
