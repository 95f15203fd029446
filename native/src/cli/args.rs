//! The command line as it is written: subcommands, options, and the form of their values.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use super::values::{assignment, count, key_value, within};
use crate::data::Format;
use crate::device::DeviceChoice;

/// Finds the entities and the sentiment of captions, with or without their pictures.
#[derive(Debug, Parser)]
#[command(name = "muse", version, arg_required_else_help = true)]
pub(super) struct Raw {
    #[command(subcommand)]
    pub(super) command: RawCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum RawCommand {
    /// Train a model
    Train(TrainArgs),
    #[cfg(feature = "studies")]
    #[command(flatten)]
    Study(crate::studies::Study),
    /// Mark the entities of captions and tell their sentiment
    Tag(TagArgs),
    /// Describe a photo, and draw where each word looked
    Caption(CaptionArgs),
    /// Paint small pictures of a text
    Imagine(ImagineArgs),
    /// Score a model on labelled data
    Eval(EvalArgs),
    /// Write a model file with weights of another precision
    Export(ExportArgs),
    /// Tell what a model file or a training configuration is made of
    Info(InfoArgs),
}

#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// The configuration, a TOML file
    pub(super) config: PathBuf,
    /// Folder of the run: configuration, metrics, checkpoints and the best model [default: runs/ and the
    /// configuration's name]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Model file to start from, instead of the configuration's model.init
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    pub(super) init: Option<PathBuf>,
    /// Go on from the last checkpoint in the run's folder
    #[arg(long)]
    pub(super) resume: bool,
    /// Override a setting of the configuration; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(super) overrides: Vec<String>,
    /// Where to train
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub(super) device: DeviceChoice,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Streams: --jsonl reads one JSON object a line, from --input or standard input:
  {\"text\": \"...\", \"image\": \"photo.jpg\"}  or  {\"words\": [\"...\"]}; an image's path is relative to the
  input file, or to the current folder. Each line is answered by one line in the same order: the object with
  \"entities\" and \"sentiment\" put in, its other fields as they were. A line that cannot be tagged is answered
  by {\"line\": N, \"error\": \"...\"}. With --conll the stream is answered in CoNLL instead, and what cannot be
  tagged goes to standard error.

Positions count Unicode characters (scalar values), the end exclusive; for \"words\", in the words joined by
single spaces.")]
pub(super) struct TagArgs {
    /// The caption; - reads it from standard input
    #[arg(value_name = "CAPTION")]
    pub(super) caption: Option<String>,
    /// Model file
    #[arg(long, value_name = "MODEL")]
    pub(super) model: PathBuf,
    /// The caption's picture: JPEG, PNG, WebP or GIF
    #[arg(long, value_name = "FILE", requires = "caption", conflicts_with_all = ["jsonl", "input"])]
    pub(super) image: Option<PathBuf>,
    /// Hide entities whose confidence is lower
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = within(0.0_f32..=1.0))]
    pub(super) threshold: f32,
    /// Print JSON
    #[arg(long, conflicts_with_all = ["jsonl", "conll", "input"])]
    pub(super) json: bool,
    /// Tag a stream of JSON lines
    #[arg(long, conflicts_with = "caption")]
    pub(super) jsonl: bool,
    /// Print tagged CoNLL, for another training to read
    #[arg(long)]
    pub(super) conll: bool,
    /// File of JSON lines to tag; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "caption")]
    pub(super) input: Option<PathBuf>,
    /// At most so many captions of a stream are tagged at a time [default: 4 on the CPU, 32 on a GPU]
    #[arg(long, value_name = "N", value_parser = count(1..=4096))]
    pub(super) batch_size: Option<usize>,
    /// Where to run; opening a GPU costs more time than a few captions take
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub(super) device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(super) struct CaptionArgs {
    /// The photo: JPEG, PNG, WebP or GIF
    #[arg(value_name = "PHOTO")]
    pub(super) image: PathBuf,
    /// Model file, exported with its decoders
    #[arg(long, value_name = "MODEL")]
    pub(super) model: PathBuf,
    /// Captions that are followed side by side; 1 takes the likeliest piece each time
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = count(1..=100))]
    pub(super) beams: usize,
    /// The greatest length, in word pieces
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = count(1..=200))]
    pub(super) max_len: usize,
    /// Draw where each word looked, into this PNG
    #[arg(long, value_name = "PNG")]
    pub(super) attention: Option<PathBuf>,
    /// Print JSON, with the other captions that were found
    #[arg(long)]
    pub(super) json: bool,
    /// Where to run
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub(super) device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(super) struct ImagineArgs {
    /// The text; of a long one only the beginning is read, 64 word pieces at most
    #[arg(value_name = "TEXT")]
    pub(super) caption: String,
    /// Model file, exported with its decoders
    #[arg(long, value_name = "MODEL")]
    pub(super) model: PathBuf,
    /// The PNG to write
    #[arg(short, long, value_name = "PNG")]
    pub(super) out: PathBuf,
    /// How many pictures; several make a grid
    #[arg(long = "n", value_name = "N", default_value = "1", value_parser = count(1..=256).try_map(NonZeroUsize::try_from))]
    pub(super) pictures: NonZeroUsize,
    /// Where the random numbers begin; each picture has its own
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(super) seed: u64,
    /// How much chance there is: 0 none, 1 as much as the model gives
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = within(0.0_f64..=100.0))]
    pub(super) temperature: f64,
    /// How many times a pixel is enlarged
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=64))]
    pub(super) scale: u32,
    /// Where the text is read; painting runs on the CPU
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub(super) device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// Model file
    #[arg(long, value_name = "MODEL")]
    pub(super) model: PathBuf,
    /// Labelled data, CoNLL (.txt, .conll), JSON lines (.jsonl) or captioned photos (.csv); several are scored one by one
    /// and pooled
    #[arg(long, value_name = "FILE", required = true)]
    pub(super) data: Vec<PathBuf>,
    /// Folder of the pictures that the IMGID lines of CoNLL name
    #[arg(long, value_name = "DIR")]
    pub(super) images: Option<PathBuf>,
    /// Read an entity type of the data as another; may be given several times
    #[arg(long, value_name = "TYPE=TYPE", value_parser = key_value)]
    pub(super) rename: Vec<(String, String)>,
    /// Split #word into # and word, as in Twitter-2017
    #[arg(long)]
    pub(super) split_hashtags: bool,
    /// Give the model the captions alone
    #[arg(long, conflicts_with_all = ["images", "random_images"])]
    pub(super) no_images: bool,
    /// Give each caption a random picture of this folder or JSON lines file instead of its own
    #[arg(long, value_name = "DIR|JSONL")]
    pub(super) random_images: Option<PathBuf>,
    /// Seed of the random pictures
    #[arg(long, default_value_t = 0, requires = "random_images")]
    pub(super) seed: u64,
    /// Join the words by single spaces, split them anew, and score character spans
    #[arg(long)]
    pub(super) resplit: bool,
    /// Pass over so many samples of each file, from the top
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) skip: usize,
    /// Take only so many samples of each file, after those passed over
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// The files' form, where their endings do not tell it
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,
    /// Score the decoders on the captions that come with a photo: what they gain from the other modality
    #[arg(long, conflicts_with_all = ["no_images", "random_images", "resplit", "batch_size"])]
    pub(super) decoders: bool,
    /// Compare with a model that was trained with train.blind_decoders
    #[arg(long, value_name = "MODEL", requires = "decoders")]
    pub(super) control: Option<PathBuf>,
    /// Print JSON; percentages become fractions
    #[arg(long)]
    pub(super) json: bool,
    /// Captions tagged at a time [default: 4 on the CPU, 32 on a GPU]
    #[arg(long, value_name = "N", value_parser = count(1..=4096))]
    pub(super) batch_size: Option<usize>,
    /// Where to run
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    pub(super) device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Model file; of several with one configuration the mean of their weights is written
    #[arg(required = true)]
    pub(super) models: Vec<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Precision of the weights in the file
    #[arg(long, value_enum)]
    pub(super) precision: RawPrecision,
    /// Write the decoders too, for `muse caption` and `muse imagine`; they are left out otherwise
    #[arg(long)]
    pub(super) with_decoders: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RawPrecision {
    /// 4 bytes a weight
    F32,
    /// 2 bytes a weight
    F16,
    /// 1 byte a weight, and a scale for each row
    Int8,
}

#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    /// Model file, or a training configuration (.toml)
    pub(super) model: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
