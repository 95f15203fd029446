//! `cargo xtask serve`: the page on this machine.

use std::{io::ErrorKind, path::Path};

use anyhow::{Context, Result, bail};
use xtask::server::{Options, Server};

use crate::{project::Project, site::Site};

/// Where looking for a free port begins, and how many are tried.
const FIRST: u16 = 8080;
const TRIES: u16 = 100;

/// Builds what is not up to date and serves it until Ctrl-C.
pub(crate) fn run(project: &Project, profile: &str, port: Option<u16>) -> Result<()> {
    // Now rather than after minutes of building.
    if let Some(port) = port {
        drop(start(&project.root, Some(port))?);
    }
    let out = project.root.join("dist");
    Site::new(project, profile)?.build(&out)?;
    let server = start(&out, port)?;
    println!("\n{}   (Ctrl-C ends it)", server.url(""));
    server.wait();
    Ok(())
}

fn start(folder: &Path, port: Option<u16>) -> Result<Server> {
    let ports = match port {
        Some(port) => port..=port,
        None => FIRST..=FIRST + TRIES,
    };
    for candidate in ports {
        let options = Options {
            port: candidate,
            ..Options::default()
        };
        match Server::start(folder, options) {
            Ok(server) => return Ok(server),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot listen on port {candidate}"));
            }
        }
    }
    match port {
        Some(port) => bail!("port {port} is in use; without --port a free one is taken"),
        None => bail!("ports {FIRST} to {} are all in use", FIRST + TRIES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_said_so_or_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let first = start(folder.path(), None).unwrap();
        assert!((FIRST..=FIRST + TRIES).contains(&first.port()));
        let second = start(folder.path(), None).unwrap();
        assert_ne!(second.port(), first.port());
        let error = start(folder.path(), Some(first.port())).err().unwrap();
        assert!(error.to_string().contains("is in use"), "{error}");
    }
}
