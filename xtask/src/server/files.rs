//! From a request's path to a file of the folder.

use std::{fs, io, path::Path, time::UNIX_EPOCH};

use percent_encoding::percent_decode_str;

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found {
    File(File),
    /// A folder that was asked for without the slash at its end, which relative addresses need.
    Folder,
    Nothing,
}

/// A file as it is sent.
#[derive(Debug)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) mime: &'static str,
    /// Changes when the file does.
    pub(super) tag: String,
}

/// The path below `prefix`, decoded; `None` when it is outside or no text.
pub(super) fn below(prefix: &str, path: &str) -> Option<String> {
    let rest = path.strip_prefix(prefix)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let decoded = percent_decode_str(rest).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Looks for `path` in `folder` (which is canonical) and never outside of it, by whatever dots or links.
pub(super) fn find(folder: &Path, path: &str) -> io::Result<Found> {
    if path.is_empty() {
        return Ok(Found::Folder);
    }
    let name = path.trim_start_matches('/');
    let plain = |part: &str| part != ".." && part != "." && !part.contains(['\\', ':', '\0']);
    if !name.split('/').all(plain) {
        return Ok(Found::Nothing);
    }
    let mut place = match folder.join(name).canonicalize() {
        Ok(place) if place.starts_with(folder) => place,
        _ => return Ok(Found::Nothing),
    };
    if place.is_dir() {
        if !path.ends_with('/') {
            return Ok(Found::Folder);
        }
        place.push("index.html");
    } else if path.ends_with('/') {
        return Ok(Found::Nothing);
    }
    let Ok(metadata) = fs::metadata(&place) else {
        return Ok(Found::Nothing);
    };
    let changed = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    Ok(Found::File(File {
        bytes: fs::read(&place)?,
        mime: mime(&place.to_string_lossy()),
        tag: format!("\"{:x}-{changed:x}\"", metadata.len()),
    }))
}

/// The media type by the name's ending; a folder's is that of its page. Browsers refuse modules and streamed WebAssembly of a wrong type.
pub(super) fn mime(name: &str) -> &'static str {
    if name.ends_with('/') {
        return mime("index.html");
    }
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" | "md" | "sha256" | "ts" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "ico" => "image/x-icon",
        _ => "application/octet-stream",
    }
}
