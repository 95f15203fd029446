//! A build of cargo's, with a word every few seconds about how far it is.

use std::{
    io::{BufReader, Read},
    process::{ChildStderr, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::command;

/// How often a line appears.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs a build, or some of it: until `stopped`. What it says but for its progress goes where ours goes.
pub(crate) fn run(cargo: &mut Command, what: &str, stopped: &dyn Fn() -> bool) -> Result<()> {
    let name = command::announce(cargo);
    let mut child = cargo
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let stderr = child.stderr.take().context("no standard error")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || read(stderr, &sender));
    let (began, mut told, mut last) = (Instant::now(), Instant::now(), None);
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok((line, passing)) => match units(&line) {
                Some(units) => last = Some(units),
                // Other bars; and each crate by its name is no news beside how many they are.
                None if passing || line.is_empty() || line.contains("   Compiling ") => {}
                None => eprintln!("{line}"),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if stopped() {
            // Its compilers first: alone they would go on.
            let pid = child.id().to_string();
            let _ = command::output("pkill", &["-KILL", "-P", &pid]);
            child.kill()?;
            break;
        }
        if told.elapsed() >= PAUSE {
            let far = last.as_ref().map(|units| far(units, began.elapsed()));
            eprintln!(
                "{what}: {}",
                far.as_deref().unwrap_or("fetching what it needs")
            );
            told = Instant::now();
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

/// Hands on each line, and whether it is one of a progress, which cargo ends with a carriage return.
fn read(stderr: ChildStderr, lines: &Sender<(String, bool)>) {
    let mut line = Vec::new();
    for byte in BufReader::new(stderr).bytes().map_while(Result::ok) {
        if byte == b'\r' || byte == b'\n' {
            // Nobody listens when the build has ended in an error of ours.
            let text = String::from_utf8_lossy(&line).into_owned();
            let _ = lines.send((text, byte == b'\r'));
            line.clear();
        } else {
            line.push(byte);
        }
    }
}

/// How many crates are done, of how many, and which are under way.
type Units = (f64, f64, String);

/// From a line such as `Building [==>  ] 12/265: syn, burn-flex`.
fn units(line: &str) -> Option<Units> {
    let rest = line.split_once("Building [")?.1.split_once("] ")?.1;
    let (counts, now) = rest.split_once(": ")?;
    let (done, all) = counts.split_once('/')?;
    Some((done.parse().ok()?, all.parse().ok()?, now.to_owned()))
}

/// How far it is, and about how long it will take.
fn far((done, all, now): &Units, elapsed: Duration) -> String {
    let left = elapsed.as_secs_f64() * (all - done) / done.max(1.0) / 60.0;
    let left = match elapsed.as_secs() {
        0..15 => String::new(),
        _ => format!(", about {} min left", left.ceil().max(1.0)),
    };
    format!("{done} of {all} crates, {}{left}: {now}", clock(elapsed))
}

/// As minutes and seconds.
pub(crate) fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_progress_is_read_and_told_with_the_time_left() {
        let line = "    Building [=====>     ] 50/200: burn-flex, syn(build)";
        let read = units(line).unwrap();
        assert_eq!(units("warning: Building [x"), None);
        let told = |seconds| far(&read, Duration::from_secs(seconds));
        assert_eq!(told(5), "50 of 200 crates, 0:05: burn-flex, syn(build)");
        let later = "50 of 200 crates, 1:10, about 4 min left: burn-flex, syn(build)";
        assert_eq!(told(70), later);
    }
}
