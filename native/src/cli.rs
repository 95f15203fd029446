//! The command line: parsed raw, then checked into what the commands take, once.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use muse_core::file::Precision;

use crate::commands::{caption, eval, export, imagine, info, tag};
use crate::data::Format;
use crate::device::DeviceChoice;
use crate::{output, sweep, train};

/// Finds the entities and the sentiment of captions, with or without their pictures.
#[derive(Debug, Parser)]
#[command(name = "muse", version, arg_required_else_help = true)]
struct Raw {
    #[command(subcommand)]
    command: RawCommand,
}

#[derive(Debug, Subcommand)]
enum RawCommand {
    /// Train a model
    Train(TrainArgs),
    /// Train the settings of a sweep file with several seeds each: tables and plots
    Sweep(SweepArgs),
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
struct TrainArgs {
    /// The configuration, a TOML file
    config: PathBuf,
    /// Folder of the run: configuration, metrics, checkpoints and the best model
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Model file to start from
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// Go on from the last epoch's checkpoint in the run's folder
    #[arg(long)]
    resume: bool,
    /// Override a setting of the configuration; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
    /// Where to train
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Files of the folder: runs.csv (a row for each setting and seed), summary.csv (means and sample standard
deviations), and as .svg and .png table, curve-N-NAME, and for each of them NAME-learning. A sweep that was
interrupted, or whose file has changed, goes on with the same command: complete runs are not repeated.")]
struct SweepArgs {
    /// The sweep file: a base configuration, seeds, rows and curves, in TOML
    file: PathBuf,
    /// Folder of the runs, tables and plots
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Override a setting of every run, unless a row or curve has it; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
    /// Train only this row or curve (\"table\" is all rows); may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the runs and how far they are, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Train nothing; write the tables and plots of what is complete
    #[arg(long, conflicts_with_all = ["dry_run", "only"])]
    redraw: bool,
    /// Where to train
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
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
struct TagArgs {
    /// The caption; - reads it from standard input
    #[arg(value_name = "CAPTION")]
    caption: Option<String>,
    /// Model file
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// The caption's picture: JPEG, PNG, WebP or GIF
    #[arg(long, value_name = "FILE", requires = "caption", conflicts_with_all = ["jsonl", "input"])]
    image: Option<PathBuf>,
    /// Hide entities whose confidence is lower
    #[arg(long, value_name = "0..1", default_value_t = 0.0, value_parser = probability)]
    threshold: f32,
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
    /// At most so many captions of a stream are tagged at a time [default: 4 on the CPU, 32 on a GPU]
    #[arg(long, value_name = "N", value_parser = batch_size)]
    batch_size: Option<usize>,
    /// Where to run; opening a GPU costs more time than a few captions take
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
struct CaptionArgs {
    /// The photo: JPEG, PNG, WebP or GIF
    #[arg(value_name = "PHOTO")]
    image: PathBuf,
    /// Model file, exported with its decoders
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Captions that are followed side by side; 1 takes the likeliest piece each time
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = beams)]
    beams: usize,
    /// The greatest length, in word pieces
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = caption_length)]
    max_len: usize,
    /// Draw where each word looked, into this PNG
    #[arg(long, value_name = "PNG")]
    attention: Option<PathBuf>,
    /// Print JSON, with the other captions that were found
    #[arg(long)]
    json: bool,
    /// Where to run
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
struct ImagineArgs {
    /// The text
    #[arg(value_name = "TEXT")]
    caption: String,
    /// Model file, exported with its decoders
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// The PNG to write
    #[arg(short, long, value_name = "PNG")]
    out: PathBuf,
    /// How many pictures; several make a grid
    #[arg(long = "n", value_name = "N", default_value = "1", value_parser = pictures)]
    pictures: NonZeroUsize,
    /// Where the random numbers begin; each picture has its own
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// How much chance there is: 0 none, 1 as much as the model gives
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    temperature: f64,
    /// How many times a pixel is enlarged
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    scale: u32,
    /// Where the text is read; painting runs on the CPU
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
struct EvalArgs {
    /// Model file
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Labelled data, CoNLL (.txt, .conll) or JSON lines (.jsonl); several are scored one by one and pooled
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// Folder of the pictures that the IMGID lines of CoNLL name
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Read an entity type of the data as another; may be given several times
    #[arg(long, value_name = "TYPE=TYPE", value_parser = key_value)]
    rename: Vec<(String, String)>,
    /// Split #word into # and word, as in Twitter-2017
    #[arg(long)]
    split_hashtags: bool,
    /// Give the model the captions alone
    #[arg(long, conflicts_with_all = ["images", "random_images"])]
    no_images: bool,
    /// Give each caption a random picture of this folder or JSON lines file instead of its own
    #[arg(long, value_name = "DIR|JSONL")]
    random_images: Option<PathBuf>,
    /// Seed of the random pictures
    #[arg(long, default_value_t = 0, requires = "random_images")]
    seed: u64,
    /// Join the words by single spaces, split them anew, and score character spans
    #[arg(long)]
    resplit: bool,
    /// Pass over so many samples of each file, from the top
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// Take only so many samples of each file, after those passed over
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The files' form, where their endings do not tell it
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Score the decoders on the captions that come with a photo: what they gain from the other modality
    #[arg(long, conflicts_with_all = ["no_images", "random_images", "resplit"])]
    decoders: bool,
    /// Compare with a model that was trained with train.blind_decoders
    #[arg(long, value_name = "MODEL", requires = "decoders")]
    control: Option<PathBuf>,
    /// Print JSON, with fractions instead of percentages
    #[arg(long)]
    json: bool,
    /// Captions tagged at a time [default: 4 on the CPU, 32 on a GPU]
    #[arg(long, value_name = "N", value_parser = batch_size)]
    batch_size: Option<usize>,
    /// Where to run
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// Model file; of several with one configuration the mean of their weights is written
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Precision of the weights in the file
    #[arg(long, value_enum)]
    precision: RawPrecision,
    /// Write the decoders too, for `muse caption` and `muse imagine`; they are left out otherwise
    #[arg(long)]
    with_decoders: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RawPrecision {
    /// 4 bytes a weight
    F32,
    /// 2 bytes a weight
    F16,
    /// 1 byte a weight, and a scale for each row
    Int8,
}

#[derive(Debug, Args)]
struct InfoArgs {
    /// Model file, or a training configuration (.toml)
    model: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A checked command line.
#[derive(Debug)]
enum Command {
    Train(train::Options),
    Sweep(sweep::Options),
    Tag(tag::Options),
    Caption(caption::Options),
    Imagine(imagine::Options),
    Eval(eval::Options),
    Export(export::Options),
    Info(info::Options),
}

impl Raw {
    fn check(self) -> Result<Command, clap::Error> {
        Ok(match self.command {
            RawCommand::Train(args) => Command::Train(args.check()),
            RawCommand::Sweep(args) => Command::Sweep(args.check()),
            RawCommand::Tag(args) => Command::Tag(args.check()?),
            RawCommand::Caption(args) => Command::Caption(caption::Options {
                image: args.image,
                model: args.model,
                beams: args.beams,
                max_len: args.max_len,
                attention: args.attention,
                json: args.json,
                device: args.device,
            }),
            RawCommand::Imagine(args) => Command::Imagine(imagine::Options {
                caption: args.caption,
                model: args.model,
                out: args.out,
                pictures: args.pictures,
                seed: args.seed,
                temperature: args.temperature,
                scale: args.scale,
                device: args.device,
            }),
            RawCommand::Eval(args) => Command::Eval(args.check()),
            RawCommand::Export(args) => Command::Export(export::Options {
                models: args.models,
                out: args.out,
                precision: match args.precision {
                    RawPrecision::F32 => Precision::F32,
                    RawPrecision::F16 => Precision::F16,
                    RawPrecision::Int8 => Precision::Int8,
                },
                with_decoders: args.with_decoders,
            }),
            RawCommand::Info(args) => Command::Info(info::Options {
                path: args.model,
                json: args.json,
            }),
        })
    }
}

impl TrainArgs {
    fn check(self) -> train::Options {
        train::Options {
            config: self.config,
            out: self.out,
            init: self.init,
            resume: self.resume,
            overrides: joined(self.overrides),
            device: self.device,
        }
    }
}

impl SweepArgs {
    fn check(self) -> sweep::Options {
        sweep::Options {
            file: self.file,
            out: self.out,
            device: self.device,
            overrides: joined(self.overrides),
            only: self.only,
            action: match (self.dry_run, self.redraw) {
                (true, _) => sweep::Action::List,
                (false, true) => sweep::Action::Report,
                (false, false) => sweep::Action::Train,
            },
        }
    }
}

impl TagArgs {
    fn check(self) -> Result<tag::Options, clap::Error> {
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
            source,
            format,
        })
    }
}

impl EvalArgs {
    fn check(self) -> eval::Options {
        let pictures = match self.random_images {
            Some(from) => eval::Pictures::Random {
                from,
                seed: self.seed,
            },
            None if self.no_images => eval::Pictures::None,
            None => eval::Pictures::Own,
        };
        eval::Options {
            model: self.model,
            data: self.data,
            images: self.images,
            rename: BTreeMap::from_iter(self.rename),
            split_hashtags: self.split_hashtags,
            pictures,
            resplit: self.resplit,
            skip: self.skip,
            limit: self.limit,
            format: self.format,
            decoders: self.decoders,
            control: self.control,
            json: self.json,
            batch_size: self.batch_size,
            device: self.device,
        }
    }
}

/// A fault of the command line that clap cannot see by itself; shown with the subcommand's usage.
fn usage(subcommand: &str, message: &str) -> clap::Error {
    let mut command = Raw::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(command) => command.error(ErrorKind::MissingRequiredArgument, message),
        None => command.error(ErrorKind::MissingRequiredArgument, message),
    }
}

fn joined(pairs: Vec<(String, String)>) -> Vec<String> {
    let pairs = pairs.into_iter();
    pairs.map(|(key, value)| format!("{key}={value}")).collect()
}

fn key_value(pair: &str) -> Result<(String, String), String> {
    match pair.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().into(), value.trim().into()))
        }
        _ => Err("expected KEY=VALUE".into()),
    }
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

