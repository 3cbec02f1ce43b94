//! A minimal reader of a server's frames, and what it looks for in them.

use crate::crowd::Heard;

/// What begins the id of each cell here; the microsecond of its sending follows.
pub const MARK: &str = "sent-";
/// So much of a payload is always kept: the type and the place in the chain.
const HEAD_BYTES: usize = 160;

/// A delta, as far as it tells one from another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Told {
    /// The delta before it.
    pub after: u64,
    /// Its own number.
    pub seq: u64,
    /// Of its text.
    pub len: usize,
}

/// A delta that came to a console.
pub struct Delta {
    /// Which.
    pub told: Told,
    /// When, in microseconds since the epoch of the run.
    pub at_us: u64,
}

/// What is in a delta.
#[derive(Default)]
pub struct Seen {
    /// When each of its events was sent.
    pub events: Vec<u64>,
    /// The earliest that was sent of all that it tells.
    pub oldest_us: Option<u64>,
    /// How many events are left out.
    pub omitted: u64,
}

/// Reads one console's frames.
#[derive(Default)]
pub struct Reader {
    /// It has had its opening: a snapshot, or the first delta of those it missed.
    pub is_open: bool,
    seq: Option<u64>,
    header: Vec<u8>,
    frame: Option<Frame>,
}

struct Frame {
    opcode: u8,
    len: usize,
    left: usize,
    head: Vec<u8>,
    /// The whole text, if nobody has read it yet.
    text: Option<Vec<u8>>,
}

impl Reader {
    /// Takes in what was read. Says whether a ping wants its pong.
    pub fn take(
        &mut self,
        mut bytes: &[u8],
        now_us: u64,
        heard: &mut Heard,
    ) -> anyhow::Result<bool> {
        let mut wants_pong = false;
        heard.bytes += bytes.len() as u64;
        loop {
            if self.frame.is_none() && !self.take_header(&mut bytes) {
                return Ok(wants_pong);
            }
            let is_whole = self.take_payload(&mut bytes, heard);
            let Some(frame) = self.frame.take_if(|_| is_whole) else {
                return Ok(wants_pong);
            };
            match frame.opcode {
                1 => self.finish(frame, now_us, heard),
                8 => anyhow::bail!("the server closed"),
                9 => wants_pong = true,
                _ => {}
            }
        }
    }

    /// Whether the header is whole.
    fn take_header(&mut self, bytes: &mut &[u8]) -> bool {
        loop {
            let needed = match self.header.get(1) {
                Some(126) => 4,
                Some(127) => 10,
                _ => 2,
            };
            if self.header.len() == needed {
                break;
            }
            let Some((byte, rest)) = bytes.split_first() else {
                return false;
            };
            self.header.push(*byte);
            *bytes = rest;
        }
        let len = match self.header.len() {
            2 => usize::from(self.header[1]),
            _ => self.header[2..]
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte)),
        };
        self.frame = Some(Frame {
            opcode: self.header[0] & 15,
            len,
            left: len,
            head: Vec::new(),
            text: None,
        });
        self.header.clear();
        true
    }

    /// Whether the payload is whole.
    fn take_payload(&mut self, bytes: &mut &[u8], heard: &Heard) -> bool {
        let Some(frame) = &mut self.frame else {
            return false;
        };
        let head = frame.len.min(HEAD_BYTES);
        if frame.head.len() < head {
            let part = bytes.len().min(head - frame.head.len());
            frame.head.extend_from_slice(&bytes[..part]);
            frame.left -= part;
            *bytes = &bytes[part..];
            if frame.head.len() < head {
                return false;
            }
            if frame
                .told()
                .is_some_and(|told| !heard.told.contains_key(&told))
            {
                let mut text = Vec::with_capacity(frame.len);
                text.extend_from_slice(&frame.head);
                frame.text = Some(text);
            }
        }
        let part = bytes.len().min(frame.left);
        if let Some(text) = &mut frame.text {
            text.extend_from_slice(&bytes[..part]);
        }
        frame.left -= part;
        *bytes = &bytes[part..];
        frame.left == 0
    }

    fn finish(&mut self, frame: Frame, at_us: u64, heard: &mut Heard) {
        if let Some(told) = frame.told() {
            if let Some(text) = &frame.text {
                heard.told.entry(told).or_insert_with(|| Seen::read(text));
            }
            // a console that resumes begins where its first delta does
            heard.broken += usize::from(self.seq.is_some_and(|seq| seq != told.after));
            self.seq = Some(told.seq);
            self.is_open = true;
            heard.deltas.push(Delta { told, at_us });
        } else if frame.head.starts_with(br#"{"type":"snapshot""#) {
            heard.begun_anew += usize::from(self.is_open);
            self.seq = number_after(&frame.head, br#""seq":"#);
            self.is_open = true;
        }
    }
}

impl Frame {
    fn told(&self) -> Option<Told> {
        if !self.head.starts_with(br#"{"type":"delta""#) {
            return None;
        }
        Some(Told {
            after: number_after(&self.head, br#""after":"#)?,
            seq: number_after(&self.head, br#""seq":"#)?,
            len: self.len,
        })
    }
}

impl Seen {
    fn read(text: &[u8]) -> Self {
        let begin = memchr::memmem::find(text, br#""events":["#).unwrap_or(text.len());
        let (students, rest) = text.split_at(begin);
        // alerts, which come behind, name cells too
        let end = memchr::memmem::find(rest, br#""eventsOmitted":"#).unwrap_or(rest.len());
        let events = &rest[..end];
        let events = marks(events);
        Self {
            oldest_us: events.iter().chain(&marks(students)).min().copied(),
            omitted: number_after(text, br#""eventsOmitted":"#).unwrap_or(0),
            events,
        }
    }
}

fn marks(text: &[u8]) -> Vec<u64> {
    memchr::memmem::find_iter(text, MARK)
        .filter_map(|at| number_after(&text[at..], MARK.as_bytes()))
        .collect()
}

fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let digits = &text[memchr::memmem::find(text, name)? + name.len()..];
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&digits[..count]).ok()?.parse().ok()
}

/// A frame as a client sends it; with a mask of zeros, which changes nothing.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(len) if len < 126 => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            frame.extend_from_slice(&len.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
