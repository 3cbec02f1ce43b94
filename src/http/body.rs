//! Bodies of requests: small ones read whole, and what nobody read taken off the wire.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::timeout;
use warp::Buf;
use warp::http::StatusCode;

use super::ApiError;

/// A client that sent nothing for so long is not in the middle of sending.
const NOTHING_COMES: Duration = Duration::from_millis(500);

/// Reads a small body whole.
///
/// # Errors
/// 413 when it is longer than `limit_bytes`, 408 when it is not there in time,
/// 400 when the connection breaks.
pub(super) async fn read_small<S, B, E>(
    stream: S,
    limit_bytes: usize,
    within: Duration,
) -> Result<Vec<u8>, ApiError>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let mut stream = pin!(stream);
    let read = async {
        let mut whole = Vec::new();
        while let Some(chunk) = stream.next().await {
            let mut chunk = chunk.map_err(|_| broken())?;
            if whole.len() + chunk.remaining() > limit_bytes {
                return Err(too_large(limit_bytes));
            }
            while chunk.has_remaining() {
                let part = chunk.chunk();
                whole.extend_from_slice(part);
                let length = part.len();
                chunk.advance(length);
            }
        }
        Ok(whole)
    };
    timeout(within, read).await.unwrap_or_else(|_| Err(late()))
}

fn broken() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "broken_body",
        "the body ended before its end",
    )
}

fn late() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_timeout",
        "the body did not arrive in time",
    )
}

fn too_large(limit_bytes: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        "the body is too long",
    )
    .with("maxBytes", limit_bytes)
}

/// A request's body that can still be emptied after its handler has let go of it.
///
/// An answer that is written while the client still sends, on a connection that
/// is then closed, is lost: the client sees a broken connection and tries
/// again, where it was to learn that its key is wrong.
pub(super) struct Kept<B>(Arc<Mutex<State<B>>>);

struct State<B> {
    body: B,
    seen_bytes: u64,
    is_over: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Kept<B> {
    pub(super) fn new(body: B) -> Self {
        Self(Arc::new(Mutex::new(State {
            is_over: body.is_end_stream(),
            body,
            seen_bytes: 0,
        })))
    }

    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Reads and throws away what is still coming. Gives up when more than
    /// `most_bytes` have been seen in all, after `within`, or when nothing
    /// comes for a while: the connection will then be closed.
    pub(super) async fn drain(mut self, most_bytes: u64, within: Duration) {
        let empty = async {
            while self.state().seen_bytes <= most_bytes {
                let next = poll_fn(|task| Pin::new(&mut self).poll_frame(task));
                match timeout(NOTHING_COMES, next).await {
                    Ok(Some(Ok(_))) => {}
                    Ok(Some(Err(_)) | None) | Err(_) => return,
                }
            }
        };
        let _ = timeout(within, empty).await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().is_over
    }

    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Kept<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut state = self.state();
        if state.is_over {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut state.body).poll_frame(task);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                state.seen_bytes += length as u64;
            }
            Poll::Ready(None | Some(Err(_))) => state.is_over = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state();
        state.is_over || state.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.state().body.size_hint()
    }
}
