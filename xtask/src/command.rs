//! Running other programs.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, ErrorKind},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The cargo that runs us, in the checkout.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs it, its output going where ours goes; its failure is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", program(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", program(command));
    }
    Ok(())
}

/// Runs it and hands each line of its standard output on to `line`, and to our own.
pub(crate) fn run_lines(command: &mut Command, mut line: impl FnMut(&str)) -> Result<()> {
    announce(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program(command)))?;
    let stdout = child.stdout.take().context("no standard output")?;
    // Bytes, not `lines()`: a test may print what is no UTF-8, and that must not end the run.
    for bytes in BufReader::new(stdout).split(b'\n') {
        let text = bytes.with_context(|| format!("reading the output of {}", program(command)))?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        line(&text);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", program(command));
    }
    Ok(())
}

/// What it prints, or `None` when there is no such program or it fails.
pub(crate) fn output(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(_) => None,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                eprintln!("{}: {error}", program.display());
            }
            None
        }
    }
}

fn program(command: &Command) -> String {
    Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program())
        .display()
        .to_string()
}

fn announce(command: &Command) {
    let arguments: Vec<_> = command
        .get_args()
        .map(|a| a.display().to_string())
        .collect();
    eprintln!("$ {} {}", program(command), arguments.join(" "));
}
