//! What goes to a console: the only place that writes to its socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use metrics::{Counter, counter};
use mimamori_actors::outbox::{CloseCode, Item, Outbox};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::between::{Between, Controls};

/// So many frames go out with one write.
const FRAMES_A_WRITE: usize = 32;

/// How the writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// Our close frame is out.
    Closed(CloseCode),
    /// The console's close is answered.
    Echoed,
    /// The socket is dead.
    Gone,
}

/// Writes what is in the outbox until it is closed, and what the reader asks for before it.
pub(super) async fn run<W: AsyncWrite + Unpin>(
    mut socket: W,
    outbox: Arc<Outbox>,
    between: Arc<Between>,
) -> Parting {
    let sent = Sent::new();
    let mut batch = Batch::default();
    loop {
        let parting = tokio::select! {
            biased;
            controls = between.asked() => batch.push_controls(controls),
            item = outbox.next() => gather(item, &mut batch, &outbox, &between),
        };
        sent.count(&batch);
        if send(&mut socket, &mut batch).await.is_err() {
            return Parting::Gone;
        }
        if let Some(parting) = parting {
            // the close frame is out whether or not the console still listens
            drop(socket.shutdown().await);
            return parting;
        }
    }
}

/// Takes what waits, up to one write's worth.
fn gather(first: Item, batch: &mut Batch, outbox: &Outbox, between: &Between) -> Option<Parting> {
    let mut next = Some(first);
    while let Some(item) = next {
        match item {
            Item::Frame(frame) => batch.push(Opcode::Text, frame),
            Item::Resnapshot(classroom) => between.lose(classroom),
            Item::Closed(code) => {
                batch.push_close(code.code(), code.reason());
                return Some(Parting::Closed(code));
            }
        }
        next = (batch.frames.len() < FRAMES_A_WRITE)
            .then(|| outbox.try_next())
            .flatten();
    }
    None
}

async fn send<W: AsyncWrite + Unpin>(socket: &mut W, batch: &mut Batch) -> io::Result<()> {
    if batch.frames.is_empty() {
        return Ok(());
    }
    socket.write_all_buf(batch).await
}

/// The counters of what goes out, found once: to look for them at every write costs as much as a copy.
struct Sent {
    frames: Counter,
    bytes: Counter,
}

impl Sent {
    fn new() -> Self {
        Self {
            frames: counter!("mimamori_live_frames_sent_total"),
            bytes: counter!("mimamori_live_sent_bytes_total"),
        }
    }

    fn count(&self, batch: &Batch) {
        self.frames.increment(batch.frames.len() as u64);
        self.bytes.increment(batch.remaining() as u64);
    }
}

#[derive(Debug, Clone, Copy)]
enum Opcode {
    Text = 1,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Frames on their way, headers beside the shared payloads: nothing is copied.
#[derive(Default)]
struct Batch {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are out already.
    sent: usize,
    /// Bytes that are not.
    remaining: usize,
}

struct Frame {
    header: [u8; 10],
    header_len: usize,
    payload: Bytes,
}

impl Frame {
    /// A whole message in one frame, unmasked, as a server sends it: RFC 6455, section 5.2.
    fn new(opcode: Opcode, payload: Bytes) -> Self {
        let mut header = [0; 10];
        header[0] = 0x80 | opcode as u8;
        let len = payload.len();
        let header_len = if len < 126 {
            header[1] = len as u8;
            2
        } else if let Ok(len) = u16::try_from(len) {
            header[1] = 126;
            header[2..4].copy_from_slice(&len.to_be_bytes());
            4
        } else {
            header[1] = 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        };
        Self {
            header,
            header_len,
            payload,
        }
    }

    fn len(&self) -> usize {
        self.header_len + self.payload.len()
    }

    /// What is left of header and payload when `sent` bytes are out.
    fn rest(&self, sent: usize) -> (&[u8], &[u8]) {
        let header = &self.header[sent.min(self.header_len)..self.header_len];
        let payload = &self.payload[sent.saturating_sub(self.header_len)..];
        (header, payload)
    }
}

impl Batch {
    fn push(&mut self, opcode: Opcode, payload: Bytes) {
        let frame = Frame::new(opcode, payload);
        self.remaining += frame.len();
        self.frames.push_back(frame);
    }

    fn push_close(&mut self, code: u16, reason: &str) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.push(Opcode::Close, payload.into());
    }

    fn push_controls(&mut self, asked: Controls) -> Option<Parting> {
        if asked.ping {
            self.push(Opcode::Ping, Bytes::new());
        }
        if let Some(payload) = asked.pong {
            self.push(Opcode::Pong, payload);
        }
        match asked.close? {
            Some(code) => self.push_close(code, ""),
            None => self.push(Opcode::Close, Bytes::new()),
        }
        Some(Parting::Echoed)
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        let Some(first) = self.frames.front() else {
            return &[];
        };
        let (header, payload) = first.rest(self.sent);
        if header.is_empty() { payload } else { header }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut sent = self.sent;
        for frame in &self.frames {
            let (header, payload) = frame.rest(sent);
            sent = 0;
            for part in [header, payload] {
                if part.is_empty() {
                    continue;
                }
                let Some(slice) = slices.get_mut(filled) else {
                    return filled;
                };
                *slice = IoSlice::new(part);
                filled += 1;
            }
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        self.remaining -= count;
        self.sent += count;
        while let Some(first) = self.frames.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> (Batch, Vec<u8>) {
        let mut batch = Batch::default();
        let mut expected = Vec::new();
        for (len, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 255, 255]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            batch.push(Opcode::Text, vec![b'x'; len].into());
            expected.extend(header);
            expected.extend(vec![b'x'; len]);
        }
        (batch, expected)
    }

    #[test]
    fn frames_are_those_of_the_rfc_however_the_socket_takes_them() {
        for step in [1, 2, 3, 127, 4096, usize::MAX] {
            let (mut batch, expected) = batch();
            let mut written = Vec::new();
            while batch.has_remaining() {
                let before = written.len();
                let mut slices = [IoSlice::new(&[]); 4];
                let filled = batch.chunks_vectored(&mut slices);
                assert_eq!(*slices[0], *batch.chunk());
                for slice in &slices[..filled] {
                    let room = step.saturating_sub(written.len() - before);
                    written.extend_from_slice(&slice[..room.min(slice.len())]);
                }
                batch.advance(written.len() - before);
            }
            assert!(written == expected, "in steps of {step}");
            assert!(batch.frames.is_empty());
        }
    }

    #[test]
    fn a_close_frame_carries_code_and_reason() {
        for code in CloseCode::ALL {
            let mut batch = Batch::default();
            batch.push_close(code.code(), code.reason());

            let frame = batch.frames.pop_front().unwrap();

            assert_eq!(frame.payload[..2], code.code().to_be_bytes());
            assert!(frame.payload.len() <= 125, "RFC 6455, 5.5");
        }
    }
}
