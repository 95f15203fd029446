//! The command line: which subcommands there are. What each takes stands with it, and clap checks it.

pub(crate) mod tag;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::tag::TagArgs;
use crate::commands::{caption, eval, export, imagine, info};
#[cfg(feature = "studies")]
use crate::studies::Study;
use crate::{commands, output, pretrain, train};

/// Finds the entities of captions and their classes, such as the sentiment, with or without their pictures.
#[derive(Debug, Parser)]
#[command(name = "muse", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model
    Train(train::Options),
    /// Have a text encoder go on learning from plain text, for `muse train` to begin with
    Pretrain(pretrain::Options),
    #[cfg(feature = "studies")]
    #[command(flatten)]
    Study(Study),
    /// Mark the entities of captions and tell their classes, such as the sentiment
    Tag(TagArgs),
    /// Describe a photo, and draw where each word looked
    Caption(caption::Options),
    /// Paint small pictures of a text
    Imagine(imagine::Options),
    /// Score a model on labelled data
    Eval(eval::Options),
    /// Write a model file with weights of another precision
    Export(export::Options),
    /// Tell what a model file or a training configuration is made of
    Info(info::Options),
}

/// Parses the command line, runs the command, and says how it went: 0 for done, 1 for an error, 2 for a command line
/// that makes no sense. A reader that goes away (`| head`) is no error.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Train(options) => train::run(&options),
        Command::Pretrain(options) => pretrain::run(&options),
        #[cfg(feature = "studies")]
        Command::Study(study) => study.run(),
        Command::Tag(args) => match args.check() {
            Ok(options) => commands::tag::run(options),
            Err(error) => error.exit(),
        },
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

    use clap::CommandFactory;

    use super::*;
    use crate::commands::tag;
    use crate::device::DeviceChoice;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = line.split(' ').map(|word| word.replace('_', " "));
        Ok(Cli::try_parse_from(words)?.command)
    }

    fn is_refused(line: &str) -> bool {
        match parse(line) {
            Ok(Command::Tag(args)) => args.check().is_err(),
            other => other.is_err(),
        }
    }

    fn tag(line: &str) -> tag::Options {
        match parse(&format!("muse tag --model m {line}")) {
            Ok(Command::Tag(args)) => args.check().expect(line),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn clap_finds_no_fault() {
        Cli::command().debug_assert();
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
        assert_eq!(options.threshold, None);
        assert_eq!(tag("--json --threshold 0.25 a").threshold, Some(0.25));
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
            "muse calibrate m --out o",
            "muse calibrate m --data d",
            "muse export m --out o --precision f64",
            "muse train c --out o --set lr",
            "muse train c --out o --resume --init m",
            "muse train c --out o --device tpu",
            "muse pretrain",
            "muse pretrain c --init m",
            "muse sweep s",
            "muse sweep s --out o --set epochs",
            "muse sweep s --out o --redraw --dry-run",
            "muse sweep s --out o --redraw --only x",
        ] {
            assert!(is_refused(line), "{line}");
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
