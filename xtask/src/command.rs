//! Running other programs.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The cargo that runs us, in the checkout.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs it, its output going where ours goes; its failure is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = announce(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
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
        Ok(output) => output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                eprintln!("{}: {error}", program.display());
            }
            None
        }
    }
}

/// Says what is run; returns the program's name.
pub(crate) fn announce(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name();
    let name = name.unwrap_or(command.get_program()).display().to_string();
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.display().to_string())
        .collect();
    eprintln!("$ {name} {}", arguments.join(" "));
    name
}
