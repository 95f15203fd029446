//! What is sent for a request: a file, or what a test has put in its place.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use percent_encoding::percent_decode_str;

use super::{Shared, lock};

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
pub(super) async fn respond(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    // To the second, as a file's time is sent, a browser could not tell whether it was changed.
    request.headers_mut().remove(header::IF_MODIFIED_SINCE);
    let mut answer = take(&shared, &path).unwrap_or_default();
    tokio::time::sleep(answer.delay).await;
    let readable = matches!(method, Method::GET | Method::HEAD);
    let mut response = match answer.body.take() {
        Some(bytes) if readable => given(&path, bytes),
        _ => match path.strip_prefix(&shared.prefix) {
            // Relative addresses need the slash.
            Some("") => {
                let place = [(header::LOCATION, format!("{path}/"))];
                (StatusCode::MOVED_PERMANENTLY, place).into_response()
            }
            Some(below) if below.starts_with('/') => {
                *request.uri_mut() = below.parse().expect("a part of an address");
                next.run(request).await
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        },
    };
    if let Some(status) = answer.status {
        *response.status_mut() = StatusCode::from_u16(status).expect("a status of HTTP");
    }
    if answer.keep.is_some() || answer.pace.is_some() {
        response = slow(response, &answer).await;
    }
    let usual = [("cache-control".to_owned(), "no-cache".to_owned())];
    for (name, value) in usual.iter().chain(&shared.headers).chain(&answer.headers) {
        let name = HeaderName::try_from(name).expect("a header's name");
        let value = HeaderValue::try_from(value).expect("a header's value");
        response.headers_mut().insert(name, value);
    }
    lock(&shared.log).push(super::Request {
        method: method.to_string(),
        path,
        status: response.status().as_u16(),
    });
    response
}

/// The answer that was put in the place of `path`, which counts it as used.
fn take(shared: &Shared, path: &str) -> Option<Answer> {
    let below = path.strip_prefix(&shared.prefix)?;
    let below = percent_decode_str(below).decode_utf8().ok()?;
    let mut answers = lock(&shared.answers);
    let answer = answers.get_mut(below.as_ref())?;
    match &mut answer.times {
        Some(0) => return None,
        Some(times) => *times -= 1,
        None => {}
    }
    Some(answer.clone())
}

/// A test's bytes, of the type that the path tells; a folder's is that of its page.
fn given(path: &str, bytes: Vec<u8>) -> Response {
    let mime = match path.ends_with('/') {
        true => "text/html".to_owned(),
        false => mime_guess::from_path(path)
            .first_or_octet_stream()
            .to_string(),
    };
    ([(header::CONTENT_TYPE, mime)], bytes).into_response()
}

/// The same under its whole length, but not all of it, or not at once.
async fn slow(response: Response, answer: &Answer) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("a file's bytes");
    parts
        .headers
        .insert(header::CONTENT_LENGTH, bytes.len().into());
    let rest = bytes.slice(..answer.keep.unwrap_or(bytes.len()).min(bytes.len()));
    let broken = answer.keep.is_some();
    let (step, pause) = answer.pace.unwrap_or((1 << 16, Duration::ZERO));
    let pieces = stream::unfold((rest, Duration::ZERO), move |(mut rest, wait)| async move {
        tokio::time::sleep(wait).await;
        if rest.is_empty() {
            let cut = io::Error::other("cut off, as the test wants it");
            return broken.then_some((Err(cut), (Bytes::new(), Duration::ZERO)));
        }
        let piece = rest.split_to(step.clamp(1, rest.len()));
        Some((Ok(piece), (rest, pause)))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}
