//! Requests as bytes.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::INGEST_KEY;

pub const JSON: (&str, &str) = ("Content-Type", "application/json");
pub const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

/// The ingest path with its key.
pub fn keyed() -> String {
    format!("/k/{INGEST_KEY}/api/v1/events")
}

/// A whole request of which the connection ends.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut all = vec![("Content-Length", length.as_str())];
    all.extend(headers);
    with_head(method, path, &all, body)
}

/// As [`request`], without a length of its own.
pub fn with_head(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n")
        .into_bytes();
    for (name, value) in headers {
        write!(bytes, "{name}: {value}\r\n").unwrap();
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// A good request but for its body.
pub fn post(body: &str) -> Vec<u8> {
    post_bytes(body.as_bytes())
}

/// As [`post`], for what is not text.
pub fn post_bytes(body: &[u8]) -> Vec<u8> {
    request("POST", &keyed(), &[JSON], body)
}

/// A good request but for its headers.
pub fn post_with(headers: &[(&str, &str)]) -> Vec<u8> {
    request("POST", &keyed(), headers, b"[]")
}

/// Chunked, in pieces of 64 KiB.
pub fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = with_head(
        "POST",
        &keyed(),
        &[JSON, ("Transfer-Encoding", "chunked")],
        b"",
    );
    for piece in body.chunks(64 * 1024) {
        write!(bytes, "{:x}\r\n", piece.len()).unwrap();
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}
