//! The program between the test and the browser.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running ChromeDriver; when it is dropped, it ends with all its browsers.
#[derive(Debug)]
pub(crate) struct Chromedriver {
    child: Child,
    port: u16,
}

impl Chromedriver {
    /// Starts it on a port of its own choice. It takes one for IPv4 and then wants the same for IPv6, which another
    /// program may have: then it gives up, and is asked again.
    pub(crate) fn start(program: &Path) -> Self {
        let mut said = Vec::new();
        for _ in 0..5 {
            match Self::try_start(program) {
                Ok(driver) => return driver,
                Err(words) => said.push(words),
            }
        }
        panic!("ChromeDriver does not start: {said:#?}");
    }

    /// The error is what it said.
    fn try_start(program: &Path) -> Result<Self, Vec<String>> {
        let mut child = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let output = child.stdout.take().expect("its output");
        let mut output = BufReader::new(output).lines().map_while(Result::ok);
        let mut said = Vec::new();
        for line in output.by_ref() {
            if let Some((_, port)) = line.split_once("started successfully on port ")
                && let Ok(port) = port.trim_end_matches('.').parse()
            {
                // It must never wait for somebody to read.
                std::thread::spawn(move || output.for_each(drop));
                return Ok(Self { child, port });
            }
            said.push(line);
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(said)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks it to end; a killed one would leave its browsers behind.
    fn shut_down(&mut self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            self.port
        )?;
        stream.read_to_end(&mut Vec::new())?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(std::io::ErrorKind::TimedOut.into())
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            eprintln!("ChromeDriver does not end by itself: {error}");
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
