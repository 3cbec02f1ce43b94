//! Reads a body within its bounds: of size on the wire and decoded, of time, and of memory over all requests.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use flate2::write::GzDecoder;
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use warp::http::{StatusCode, header};

use super::super::{ApiError, Head};
use super::media::Coding;
use super::too_large;

/// As large as a body may be once it is decoded.
pub(super) const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// As much as is read from the wire at all, what is thrown away included.
const MAX_WIRE_BYTES: usize = 16 * 1024 * 1024;
/// A client that sent nothing for so long is not in the middle of sending.
const QUIET: Duration = Duration::from_secs(1);
/// What unpacking takes besides the body.
const GZIP_BYTES: usize = 128 * 1024;
/// In these units memory is counted.
const UNIT_BYTES: usize = 1024;

/// A body, decoded, with the memory it takes.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) held: Held,
}

/// The memory that all bodies in hand may take together.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT_BYTES)))
    }

    pub(super) fn hold_nothing(&self) -> Held {
        Held {
            room: self.clone(),
            permits: None,
            units: 0,
        }
    }
}

/// The bodies in hand take all the memory they may.
#[derive(Debug)]
pub(super) struct Full;

impl Full {
    pub(super) fn refuse(&self) -> ApiError {
        ApiError::unavailable(
            "overloaded",
            "the server has too many requests in hand",
            Duration::from_secs(1),
        )
    }
}

/// A part of the [`Room`], given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Room,
    permits: Option<OwnedSemaphorePermit>,
    units: u32,
}

impl Held {
    /// Takes this much more, or nothing.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| Full)?;
        let more = Arc::clone(&self.room.0)
            .try_acquire_many_owned(units)
            .map_err(|_| {
                metrics::counter!("mimamori_ingest_overloaded_requests_total").increment(1);
                Full
            })?;
        match &mut self.permits {
            Some(permits) => permits.merge(more),
            None => self.permits = Some(more),
        }
        self.units += units;
        gauge().increment(in_bytes(units));
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        gauge().decrement(in_bytes(self.units));
    }
}

fn gauge() -> metrics::Gauge {
    metrics::gauge!("mimamori_ingest_bodies_bytes")
}

fn in_bytes(units: u32) -> f64 {
    f64::from(units) * UNIT_BYTES as f64
}

/// Why a body ended before its end.
enum Broken {
    TimedOut,
    /// The client went away, or its chunks made no sense.
    Failed,
}

/// A body on its way in.
pub(super) struct Incoming<S> {
    stream: S,
    deadline: Instant,
    taken: usize,
    is_over: bool,
    has_failed: bool,
}

impl<S, B, E> Incoming<S>
where
    S: Stream<Item = Result<B, E>> + Unpin,
    B: Buf,
{
    /// All of the body must be there within `timeout` from now.
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            deadline: Instant::now() + timeout,
            taken: 0,
            is_over: false,
            has_failed: false,
        }
    }

    /// Whether all of it was read, so that the connection can be used again.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        match timeout_at(self.deadline, self.stream.next()).await {
            Err(_) => {
                self.has_failed = true;
                Err(Broken::TimedOut)
            }
            Ok(Some(Err(_))) => {
                self.has_failed = true;
                Err(Broken::Failed)
            }
            Ok(Some(Ok(mut chunk))) => {
                let chunk = chunk.copy_to_bytes(chunk.remaining());
                self.taken += chunk.len();
                metrics::counter!("mimamori_ingest_body_bytes_total").increment(chunk.len() as u64);
                Ok(Some(chunk))
            }
            Ok(None) => {
                self.is_over = true;
                Ok(None)
            }
        }
    }

    /// Reads what is still coming, within the bounds of the wire and of time;
    /// who sends nothing for a while gets the answer then.
    pub(super) async fn throw_away(&mut self) {
        while !self.is_over && !self.has_failed && self.taken <= MAX_WIRE_BYTES {
            match timeout(QUIET, self.next()).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}

/// Reads and decodes the whole body.
///
/// # Errors
/// 413, 408, 503 when the bodies in hand take all the memory they may, and 400
/// for one that breaks off or is not in its declared coding.
pub(super) async fn read<S, B, E>(
    head: &Head,
    coding: Coding,
    incoming: &mut Incoming<S>,
    room: &Room,
) -> Result<Body, ApiError>
where
    S: Stream<Item = Result<B, E>> + Unpin,
    B: Buf,
{
    let limit = match coding {
        Coding::Identity => MAX_BODY_BYTES,
        // how large it is decoded will be seen
        Coding::Gzip => MAX_WIRE_BYTES,
    };
    if declared_length(head).is_some_and(|length| length > limit as u64) {
        return Err(too_large("too_large"));
    }
    let mut decoder = Decoder::new(coding, room)?;
    while let Some(chunk) = incoming.next().await.map_err(|broken| refuse(&broken))? {
        if incoming.taken > limit {
            return Err(too_large("too_large"));
        }
        decoder.write(&chunk)?;
    }
    decoder.finish()
}

fn declared_length(head: &Head) -> Option<u64> {
    head.header(header::CONTENT_LENGTH.as_str())?.parse().ok()
}

fn refuse(broken: &Broken) -> ApiError {
    match broken {
        Broken::TimedOut => ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body did not arrive in time",
        ),
        Broken::Failed => ApiError::new(
            StatusCode::BAD_REQUEST,
            "body_incomplete",
            "the body broke off before its end",
        ),
    }
}

