//! An accepted socket that takes its connection's pulse and holds its seat.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use warp::http::StatusCode;

use super::pulse::Pulse;
use super::refusal::{Refuses, status_of_hypers_own};

/// A connection's socket. After an upgrade its new owner finds it by
/// `upgraded.downcast::<TokioIo<Socket>>()` and takes it apart.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    pulse: Arc<Pulse>,
    seat: Seat,
    refuses: Refuses,
    /// What is left to be written in place of an answer of hyper's own.
    instead: Option<Bytes>,
}

/// One of `http.max_connections`, given back when this is dropped.
#[derive(Debug)]
pub struct Seat {
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    fn taken(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("mimamori_http_connections_open").increment(1);
        Self { _permit: permit }
    }
}

impl Socket {
    pub(super) fn new(
        tcp: TcpStream,
        pulse: Arc<Pulse>,
        permit: OwnedSemaphorePermit,
        refuses: Refuses,
    ) -> Self {
        Self {
            tcp,
            pulse,
            seat: Seat::taken(permit),
            refuses,
            instead: None,
        }
    }

    /// The bare socket, which nobody watches any more, and its seat, to be kept as long.
    pub fn into_parts(self) -> (TcpStream, Seat) {
        (self.tcp, self.seat)
    }

    /// Writes our answer in place of hyper's own, of which `length` bytes count as written then.
    fn poll_instead(
        &mut self,
        task: &mut Context<'_>,
        status: StatusCode,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        let left = self.instead.take();
        let mut left = left.unwrap_or_else(|| self.refuses.answer(status));
        while !left.is_empty() {
            let written = Pin::new(&mut self.tcp).poll_write(task, &left);
            self.note_write(&written);
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => left.advance(bytes),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = Some(left);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(length))
    }

    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(_)) => self.pulse.bytes_written(),
            Poll::Pending => self.pulse.write_waits(),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("mimamori_http_connections_open").decrement(1);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(task, buffer);
        if buffer.filled().len() > before {
            self.pulse.bytes_read();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(status) = status_of_hypers_own(bytes) {
            return self.poll_instead(task, status, bytes.len());
        }
        let written = Pin::new(&mut self.tcp).poll_write(task, bytes);
        self.note_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && let Some(status) = status_of_hypers_own(only)
        {
            return self.poll_instead(task, status, only.len());
        }
        let written = Pin::new(&mut self.tcp).poll_write_vectored(task, slices);
        self.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(task)
    }
}