fn pictures(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse() {
        Ok(pictures) if pictures <= NonZeroUsize::MIN.saturating_add(255) => Ok(pictures),
        _ => Err("expected a whole number from 1 to 256".into()),
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(temperature) if (0.0..=100.0).contains(&temperature) => Ok(temperature),
        _ => Err("expected a number from 0 to 100".into()),
    }
}

fn beams(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(beams @ 1..=100) => Ok(beams),
        _ => Err("expected a whole number from 1 to 100".into()),
    }
}

fn caption_length(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(pieces @ 1..=200) => Ok(pieces),
        _ => Err("expected a whole number from 1 to 200".into()),
    }
}

fn batch_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 1..=4096) => Ok(size),
        _ => Err("expected a whole number from 1 to 4096".into()),
    }
}

/// Parses the command line, runs the command, and says how it went: 0 for done, 1 for an error, 2 for a command line
/// that makes no sense. A reader that goes away (`| head`) is no error.
pub fn main() -> ExitCode {
    let command = match Raw::parse().check() {
        Ok(command) => command,
        Err(error) => error.exit(),
    };
    let result = match command {
        Command::Train(options) => train::run(options),
        Command::Sweep(options) => sweep::run(options),
        Command::Tag(options) => tag::run(options),
        Command::Caption(options) => caption::run(options),
        Command::Imagine(options) => imagine::run(options),
        Command::Eval(options) => eval::run(options),
        Command::Export(options) => export::run(options),
        Command::Info(options) => info::run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::tell(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = line.split(' ').map(|word| word.replace('_', " "));
        Raw::try_parse_from(words)?.check()
    }

    fn tag(line: &str) -> tag::Options {
        match parse(&format!("muse tag --model m {line}")) {
            Ok(Command::Tag(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault() {
        Raw::command().debug_assert();
    }

    #[test]
    fn tag_tells_one_caption_from_a_stream() {
        let options = tag("--image p.jpg a_b");
        assert_eq!(options.format, tag::Format::People);
        let one = tag::Source::One {
            caption: Some("a b".into()),
            image: Some("p.jpg".into()),
        };
        assert_eq!(options.source, one);
        assert_eq!(options.device, DeviceChoice::Cpu);
        assert!(matches!(
            tag("-").source,
            tag::Source::One { caption: None, .. }
        ));
        assert_eq!(tag("--json a").format, tag::Format::Json);
        assert_eq!(tag("--conll a").format, tag::Format::Conll);
        let stream = |input: Option<&str>| tag::Source::Stream {
            input: input.map(PathBuf::from),
            batch_size: None,
        };
        assert_eq!(tag("--jsonl").source, stream(None));
        assert_eq!(tag("--jsonl").format, tag::Format::Json);
        assert_eq!(tag("--input x.jsonl").source, stream(Some("x.jsonl")));
        assert_eq!(tag("--jsonl --input -").source, stream(None));
        assert_eq!(tag("--conll --input x").format, tag::Format::Conll);
    }

    #[test]
    fn senseless_command_lines_are_refused() {
        for line in [
            "muse",
            "muse tag a",
            "muse tag --model m",
            "muse tag --model m --json",
            "muse tag --model m --jsonl a",
            "muse tag --model m --json --conll a",
            "muse tag --model m --jsonl --image p",
            "muse tag --model m --threshold 1.5 a",
            "muse tag --model m --threshold NaN a",
            "muse tag --model m --jsonl --batch-size 0",
            "muse caption p.jpg",
            "muse caption --model m",
            "muse caption p.jpg --model m --beams 0",
            "muse caption p.jpg --model m --max-len 0",
            "muse caption p.jpg --model m --max-len 201",
            "muse imagine text --model m",
            "muse imagine text -o p.png",
            "muse imagine text -o p.png --model m --n 0",
            "muse imagine text -o p.png --model m --n 257",
            "muse imagine text -o p.png --model m --temperature -1",
            "muse imagine text -o p.png --model m --temperature NaN",
            "muse imagine text -o p.png --model m --scale 65",
            "muse eval --model m",
            "muse eval --model m --data d --rename OTHER",
            "muse eval --model m --data d --no-images --random-images x",
            "muse eval --model m --data d --seed 1",
            "muse export m --out o",
            "muse export m --out o --precision f64",
            "muse train c --out o --set lr",
            "muse train c --out o --resume --init m",
            "muse train c --out o --device tpu",
            "muse sweep s",
            "muse sweep s --out o --set epochs",
            "muse sweep s --out o --redraw --dry-run",
            "muse sweep s --out o --redraw --only x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn train_hands_overrides_on() {
        let Ok(Command::Train(options)) =
            parse("muse train c.toml --out o --set a.b=1 --set c=x=y --resume")
        else {
            panic!("not a training");
        };
        assert_eq!(options.overrides, ["a.b=1", "c=x=y"]);
        assert!(options.resume);
        assert_eq!(options.device, DeviceChoice::Auto);
    }

    #[test]
    fn a_reader_that_went_away_is_told_apart() {
        let broken =
            anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot write");
        assert!(is_broken_pipe(&broken));
        let full = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(!is_broken_pipe(&full));
    }
}
