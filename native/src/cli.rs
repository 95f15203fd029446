//! The command line: parsed raw, then checked into what the commands take, once.

mod args;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use muse_core::file::Precision;

use self::args::{EvalArgs, Raw, RawCommand, RawPrecision, TagArgs, TrainArgs};

use crate::commands::{caption, eval, export, imagine, info, tag};
#[cfg(feature = "studies")]
use crate::studies::Study;
use crate::{output, train};

/// A checked command line.
#[derive(Debug)]
enum Command {
    Train(train::Options),
    #[cfg(feature = "studies")]
    Study(Study),
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
            #[cfg(feature = "studies")]
            RawCommand::Study(study) => Command::Study(study),
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
        let name = || self.config.file_stem().unwrap_or_default();
        train::Options {
            out: self.out.unwrap_or_else(|| Path::new("runs").join(name())),
            config: self.config,
            init: self.init,
            resume: self.resume,
            overrides: self.overrides,
            device: self.device,
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

/// Parses the command line, runs the command, and says how it went: 0 for done, 1 for an error, 2 for a command line
/// that makes no sense. A reader that goes away (`| head`) is no error.
pub fn main() -> ExitCode {
    let command = match Raw::parse().check() {
        Ok(command) => command,
        Err(error) => error.exit(),
    };
    let result = match command {
        Command::Train(options) => train::run(&options),
        #[cfg(feature = "studies")]
        Command::Study(study) => study.run(),
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
    use std::path::PathBuf;

    use super::*;
    use crate::device::DeviceChoice;

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
            "muse imagine text -o p.png --model m --temperature=-1",
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
