//! The server as a browser sees it: whole requests over a socket.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;

/// A site with a page, a module, a file in a folder, and a secret beside it.
fn site() -> (TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("site");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(outer.path().join("secret.txt"), "secret").unwrap();
    fs::write(folder.join("index.html"), "<p>page").unwrap();
    fs::write(folder.join("a b.js"), "export {}").unwrap();
    fs::write(folder.join("m.wasm"), vec![7; 100_000]).unwrap();
    fs::write(folder.join("sub/index.html"), "<p>sub").unwrap();
    (outer, folder)
}

/// A reply: status, headers in lower case, and the bytes that came before the connection ended.
struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

fn send(server: &Server, method: &str, path: &str, headers: &str) -> Reply {
    let mut stream = TcpStream::connect(server.address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut bytes = Vec::new();
    // A reset is how a connection may break off.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    Reply {
        status: head[9..12].parse().unwrap(),
        headers: head.to_lowercase(),
        body: bytes[end..].to_vec(),
    }
}

fn get(server: &Server, path: &str) -> Reply {
    send(server, "GET", path, "")
}

#[test]
fn files_come_with_the_types_that_browsers_insist_on() {
    let (_outer, folder) = site();
    let server = Server::start(&folder, Options::default()).unwrap();
    for (path, mime, body) in [
        ("/", "text/html", &b"<p>page"[..]),
        ("/a%20b.js?v=1", "text/javascript", b"export {}"),
        ("/m.wasm", "application/wasm", &[7; 100_000]),
        ("/sub/", "text/html", b"<p>sub"),
    ] {
        let reply = get(&server, path);
        assert_eq!(reply.status, 200, "{path}");
        assert!(
            reply.headers.contains(&format!("content-type: {mime}")),
            "{path}: {}",
            reply.headers
        );
        assert!(
            reply
                .headers
                .contains(&format!("content-length: {}", body.len()))
        );
        assert_eq!(reply.body, body, "{path}");
    }
    let head = send(&server, "HEAD", "/m.wasm", "");
    assert!(head.headers.contains("content-length: 100000"));
    assert_eq!(head.body, b"");
    assert_eq!(send(&server, "POST", "/", "").status, 405);
}

#[test]
fn nothing_outside_of_the_folder_is_served() {
    let (_outer, folder) = site();
    let server = Server::start(&folder, Options::default()).unwrap();
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/sub/../../secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/sub/%00",
        "/%ff",
        "/nothing",
    ] {
        let reply = get(&server, path);
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.body, b"", "{path}");
    }
}

#[test]
fn a_changed_file_is_sent_however_soon() {
    let (_outer, folder) = site();
    let server = Server::start(&folder, Options::default()).unwrap();
    let first = get(&server, "/m.wasm");
    assert!(first.headers.contains("cache-control: no-cache"));
    fs::write(folder.join("m.wasm"), "changed").unwrap();
    let since = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
    assert_eq!(send(&server, "GET", "/m.wasm", since).body, b"changed");
}

#[test]
fn a_prefix_hides_everything_else() {
    let (_outer, folder) = site();
    let options = Options {
        prefix: "/some/where/".to_owned(),
        ..Options::default()
    };
    let server = Server::start(&folder, options).unwrap();
    assert!(server.url("m.wasm").ends_with("/some/where/m.wasm"));
    for path in ["m.wasm", "", "sub/", "a%20b.js?v=1"] {
        assert_eq!(
            get(&server, &format!("/some/where/{path}")).status,
            200,
            "{path}"
        );
    }
    assert_eq!(get(&server, "/m.wasm").status, 404);
    assert_eq!(get(&server, "/some/wherever/m.wasm").status, 404);
    let bare = get(&server, "/some/where");
    assert_eq!(bare.status, 301);
    assert!(bare.headers.contains("location: /some/where/\r\n"));
    assert_eq!(server.requests()[4].path, "/m.wasm");
    assert_eq!(server.count("/m.wasm"), 1);
    server.clear_requests();
    assert_eq!(server.requests(), []);
}

#[test]
fn answers_can_be_replaced_for_a_while() {
    let (_outer, folder) = site();
    let server = Server::start(&folder, Options::default()).unwrap();
    server.answer(
        "/m.wasm",
        Answer {
            status: Some(503),
            times: Some(1),
            ..Answer::default()
        },
    );
    assert_eq!(get(&server, "/m.wasm").status, 503);
    assert_eq!(get(&server, "/m.wasm").status, 200);

    server.answer(
        "/new.js",
        Answer {
            body: Some(b"1".to_vec()),
            headers: vec![("X-Muse".to_owned(), "yes".to_owned())],
            ..Answer::default()
        },
    );
    let reply = get(&server, "/new.js");
    assert_eq!((reply.status, &reply.body[..]), (200, &b"1"[..]));
    assert!(reply.headers.contains("x-muse: yes"));
    assert!(reply.headers.contains("content-type: text/javascript"));
    server.restore("/new.js");
    assert_eq!(get(&server, "/new.js").status, 404);

    let page = Answer {
        body: Some(b"<!doctype html>".to_vec()),
        ..Answer::default()
    };
    server.answer("/", page);
    let reply = get(&server, "/");
    assert!(reply.headers.contains("content-type: text/html"));
}

#[test]
fn a_download_can_break_off_and_be_slow() {
    let (_outer, folder) = site();
    let server = Server::start(&folder, Options::default()).unwrap();
    server.answer(
        "/m.wasm",
        Answer {
            keep: Some(70_000),
            ..Answer::default()
        },
    );
    let reply = get(&server, "/m.wasm");
    assert!(reply.headers.contains("content-length: 100000"));
    assert_eq!(reply.body.len(), 70_000);

    let pause = Duration::from_millis(30);
    server.answer(
        "/m.wasm",
        Answer {
            delay: Duration::from_millis(50),
            pace: Some((40_000, pause)),
            ..Answer::default()
        },
    );
    let began = Instant::now();
    assert_eq!(get(&server, "/m.wasm").body, vec![7; 100_000]);
    assert!(began.elapsed() >= Duration::from_millis(50) + 2 * pause);
}

#[test]
fn every_answer_can_carry_headers_and_servers_run_side_by_side() {
    let (_outer, folder) = site();
    let open = Options {
        headers: vec![("Access-Control-Allow-Origin".to_owned(), "*".to_owned())],
        ..Options::default()
    };
    let one = Server::start(&folder, open).unwrap();
    let other = Server::start(&folder, Options::default()).unwrap();
    let allowed = "access-control-allow-origin: *";
    assert!(get(&one, "/").headers.contains(allowed));
    assert!(get(&one, "/nothing").headers.contains(allowed));
    assert!(!get(&other, "/").headers.contains(allowed));
    assert_eq!((one.requests().len(), other.requests().len()), (2, 1));
}

#[test]
fn a_dropped_server_is_gone_at_once_and_its_port_is_free() {
    let (_outer, folder) = site();
    let server = Server::start(&folder, Options::default()).unwrap();
    let port = server.port();
    let options = || Options {
        port,
        ..Options::default()
    };
    let taken = Server::start(&folder, options()).err().unwrap();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    // A connection that is kept open ends with it.
    let mut open = TcpStream::connect(server.address).unwrap();
    write!(open, "GET /sub/ HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut begun = Vec::new();
    while !begun.ends_with(b"<p>sub") {
        let mut byte = [0];
        open.read_exact(&mut byte).unwrap();
        begun.push(byte[0]);
    }
    drop(server);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    assert_eq!(open.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    let again = Server::start(&folder, options()).unwrap();
    assert_eq!(get(&again, "/").status, 200);
}
