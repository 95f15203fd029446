//! What is sent for a request: a file, or what a test has put in its place.

use std::{io, time::Duration};

use http_body_util::{BodyExt, Full, channel::Channel, combinators::BoxBody};
use hyper::{
    Method, Request as HttpRequest, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};

use super::{
    Request, Shared,
    files::{self, File, Found},
    lock,
};

type Body = BoxBody<Bytes, io::Error>;

/// Takes the place of a path's own answer; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// This status instead of 200.
    pub status: Option<u16>,
    /// These bytes instead of the file's.
    pub body: Option<Vec<u8>>,
    /// Only so many bytes are sent, under the whole length; then the connection breaks.
    pub keep: Option<usize>,
    /// Waits so long before anything is sent.
    pub delay: Duration,
    /// Sends at most so many bytes at a time and waits so long after each.
    pub pace: Option<(usize, Duration)>,
    /// Headers besides, or instead of, the usual ones.
    pub headers: Vec<(String, String)>,
    /// For so many requests; later ones are served from the folder again.
    pub times: Option<usize>,
}

/// Answers a request and writes it into the log.
pub(super) async fn respond(shared: &Shared, request: &HttpRequest<Incoming>) -> Response<Body> {
    let raw = request.uri().path();
    let path = files::below(&shared.prefix, raw);
    let answer = path.as_deref().and_then(|path| take(shared, path));
    if let Some(answer) = &answer {
        tokio::time::sleep(answer.delay).await;
    }
    let mut response = build(shared, request, path.as_deref(), answer.as_ref());
    for (name, value) in &shared.headers {
        set(&mut response, name, value);
    }
    for (name, value) in answer.iter().flat_map(|answer| &answer.headers) {
        set(&mut response, name, value);
    }
    lock(&shared.log).push(Request {
        method: request.method().to_string(),
        path: raw.to_owned(),
        status: response.status().as_u16(),
    });
    response
}

/// The answer that was put in the place of `path`, which counts it as used.
fn take(shared: &Shared, path: &str) -> Option<Answer> {
    let mut answers = lock(&shared.answers);
    let answer = answers.get_mut(path)?;
    match &mut answer.times {
        Some(0) => return None,
        Some(times) => *times -= 1,
        None => {}
    }
    Some(answer.clone())
}

fn build(
    shared: &Shared,
    request: &HttpRequest<Incoming>,
    path: Option<&str>,
    answer: Option<&Answer>,
) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let found = match path.map(|path| files::find(&shared.folder, path)) {
        Some(Ok(found)) => found,
        Some(Err(_)) => return plain(StatusCode::INTERNAL_SERVER_ERROR),
        None => Found::Nothing,
    };
    let given = answer.and_then(|answer| answer.body.clone());
    let file = match (found, given) {
        (Found::File(file), None) => file,
        // What a test gives has no tag that a browser could have kept.
        (_, Some(bytes)) => File {
            bytes,
            mime: files::mime(path.unwrap_or_default()),
            tag: String::new(),
        },
        (Found::Folder, None) => {
            let mut response = plain(StatusCode::MOVED_PERMANENTLY);
            let target = format!("{}/", request.uri().path());
            set(&mut response, header::LOCATION.as_str(), &target);
            return response;
        }
        (Found::Nothing, None) => {
            let status = answer.and_then(|answer| answer.status);
            return plain(status.map_or(StatusCode::NOT_FOUND, status_code));
        }
    };
    let known = request.headers().get(header::IF_NONE_MATCH);
    if answer.is_none() && known.is_some_and(|known| known.as_bytes() == file.tag.as_bytes()) {
        return with_tag(plain(StatusCode::NOT_MODIFIED), &file.tag);
    }
    let length = file.bytes.len();
    let mut response = if request.method() == Method::HEAD {
        Response::new(empty())
    } else {
        Response::new(body(file.bytes.into(), answer))
    };
    if let Some(status) = answer.and_then(|answer| answer.status) {
        *response.status_mut() = status_code(status);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.mime));
    with_tag(response, &file.tag)
}

/// The bytes, whole and at once unless the answer says otherwise.
fn body(bytes: Bytes, answer: Option<&Answer>) -> Body {
    let keep = answer.and_then(|answer| answer.keep);
    let pace = answer.and_then(|answer| answer.pace);
    if keep.is_none() && pace.is_none() {
        return Full::new(bytes).map_err(|never| match never {}).boxed();
    }
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        let mut rest = bytes.slice(..keep.unwrap_or(bytes.len()).min(bytes.len()));
        let (step, pause) = pace.unwrap_or((1 << 16, Duration::ZERO));
        while !rest.is_empty() {
            let part = rest.split_to(step.clamp(1, rest.len()));
            if sender.send_data(part).await.is_err() {
                return; // The browser has gone.
            }
            tokio::time::sleep(pause).await;
        }
        if keep.is_some() {
            sender.abort(io::Error::other("cut off, as the test wants it"));
        }
    });
    body.boxed()
}

fn empty() -> Body {
    Full::default().map_err(|never| match never {}).boxed()
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

/// Lets browsers keep it, but ask each time whether it is still right.
fn with_tag(mut response: Response<Body>, tag: &str) -> Response<Body> {
    set(&mut response, header::CACHE_CONTROL.as_str(), "no-cache");
    if !tag.is_empty() {
        set(&mut response, header::ETAG.as_str(), tag);
    }
    response
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Sets a header; one that cannot be written is a mistake of the caller's and named.
fn set(response: &mut Response<Body>, name: &str, value: &str) {
    match (
        HeaderName::try_from(name),
        HeaderValue::try_from(value.to_owned()),
    ) {
        (Ok(name), Ok(value)) => {
            response.headers_mut().insert(name, value);
        }
        _ => eprintln!("server: `{name}: {value}` is no header"),
    }
}
