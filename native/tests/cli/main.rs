//! The real binary from end to end, on a tiny model whose answers are known (see `muse_tests`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use muse_tests::{ImageFormat, picture, write_tiny_model};
use serde_json::Value;
use tempfile::TempDir;

mod calibrate;
mod caption;
mod eval;
mod files;
mod imagine;
mod stream;
mod tag;

const CAPTION: &str = "Eileen Collins at Kennedy Space Center";

/// What a run of the binary left behind.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| write_tiny_model(Path::new(env!("CARGO_TARGET_TMPDIR"))))
}

fn muse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muse"));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// `muse tag` or `muse eval` with the tiny model.
fn with_model(subcommand: &str, arguments: &[&str]) -> Command {
    let mut command = muse(&[subcommand, "--model"]);
    command.arg(model()).args(arguments);
    command
}

fn feed(mut command: Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A run that fails early closes the pipe.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the binary ends");
    writer.join().expect("the input is written");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        code: output.status.code().expect("an exit code"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn run(command: Command) -> Ran {
    feed(command, b"")
}

fn done(command: Command) -> String {
    succeeded(run(command))
}

fn succeeded(ran: Ran) -> String {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

fn failed(command: Command) -> String {
    let ran = run(command);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.starts_with("error: ") && !ran.err.contains("panicked"),
        "{ran:?}"
    );
    ran.err
}

fn lines(out: &str) -> Vec<Value> {
    out.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn jpeg(color: [u8; 3]) -> Vec<u8> {
    picture(90, 60, color, ImageFormat::Jpeg)
}
