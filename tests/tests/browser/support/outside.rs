//! The rest of the internet, as far as the browser can tell: a proxy that writes down who is asked for and answers nobody.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What Chromium asks for on its own behalf, whatever the page.
const OWN_ERRANDS: [&str; 5] = [
    "accounts.google.com",
    "clients2.google.com",
    "content-autofill.googleapis.com",
    "optimizationguide-pa.googleapis.com",
    "update.googleapis.com",
];

/// The proxy. Its thread ends with the process.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Outside {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let outside = Self {
            port,
            asked: Arc::default(),
        };
        let asked = Arc::clone(&outside.asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(host) = refuse(stream) {
                    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                    asked.push(host);
                }
            }
        });
        outside
    }

    /// The browser's arguments for it.
    pub(crate) fn arguments(&self) -> [String; 2] {
        [
            format!("--proxy-server=http://127.0.0.1:{}", self.port),
            "--proxy-bypass-list=127.0.0.1".to_owned(),
        ]
    }

    /// The hosts that were asked for, without the browser's own errands.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .iter()
            .filter(|host| !OWN_ERRANDS.contains(&host.as_str()))
            .cloned()
            .collect()
    }
}

/// Answers that there is no way, and gives the host.
fn refuse(stream: TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut line).ok()?;
    let target = line.split_whitespace().nth(1)?;
    let host = target.split_once("://").map_or(target, |(_, rest)| rest);
    let host = host.split(['/', ':']).next()?.to_owned();
    let answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // The host counts even if the browser has given up.
    let _ = reader.into_inner().write_all(answer.as_bytes());
    Some(host)
}
