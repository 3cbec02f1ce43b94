//! A frame: what one request left in a segment file.
//!
//! ```text
//!  0  magic      ff fe 4d 4a
//!  4  version    u8, 2; frames of version 1 are read
//!  5  flags      u8, 0; kept for compression
//!  6  reserved   u16, 0
//!  8  payload    u32, its bytes
//! 12  entries    u32
//! 16  first      u64, position of the first entry; the others follow without a gap
//! 24  received   i64, milliseconds since 1970, the same for all entries
//! 32  crc        u32, CRC-32 of the payload and then of the 32 bytes above
//! 36  payload    an identity of 32 bytes an entry (zeros: none), then a JSON array of the
//!                records, then the heard time, i64, milliseconds, the same for all entries
//! ```
//!
//! Version 1 has no heard time: it is the time of receipt. The heard time stands
//! behind the payload, and not in the header, so that a program that knows only
//! version 1 finds the checksum right and the version unknown, and stops; what
//! it took for damage it would cut.
//!
//! Numbers are little endian. A reader that lost its way looks for the next
//! magic. In the place of an entry whose person was erased stands `null`, with
//! blanks behind it, and no identity. The JSON is UTF-8, in which the bytes `ff` and `fe` never occur, so
//! no text that a client sends can look like the beginning of a frame; the
//! identities are hashes, of which nobody can choose the 36 bytes with a right
//! checksum that a frame begins with.

use mimamori_actors::domain::{Heard, Moment, Position, Record, Timestamp};
use mimamori_actors::ports::{Identity, NewRecord};
use serde_json::value::RawValue;

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = 36;
/// What a frame begins with.
pub(super) const MAGIC: [u8; 4] = [0xFF, 0xFE, b'M', b'J'];
/// The format that is written.
pub(super) const VERSION: u8 = 2;
/// The one before: without heard time.
const VERSION_WITHOUT_HEARD: u8 = 1;
/// More than this is never written in one frame, and no length above it is believed.
pub(super) const MAX_PAYLOAD_BYTES: usize = 256 << 20;

/// Where in the header the checksum of all before it and of the payload stands.
pub(super) const CRC_AT: usize = 32;
const IDENTITY_BYTES: usize = 32;
const HEARD_BYTES: usize = 8;
/// An entry takes at least so many bytes of a payload.
pub(super) const MIN_ENTRY_BYTES: u64 = IDENTITY_BYTES as u64 + 2;

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// The format: [`VERSION`], or the one before.
    pub(super) version: u8,
    /// Bytes of the payload.
    pub(super) payload_bytes: u32,
    /// How many entries.
    pub(super) entries: u32,
    /// Position of the first.
    pub(super) first: Position,
    /// When they were accepted.
    pub(super) received_at: Timestamp,
    /// How long the server had listened by then.
    pub(super) heard_at: Heard,
}

/// What stands at a place where a frame may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// A frame, whole and undamaged.
    Whole(FrameHeader),
    /// It would take so many bytes to tell.
    Short {
        /// From the beginning of the frame.
        needs: usize,
    },
    /// No frame, or a damaged one.
    Bad,
    /// An undamaged frame of a format that this program does not know.
    UnknownVersion(u8),
}

impl FrameHeader {
    /// Position of the last entry.
    pub(super) fn last(&self) -> Position {
        Position(self.first.0 + u64::from(self.entries) - 1)
    }

