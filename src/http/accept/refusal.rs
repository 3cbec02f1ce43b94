//! What hyper says by itself to a head that it refuses (malformed, too long)
//! becomes an answer like all others: a problem document with a request id.
//!
//! hyper asks nobody before it refuses a head, and has no hook for it. But its
//! answer goes out through our socket, as one write, and differs from all of
//! ours: it has no request id. Behind an answer that is still being written it
//! is not found, and goes out as it is.

use std::fmt;

use hyper::body::Bytes;
use warp::http::StatusCode;

/// What is said instead.
#[derive(Debug)]
pub struct RefusedHead {
    /// The request's id.
    pub request_id: String,
    /// The problem document.
    pub document: String,
}

/// Makes what is said instead; one a connection.
pub(super) struct Refuses(Box<dyn Fn(StatusCode) -> RefusedHead + Send + Sync>);

impl fmt::Debug for Refuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refuses").finish_non_exhaustive()
    }
}

impl Refuses {
    pub(super) fn new(refuse: impl Fn(StatusCode) -> RefusedHead + Send + Sync + 'static) -> Self {
        Self(Box::new(refuse))
    }

    /// The whole answer. Which route it was for is not known: a page that posts
    /// events from elsewhere may read it, too.
    pub(super) fn answer(&self, status: StatusCode) -> Bytes {
        let RefusedHead {
            request_id,
            document,
        } = (self.0)(status);
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n\
             content-length: {}\r\nx-request-id: {request_id}\r\n\
             x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n\
             cache-control: no-store\r\naccess-control-allow-origin: *\r\n\
             connection: close\r\n\r\n{document}",
            document.len()
        );
        Bytes::from(answer)
    }
}

/// The status of an answer of hyper's own, if these bytes are one.
pub(super) fn status_of_hypers_own(bytes: &[u8]) -> Option<StatusCode> {
    let status = match bytes.strip_prefix(b"HTTP/1.1 ")?.first_chunk()? {
        b"400 " => StatusCode::BAD_REQUEST,
        b"414 " => StatusCode::URI_TOO_LONG,
        b"431 " => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => return None,
    };
    let head = bytes.strip_suffix(b"\r\n\r\n")?;
    let is_ours = |text: &[u8]| memchr::memmem::find(head, text).is_some();
    (!is_ours(b"x-request-id") && !is_ours(b"\r\n\r\n")).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_refusal_without_an_id_is_hypers_own() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let others: [&[u8]; 5] = [
            b"HTTP/1.1 431 X\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 400 Bad Request\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
            b"HTTP/1.1 4",
        ];

        assert_eq!(
            status_of_hypers_own(own),
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        );
        for other in others {
            assert_eq!(status_of_hypers_own(other), None);
        }
    }
}
