//! What a console sends, frame by frame.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use mimamori_actors::outbox::CloseCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::Live;
use super::between::Between;

/// What a console sends is a few dozen bytes. tungstenite keeps its buffer for
/// good and zeroes it at every attempt to read: small is cheap twice here.
const READ_BUFFER_BYTES: usize = 256;

/// Why a connection ends, as its reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By us.
    Close(CloseCode),
    /// The console closed; its code, if it gave one.
    ByConsole(Option<u16>),
    /// The socket is dead.
    Gone,
}

/// The reading side of a socket.
pub(super) struct Inbound<R> {
    socket: WebSocketStream<ReadOnly<R>>,
    between: Arc<Between>,
    live: Arc<Live>,
    window_began: Instant,
    messages: u32,
    bad_messages: u32,
    unanswered_pings: u32,
}

impl<R: AsyncRead + Unpin> Inbound<R> {
    pub(super) async fn new(
        read: R,
        already_read: Bytes,
        between: Arc<Between>,
        live: &Arc<Live>,
    ) -> Self {
        let settings = &live.settings;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            // nothing is ever written through it: see `ReadOnly`
            .write_buffer_size(0)
            .max_write_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(settings.max_message_bytes))
            .max_frame_size(Some(settings.max_message_bytes));
        Self {
            socket: WebSocketStream::from_partially_read(
                ReadOnly(read),
                // copied: the buffer of the handshake has 8 KiB and would stay
                already_read.to_vec(),
                Role::Server,
                Some(config),
            )
            .await,
            between,
            live: Arc::clone(live),
            window_began: Instant::now(),
            messages: 0,
            bad_messages: 0,
            unanswered_pings: 0,
        }
    }

    /// The next text. Loses nothing if it is cancelled.
    pub(super) async fn next_text(&mut self) -> Result<Utf8Bytes, Ended> {
        loop {
            let message = match self.socket.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(ended_by(&error)),
                None => return Err(Ended::Gone),
            };
            self.count_message()?;
            match message {
                Message::Text(text) => return Ok(text),
                Message::Binary(_) => return Err(Ended::Close(CloseCode::BinaryFrame)),
                Message::Ping(payload) => {
                    self.between.ask(|controls| controls.pong = Some(payload));
                }
                Message::Pong(_) => self.unanswered_pings = 0,
                Message::Close(frame) => {
                    return Err(Ended::ByConsole(frame.map(|frame| frame.code.into())));
                }
                Message::Frame(_) => {} // only ever written
            }
        }
    }

    /// Counts a message that could not be understood.
    pub(super) fn count_bad_message(&mut self) -> Result<(), Ended> {
        self.bad_messages += 1;
        if self.bad_messages > self.live.settings.max_bad_messages {
            return Err(Ended::Close(CloseCode::Policy));
        }
        Ok(())
    }

    /// Sends a ping, unless two wait for their pong.
    pub(super) fn ping(&mut self) -> Result<(), Ended> {
        if self.unanswered_pings >= 2 {
            return Err(Ended::Close(CloseCode::TooSlow));
        }
        self.unanswered_pings += 1;
        // one that the writer has yet to send counts as unanswered: it is stuck
        self.between.ask(|controls| controls.ping = true);
        Ok(())
    }

    /// Reads and throws away until the console closes: to drop a socket with
    /// unread bytes would reset it, and our close frame could be lost.
    pub(super) async fn run_dry(self) {
        let mut read = self.socket.into_inner().0;
        let mut waste = vec![0; 1024];
        while let Ok(1..) = read.read(&mut waste).await {}
    }

    fn count_message(&mut self) -> Result<(), Ended> {
        if self.window_began.elapsed() > self.live.settings.flood_window {
            self.window_began = Instant::now();
            self.messages = 0;
            self.bad_messages = 0;
        }
        self.messages += 1;
        if self.messages > self.live.settings.max_messages {
            return Err(Ended::Close(CloseCode::Policy));
        }
        Ok(())
    }
}

fn ended_by(error: &Error) -> Ended {
    let is_reset = matches!(
        error,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
    );
    // text that is no UTF-8, unmasked frames, reserved bits
    let is_broken = matches!(
        error,
        Error::Utf8(_) | Error::AttackAttempt | Error::Protocol(_)
    );
    if matches!(error, Error::Capacity(_)) {
        Ended::Close(CloseCode::TooBig)
    } else if is_broken && !is_reset {
        Ended::Close(CloseCode::Policy)
    } else {
        Ended::Gone
    }
}

/// A socket's reading half where a codec wants both: what the codec would
/// answer by itself (pongs, the echo of a close) is left out, because only
/// [`super::outbound`] writes.
#[derive(Debug)]
struct ReadOnly<R>(R);

impl<R: AsyncRead + Unpin> AsyncRead for ReadOnly<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<R: Unpin> AsyncWrite for ReadOnly<R> {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