fn not_gzip() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "not_gzip",
        "the body must be one whole gzip member, with nothing behind it",
    )
}

enum Decoder {
    Identity(Kept),
    Gzip(Box<GzDecoder<Kept>>),
}

impl Decoder {
    fn new(coding: Coding, room: &Room) -> Result<Self, ApiError> {
        let mut kept = Kept {
            bytes: Vec::new(),
            held: room.hold_nothing(),
            stopped: None,
        };
        match coding {
            Coding::Identity => Ok(Self::Identity(kept)),
            Coding::Gzip => {
                kept.held.grow(GZIP_BYTES).map_err(|full| full.refuse())?;
                Ok(Self::Gzip(Box::new(GzDecoder::new(kept))))
            }
        }
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), ApiError> {
        match self {
            Self::Identity(kept) => kept.write_all(chunk).map_err(|_| kept.refuse()),
            Self::Gzip(decoder) => decoder
                .write_all(chunk)
                .map_err(|_| decoder.get_ref().refuse()),
        }
    }

    fn finish(self) -> Result<Body, ApiError> {
        let kept = match self {
            Self::Identity(kept) => kept,
            Self::Gzip(mut decoder) => {
                if decoder.try_finish().is_err() {
                    return Err(decoder.get_ref().refuse());
                }
                decoder.finish().map_err(|_| not_gzip())?
            }
        };
        Ok(Body {
            bytes: kept.bytes,
            held: kept.held,
        })
    }
}

/// Decoded bytes, and why there can't be more of them.
struct Kept {
    bytes: Vec<u8>,
    held: Held,
    stopped: Option<Stop>,
}

enum Stop {
    TooLarge,
    Full(Full),
}

impl Kept {
    fn extend(&mut self, chunk: &[u8]) -> Result<(), Stop> {
        let needed = self.bytes.len() + chunk.len();
        if needed > MAX_BODY_BYTES {
            return Err(Stop::TooLarge);
        }
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).min(MAX_BODY_BYTES);
            self.held
                .grow(capacity - self.bytes.capacity())
                .map_err(Stop::Full)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// The refusal behind a failed write; without a reason of our own it is the coding's fault.
    fn refuse(&self) -> ApiError {
        match &self.stopped {
            Some(Stop::TooLarge) => too_large("too_large"),
            Some(Stop::Full(full)) => full.refuse(),
            None => not_gzip(),
        }
    }
}

impl Write for Kept {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        match self.extend(chunk) {
            Ok(()) => Ok(chunk.len()),
            Err(stop) => {
                self.stopped = Some(stop);
                Err(io::Error::other("the body is over a limit"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