    /// Bytes of header and payload.
    pub(super) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.payload_bytes as usize
    }

    /// When the entries were accepted, on both scales.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            at: self.received_at,
            heard: self.heard_at,
        }
    }

    /// Bytes behind the records.
    fn trailer_bytes(&self) -> usize {
        if self.version == VERSION_WITHOUT_HEARD {
            0
        } else {
            HEARD_BYTES
        }
    }

    /// Writes the header into the beginning of `frame` and the heard time into
    /// its end. What is between is in place already and has this checksum.
    pub(super) fn seal(&self, frame: &mut [u8], payload_crc: u32) {
        let heard = self.heard_at.as_millis().to_le_bytes();
        let heard_from = frame.len() - HEARD_BYTES;
        frame[heard_from..].copy_from_slice(&heard);
        frame[..4].copy_from_slice(&MAGIC);
        frame[4..8].copy_from_slice(&[VERSION, 0, 0, 0]);
        frame[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        frame[12..16].copy_from_slice(&self.entries.to_le_bytes());
        frame[16..24].copy_from_slice(&self.first.0.to_le_bytes());
        frame[24..32].copy_from_slice(&self.received_at.as_millis().to_le_bytes());
        let before_heard = (heard_from - HEADER_BYTES) as u64;
        let payload_crc = longer_crc(payload_crc, before_heard, &heard);
        let crc = whole_crc(payload_crc, &frame[..CRC_AT], self.payload_bytes);
        frame[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The payload's part of the checksum: computed by the task that appends, so
/// that the one writer has little to do.
pub(super) fn payload_crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

fn whole_crc(payload_crc: u32, header: &[u8], payload_bytes: u32) -> u32 {
    longer_crc(payload_crc, u64::from(payload_bytes), header)
}

/// How the checksum of these bytes, taken for one frame, differs from the one
/// that stands in it; nothing if it does not, or if they are too few.
pub(super) fn crc_difference(bytes: &[u8]) -> Option<u32> {
    let payload = bytes.get(HEADER_BYTES..)?;
    let length = u32::try_from(payload.len()).ok()?;
    let crc = whole_crc(payload_crc(payload), &bytes[..CRC_AT], length);
    let difference = crc ^ u32_at(bytes, CRC_AT);
    (difference != 0).then_some(difference)
}

/// The checksum of so many bytes that have this one, and then of `more`.
fn longer_crc(crc: u32, bytes: u64, more: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial_len(crc, bytes);
    hasher.update(more);
    hasher.finalize()
}

/// Little-endian, at this place of bytes that are long enough.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

/// Little-endian, at this place of bytes that are long enough.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// Looks whether a frame begins at the beginning of `bytes`. Takes any bytes.
pub(super) fn check(bytes: &[u8]) -> Check {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Check::Bad;
    }
    if bytes.len() < HEADER_BYTES {
        return Check::Short {
            needs: HEADER_BYTES,
        };
    }
    let payload_bytes = u32_at(bytes, 8);
    if payload_bytes as usize > MAX_PAYLOAD_BYTES {
        return Check::Bad;
    }
    let needs = HEADER_BYTES + payload_bytes as usize;
    if bytes.len() < needs {
        return Check::Short { needs };
    }
    let crc = payload_crc(&bytes[HEADER_BYTES..needs]);
    if whole_crc(crc, &bytes[..CRC_AT], payload_bytes) != u32_at(bytes, CRC_AT) {
        return Check::Bad;
    }
    let version = bytes[4];
    if !(VERSION_WITHOUT_HEARD..=VERSION).contains(&version) || bytes[5] != 0 {
        return Check::UnknownVersion(version);
    }
    let received_at = Timestamp::from_millis(u64_at(bytes, 24).cast_signed());
    let heard_at = match (version, (payload_bytes as usize).checked_sub(HEARD_BYTES)) {
        (VERSION_WITHOUT_HEARD, _) => Heard::of_wall(received_at),
        (_, Some(before)) => Heard::from_millis(u64_at(bytes, HEADER_BYTES + before).cast_signed()),
        (_, None) => return Check::Bad,
    };
    let header = FrameHeader {
        version,
        payload_bytes,
        entries: u32_at(bytes, 12),
        first: Position(u64_at(bytes, 16)),
        received_at,
        heard_at,
    };
    if is_sensible(&header) {
        Check::Whole(header)
    } else {
        Check::Bad
    }
}

fn is_sensible(header: &FrameHeader) -> bool {
    let identities = u64::from(header.entries) * IDENTITY_BYTES as u64;
    header.entries > 0
        && header.first > Position::ZERO
        && header
            .first
            .0
            .checked_add(u64::from(header.entries))
            .is_some()
        && identities + (header.trailer_bytes() as u64) < u64::from(header.payload_bytes)
}

/// Records on their way into a frame, serialised.
pub(super) struct Draft {
    /// What they say.
    pub(super) records: Vec<Record>,
    /// What makes each the same as another.
    pub(super) identities: Vec<Option<Identity>>,
    texts: Vec<Vec<u8>>,
    text_bytes: usize,
}

/// A frame but for its header, for which there is room.
pub(super) struct Sealed {
    /// Room for the header, then the payload with room for the heard time at its end.
    pub(super) frame: Vec<u8>,
    /// Checksum of the payload without the heard time.
    pub(super) payload_crc: u32,
    /// What the entries say.
    pub(super) records: Vec<Record>,
    /// What makes each the same as another.
    pub(super) identities: Vec<Option<Identity>>,
}

impl Draft {
    /// Serialises the records that were not yet.
    pub(super) fn new(batch: Vec<NewRecord>) -> Self {
        let mut draft = Self {
            records: Vec::with_capacity(batch.len()),
            identities: Vec::with_capacity(batch.len()),
            texts: Vec::with_capacity(batch.len()),
            text_bytes: 0,
        };
        for new in batch {
            let text = new.json.unwrap_or_else(|| {
                serde_json::to_vec(&new.record)
                    .expect("a record is plain values under text keys, and memory takes all bytes")
            });
            draft.text_bytes += text.len();
            draft.texts.push(text);
            draft.records.push(new.record);
            draft.identities.push(new.identity);
        }
        draft
    }

    /// How many bytes the frame will have at most.
    pub(super) fn max_frame_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len() * (IDENTITY_BYTES + 1) + 2 + self.text_bytes + HEARD_BYTES
    }

    /// The frame of those records whose flag is set; nothing if none is.
    pub(super) fn keep(mut self, is_kept: &[bool]) -> Option<Sealed> {
        if !is_kept.contains(&true) {
            return None;
        }
        keep_flagged(&mut self.records, is_kept);
        keep_flagged(&mut self.identities, is_kept);
        keep_flagged(&mut self.texts, is_kept);
        let mut frame = Vec::with_capacity(self.max_frame_bytes());
        frame.resize(HEADER_BYTES, 0);
        for identity in &self.identities {
            push_identity(&mut frame, identity.as_ref());
        }
        let mut separator = b'[';
        for text in &self.texts {
            frame.push(separator);
            frame.extend_from_slice(text);
            separator = b',';
        }
        frame.push(b']');
        let payload_crc = payload_crc(&frame[HEADER_BYTES..]);
        frame.resize(frame.len() + HEARD_BYTES, 0);
        Some(Sealed {
            frame,
            payload_crc,
            records: self.records,
            identities: self.identities,
        })
    }
}

/// Keeps those whose flag is set, in their order.
fn keep_flagged<T>(all: &mut Vec<T>, is_kept: &[bool]) {
    let mut flags = is_kept.iter();
    all.retain(|_| flags.next() == Some(&true));
}

fn push_identity(frame: &mut Vec<u8>, identity: Option<&Identity>) {
    match identity {
        Some(identity) => {
            frame.extend_from_slice(&identity.key);
            frame.extend_from_slice(&identity.content);
        }
        None => frame.extend_from_slice(&[0; IDENTITY_BYTES]),
    }
}

/// The identities of a frame with their positions; entries without one are left out.
pub(super) fn identities(header: &FrameHeader, payload: &[u8]) -> Vec<(Position, Identity)> {
    let (chunks, _) = payload.as_chunks::<IDENTITY_BYTES>();
    let mut found = Vec::with_capacity(header.entries as usize);
    for (place, chunk) in chunks.iter().take(header.entries as usize).enumerate() {
        if chunk != &[0; IDENTITY_BYTES] {
            let mut identity = Identity {
                key: [0; 16],
                content: [0; 16],
            };
            identity.key.copy_from_slice(&chunk[..16]);
            identity.content.copy_from_slice(&chunk[16..]);
            found.push((Position(header.first.0 + place as u64), identity));
        }
    }
    found
}

/// The JSON array of a frame.
fn json<'a>(header: &FrameHeader, payload: &'a [u8]) -> &'a [u8] {
    let end = payload.len() - header.trailer_bytes();
    &payload[header.entries as usize * IDENTITY_BYTES..end]
}

