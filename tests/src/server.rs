//! A web server for the loopback interface, which the browser tests make fail in all the ways that networks do.

mod answer;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use axum::{Router, middleware};
use tokio::sync::oneshot;
use tower_http::services::ServeDir;

pub use answer::Answer;

/// How a server is to behave; the default takes any free port and serves at `/`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The port, or 0 for any that is free.
    pub port: u16,
    /// Where the folder appears, such as `/some/where`; what lies outside is not found.
    pub prefix: String,
    /// Headers of every answer, such as `Access-Control-Allow-Origin`.
    pub headers: Vec<(String, String)>,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// The whole path as it was asked for, with the prefix, without a query.
    pub path: String,
    /// The status that was sent.
    pub status: u16,
}

/// What the requests share.
struct Shared {
    prefix: String,
    headers: Vec<(String, String)>,
    answers: Mutex<HashMap<String, Answer>>,
    log: Mutex<Vec<Request>>,
}

/// A server that runs in a thread of its own until it is dropped; dropping it also cuts its open connections.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Server {
    /// Serves `folder` on 127.0.0.1. The error's kind is `AddrInUse` when the port is taken.
    pub fn start(folder: impl AsRef<Path>, options: Options) -> io::Result<Self> {
        let files = Router::new().fallback_service(ServeDir::new(folder.as_ref().canonicalize()?));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let prefix = options.prefix.trim_end_matches('/').to_owned();
        let shared = Arc::new(Shared {
            prefix,
            headers: options.headers,
            answers: Mutex::default(),
            log: Mutex::default(),
        });
        let state = Arc::clone(&shared);
        let router = files.layer(middleware::from_fn_with_state(state, answer::respond));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener);
                let serving = async { axum::serve(listener?, router).await };
                // The end is a message, or a sender that is gone.
                tokio::select! {
                    ended = serving => ended.unwrap_or_else(|error| eprintln!("server: {error}")),
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            address,
            shared,
            running: Some((stop, thread)),
        })
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its origin, `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of `path` (relative, without a leading slash) below the prefix.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{}/{path}", self.origin(), self.shared.prefix)
    }

    /// From now on answers requests of `path` (below the prefix, beginning with `/`) so.
    pub fn answer(&self, path: &str, answer: Answer) {
        lock(&self.shared.answers).insert(path.to_owned(), answer);
    }

    /// Serves `path` from the folder again.
    pub fn restore(&self, path: &str) {
        lock(&self.shared.answers).remove(path);
    }

    /// All requests so far, in the order of their answers.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.log).clone()
    }

    /// How often `path` (below the prefix, beginning with `/`) was asked for with `GET`.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        let whole = format!("{}{path}", self.shared.prefix);
        lock(&self.shared.log)
            .iter()
            .filter(|request| request.method == "GET" && request.path == whole)
            .count()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        lock(&self.shared.log).clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// The guarded value, which stays usable after another thread panicked: it is never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
