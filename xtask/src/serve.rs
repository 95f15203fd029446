//! `cargo xtask serve`: the page on this machine, as the working copy has it.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use xtask::preview::{Changes, Preview};

use crate::{
    modules::{self, Build},
    project::Project,
    site,
};

/// Where looking for a free port begins, and how many are tried.
const FIRST: u16 = 8080;
const TRIES: u16 = 100;

/// Builds what is not up to date and serves it until Ctrl-C; what changes is built again.
pub(crate) fn run(project: &Project, port: Option<u16>, cpu_only: bool) -> Result<()> {
    // Now rather than after minutes of building.
    let port = free(port)?;
    eprintln!("serve: first the module for the CPU: some minutes, the first time");
    let models = site::models(&project.root)?.to_string();
    let cpu = modules::build(project, "cpu", Build::Dev, &|| false)?;
    let webgpu = modules::place(project, "webgpu", Build::Dev);
    let page = Preview::start(&project.root, [&cpu, &webgpu], models, port)
        .with_context(|| format!("cannot serve at port {port}"))?;
    println!("\n{}   (Ctrl-C ends it)\n", page.url());

    let (page, changes) = (Arc::new(page), Changes::watch(&project.root)?);
    loop {
        let stop = Arc::new(AtomicBool::new(false));
        let build = (!cpu_only).then(|| {
            let (project, page, stop) = (project.clone(), Arc::clone(&page), Arc::clone(&stop));
            thread::spawn(move || build_webgpu(&project, &page, &stop))
        });
        // Until the modules are no longer what the sources say.
        while !changes.wait() {
            page.reload();
        }
        page.set_webgpu(false);
        stop.store(true, Ordering::Relaxed);
        if let Some(build) = build {
            let _ = build.join();
        }
        match modules::build(project, "cpu", Build::Dev, &|| false) {
            Ok(_) => page.reload(),
            Err(error) => eprintln!("error: {error:#}"),
        }
    }
}

/// Builds WebGPU's module beside the page that is already there.
fn build_webgpu(project: &Project, page: &Preview, stop: &AtomicBool) {
    let stopped = || stop.load(Ordering::Relaxed);
    match modules::build(project, "webgpu", Build::Dev, &stopped) {
        Ok(_) => {
            page.set_webgpu(true);
            eprintln!("serve: WebGPU's module is ready; reload the page to use it");
        }
        Err(_) if stopped() => {}
        Err(error) => eprintln!("error: {error:#}; the page goes on with the CPU"),
    }
}

/// The port, or the first free one.
fn free(port: Option<u16>) -> Result<u16> {
    let ports = port.map_or(FIRST..=FIRST + TRIES, |port| port..=port);
    for port in ports {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot listen on port {port}"));
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
        let first = free(None).unwrap();
        assert!((FIRST..=FIRST + TRIES).contains(&first));
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert_ne!(free(None).unwrap(), first);
        let error = free(Some(first)).unwrap_err();
        assert!(error.to_string().contains("is in use"), "{error}");
        drop(held);
    }
}