/// The text of each record of a frame.
pub(super) fn texts<'a>(
    header: &FrameHeader,
    payload: &'a [u8],
) -> Result<Vec<&'a RawValue>, serde_json::Error> {
    serde_json::from_slice(json(header, payload))
}

/// What stands in the place of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// What it says.
    Record(Record),
    /// Nothing: it was about a person who was erased.
    Erased,
    /// Something that this program cannot read as a record.
    Unreadable,
}

/// Whether this stands in the place of an entry that was erased.
pub(super) fn is_erased(text: &RawValue) -> bool {
    text.get() == ERASED
}

impl Found {
    fn of(text: &RawValue) -> Self {
        if is_erased(text) {
            return Self::Erased;
        }
        serde_json::from_str(text.get()).map_or(Self::Unreadable, Self::Record)
    }
}

/// The records of a frame. An error if the payload is not an array of as many.
pub(super) fn records(
    header: &FrameHeader,
    payload: &[u8],
) -> Result<Vec<Found>, serde_json::Error> {
    use serde::de::Error;

    let json = json(header, payload);
    let records: Vec<Found> = match serde_json::from_slice::<Vec<Record>>(json) {
        Ok(records) => records.into_iter().map(Found::Record).collect(),
        // one that cannot be read must not cost the others of its request
        Err(_) => texts(header, payload)?.into_iter().map(Found::of).collect(),
    };
    if records.len() == header.entries as usize {
        Ok(records)
    } else {
        Err(serde_json::Error::custom("another number of records"))
    }
}

/// What stands in the place of an entry that was erased; blanks behind it keep
/// everything else where it was.
const ERASED: &str = "null";

/// Leaves nothing of the entries whose flag is set but their place: no identity,
/// and no word. The frame stays as long as it was.
pub(super) fn erase(
    frame: &mut [u8],
    header: &FrameHeader,
    is_erased: &[bool],
) -> Result<(), serde_json::Error> {
    let payload = &frame[HEADER_BYTES..];
    let from = payload.as_ptr() as usize;
    let spans: Vec<_> = texts(header, payload)?
        .into_iter()
        .map(|text| (text.get().as_ptr() as usize - from, text.get().len()))
        .collect();
    let flagged = spans.iter().zip(is_erased).enumerate();
    for (place, ((at, length), _)) in flagged.filter(|(_, (_, is_erased))| **is_erased) {
        let payload = &mut frame[HEADER_BYTES..];
        payload[place * IDENTITY_BYTES..(place + 1) * IDENTITY_BYTES].fill(0);
        let text = &mut payload[*at..at + length];
        text.fill(b' ');
        // a record is longer than that: it has at least a name
        let word = ERASED.len().min(text.len());
        text[..word].copy_from_slice(&ERASED.as_bytes()[..word]);
    }
    let crc = whole_crc(
        payload_crc(&frame[HEADER_BYTES..]),
        &frame[..CRC_AT],
        header.payload_bytes,
    );
    frame[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
