//! The console's files, embedded into the binary (a debug build reads them from `console/dist`).
//!
//! Names under `assets/` hold a hash of their content and are kept by browsers
//! for ever; everything else is asked for anew each time, at the cost of a 304.

use rust_embed::{EmbeddedFile, RustEmbed};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, StatusCode, header};

use super::request::head;
use super::{ApiError, Head, Response};

/// Only our own files and our own sockets; styles may stand in the page, scripts may not.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
    img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <title>Mimamori</title><h1>Mimamori is running</h1>\
    <p>This program was built without its console. To build it, node is needed: \
    run <code>make build</code> in the source tree and start the program anew.</p>\
    <p>Ingest and all reading calls work without it.</p></html>";

#[derive(RustEmbed)]
#[folder = "console/dist"]
#[allow_missing = true]
struct Built;

/// Every path at which the console has a file, and `/`.
pub fn routes() -> BoxedFilter<(Response,)> {
    warp::path::full()
        .and_then(async |path: warp::path::FullPath| {
            find(path.as_str()).ok_or_else(warp::reject::not_found)
        })
        .and(head())
        .map(|found: Found, head: Head| {
            answer(found, &head)
                .unwrap_or_else(|error| error.into_response(&head.context.request_id))
        })
        .boxed()
}

/// What is at a path of the page.
enum Found {
    File { file: EmbeddedFile, is_hashed: bool },
    NotBuilt,
}

fn find(path: &str) -> Option<Found> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };
    match Built::get(name) {
        Some(file) => Some(Found::File {
            file,
            is_hashed: name.starts_with("assets/"),
        }),
        None => (path == "/").then_some(Found::NotBuilt),
    }
}

fn answer(found: Found, head: &Head) -> Result<Response, ApiError> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(ApiError::method_not_allowed("GET, HEAD"));
    }
    let mut response = match found {
        Found::File { file, is_hashed } => file_answer(file, is_hashed, head),
        Found::NotBuilt => {
            let mut response = Response::new(NOT_BUILT.into());
            insert(
                &mut response,
                header::CONTENT_TYPE,
                "text/html; charset=utf-8",
            );
            insert(&mut response, header::CACHE_CONTROL, "no-cache");
            response
        }
    };
    insert(
        &mut response,
        header::CONTENT_SECURITY_POLICY,
        CONTENT_SECURITY_POLICY,
    );
    Ok(response)
}

fn file_answer(file: EmbeddedFile, is_hashed: bool, head: &Head) -> Response {
    let tag = entity_tag(&file);
    let mut response = if is_known(head, &tag) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let kind = with_charset(file.metadata.mimetype());
        let mut response = Response::new(file.data.into_owned().into());
        insert(&mut response, header::CONTENT_TYPE, &kind);
        response
    };
    insert(&mut response, header::ETAG, &tag);
    let caching = if is_hashed {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    insert(&mut response, header::CACHE_CONTROL, caching);
    response
}

fn entity_tag(file: &EmbeddedFile) -> String {
    let hash = blake3::Hash::from_bytes(file.metadata.sha256_hash()).to_hex();
    format!("\"{}\"", &hash[..32])
}

fn is_known(head: &Head, tag: &str) -> bool {
    head.header("if-none-match").is_some_and(|known| {
        known
            .split(',')
            .map(|one| one.trim().trim_start_matches("W/"))
            .any(|one| one == tag || one == "*")
    })
}

fn with_charset(kind: &str) -> String {
    let is_text = kind.starts_with("text/") || kind == "application/javascript";
    if is_text && !kind.contains("charset") {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_owned()
    }
}

fn insert(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests;
