//! An accepted socket that takes its connection's pulse and holds its seat.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::pulse::Pulse;

/// One of `http.max_connections`, given back when this is dropped; after an
/// upgrade that is when its new owner drops it
/// (`upgraded.downcast::<TokioIo<Socket>>()` finds it).
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    pulse: Arc<Pulse>,
    _seat: OwnedSemaphorePermit,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, pulse: Arc<Pulse>, seat: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("mimamori_http_connections_open").increment(1);
        Self {
            tcp,
            pulse,
            _seat: seat,
        }
    }

    /// The socket itself, for its options.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(_)) => self.pulse.bytes_written(),
            Poll::Pending => self.pulse.write_waits(),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl Drop for Socket {
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
        let written = Pin::new(&mut self.tcp).poll_write(task, bytes);
        self.note_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
