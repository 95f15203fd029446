//! `cargo xtask serve`: the page on this machine, as the working copy has it.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
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
    // Now rather than after minutes of building, in which also something may change.
    let listener = listen(port)?;
    let changes = Changes::watch(&project.root)?;
    site::models(&project.root)?;
    eprintln!("serve: first the module for the CPU; that takes some minutes, the first time");
    let cpu = modules::build(project, "cpu", Build::Dev, &|| false)?;
    let webgpu = modules::place(project, "webgpu", Build::Dev);
    let root = project.root.clone();
    let models = move || match site::models(&root) {
        Ok(models) => models.to_string(),
        Err(error) => format!("error: {error:#}"), // no JSON, which the page says
    };
    let page = Arc::new(Preview::start(
        &project.root,
        [&cpu, &webgpu],
        models,
        listener,
    )?);
    println!("\n{}   (Ctrl-C ends it)\n", page.url());

    let later: &[&str] = if cpu_only { &[] } else { &["webgpu"] };
    let mut builder = Builder::start(project, &page, later.to_vec());
    loop {
        let change = changes.wait();
        if change.page {
            page.reload();
        }
        if change.modules {
            builder.stop();
            page.set_webgpu(false);
            builder = Builder::start(project, &page, [&["cpu"], later].concat());
        }
    }
}

/// Builds modules beside the page that is already there.
struct Builder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Builder {
    fn start(project: &Project, page: &Arc<Preview>, modules: Vec<&'static str>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (project, page, stopping) = (project.clone(), Arc::clone(page), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let stopped = || stopping.load(Ordering::Relaxed);
            for name in modules {
                match modules::build(&project, name, Build::Dev, &stopped) {
                    Ok(_) if name == "cpu" => page.reload(),
                    Ok(_) => {
                        page.set_webgpu(true);
                        eprintln!("serve: WebGPU's module is ready; reload the page to use it");
                    }
                    Err(_) if stopped() => return,
                    Err(error) => return eprintln!("error: {error:#}; the page stays as it was"),
                }
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

/// At the port, or the first free one.
fn listen(port: Option<u16>) -> Result<TcpListener> {
    for candidate in port.map_or(FIRST..=FIRST + TRIES, |port| port..=port) {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)) {
            Ok(listener) => return Ok(listener),
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
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let first = listen(None).unwrap();
        assert!((FIRST..=FIRST + TRIES).contains(&port(&first)));
        assert_ne!(port(&listen(None).unwrap()), port(&first));
        let error = listen(Some(port(&first))).unwrap_err();
        assert!(error.to_string().contains("is in use"), "{error}");
    }
}
