//! `muse tag` as it is written: one caption, or a stream.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory};

use super::Cli;
use crate::commands::tag;
use crate::device::DeviceChoice;
use crate::values::{count, within};

/// What `muse tag` was given.
#[derive(Debug, Args)]
#[command(after_help = "\
Streams: --jsonl reads one JSON object a line, from --input or standard input:
  {\"text\": \"...\", \"image\": \"photo.jpg\"}  or  {\"words\": [\"...\"]}; an image's path is relative to the
  input file, or to the current folder. Each line is answered by one line in the same order: the object with
  \"entities\" and classes such as \"sentiment\" put in, its other fields as they were. A line that cannot be
  tagged is answered by {\"line\": N, \"error\": \"...\"}. With --conll the stream is answered in CoNLL instead,
  and what cannot be tagged goes to standard error.

Positions count Unicode characters (scalar values), the end exclusive; for \"words\", in the words joined by
single spaces.")]
pub(super) struct TagArgs {
    /// The caption; - reads it from standard input
    #[arg(value_name = "CAPTION")]
    caption: Option<String>,
    /// Model file
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// The caption's picture: JPEG, PNG, WebP or GIF
    #[arg(long, value_name = "FILE", requires = "caption", conflicts_with_all = ["jsonl", "input"])]
    image: Option<PathBuf>,
    /// Hide entities whose confidence is lower [default: 0.4 of a calibrated model, else 0]
    #[arg(long, value_name = "0..1", value_parser = within(0.0_f32..=1.0))]
    threshold: Option<f32>,
    /// Annotate entities in this style; `muse info` lists the model's
    #[arg(long, value_name = "NAME")]
    style: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["jsonl", "conll", "input"])]
    json: bool,
    /// Tag a stream of JSON lines
    #[arg(long, conflicts_with = "caption")]
    jsonl: bool,
    /// Print tagged CoNLL, for another training to read
    #[arg(long)]
    conll: bool,
    /// File of JSON lines to tag; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "caption")]
    input: Option<PathBuf>,
    /// At most so many captions of a stream are tagged at a time by each core, or on the GPU [default: 4 on the CPU, 32 on a GPU]
    #[arg(long, value_name = "N", value_parser = count(1..=4096))]
    batch_size: Option<usize>,
    /// Where to run; opening a GPU costs more time than a few captions take
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
}

impl TagArgs {
    pub(super) fn check(self) -> Result<tag::Options, clap::Error> {
        let stream = self.jsonl || self.conll || self.input.is_some();
        let source = match self.caption {
            Some(caption) => tag::Source::One {
                caption: (caption != "-").then_some(caption),
                image: self.image,
            },
            None if stream => tag::Source::Stream {
                input: self.input.filter(|path| path.as_os_str() != "-"),
                batch_size: self.batch_size,
            },
            None => {
                return Err(usage(
                    "tag",
                    "give a caption (- reads it from standard input), or --jsonl for a stream",
                ));
            }
        };
        let format = match (
            self.conll,
            self.json || matches!(source, tag::Source::Stream { .. }),
        ) {
            (true, _) => tag::Format::Conll,
            (false, true) => tag::Format::Json,
            (false, false) => tag::Format::People,
        };
        Ok(tag::Options {
            model: self.model,
            device: self.device,
            threshold: self.threshold,
            style: self.style,
            source,
            format,
        })
    }
}

/// A fault of the command line that clap cannot see by itself; shown with the subcommand's usage.
fn usage(subcommand: &str, message: &str) -> clap::Error {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(command) => command.error(ErrorKind::MissingRequiredArgument, message),
        None => command.error(ErrorKind::MissingRequiredArgument, message),
    }
}
