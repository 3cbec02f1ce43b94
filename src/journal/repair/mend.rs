//! Frames with which a hole can be mended: one bit of the damaged bytes put
//! right, or a whole frame that was set aside.
//!
//! A frame is taken only if everything fits: its checksum, the place where it
//! stood, its positions between those that can be read around it, its time
//! between theirs, its records. Of a frame in which a bit was put right the
//! events must also have the 128-bit hash that stands beside each.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use mimamori_actors::domain::{Position, Record};

use super::flip;
use crate::admit::is_as_admitted;
use crate::journal::error::JournalError;
use crate::journal::frame::{self, Check, FrameHeader, HEADER_BYTES};
use crate::journal::inspect::{Hole, SetAside, Survey};
use crate::journal::scan::read_around_bad_sectors;
use crate::journal::segment::{HeaderFound, SEGMENT_HEADER_BYTES, SegmentHeader};

/// Larger pieces are not looked at; no frame is larger.
const MAX_PIECE_BYTES: u64 = frame::MAX_PAYLOAD_BYTES as u64;
/// In larger frames no bit is looked for; a request has at most 4 MiB.
const MAX_SEARCHED_BYTES: usize = 16 << 20;
/// So many times as many bytes as are there are gone through for bits, whatever they look like.
const SEARCHES: usize = 16;
/// Zeros that may belong to a frame behind the last byte that is none: of its last number.
const ZEROS_OF_A_FRAME: u64 = 8;

/// A frame that is missing.
#[derive(Debug)]
pub(in crate::journal) struct Mend {
    /// Where in the segment it stood.
    pub(in crate::journal) offset: u64,
    /// All of it.
    pub(in crate::journal) bytes: Vec<u8>,
    /// What it says of itself.
    pub(in crate::journal) header: FrameHeader,
    /// Where it comes from, for people.
    pub(in crate::journal) origin: String,
}

impl Mend {
    /// The keys of its identities.
    pub(super) fn keys(&self) -> impl Iterator<Item = [u8; 16]> {
        let found = frame::identities(&self.header, &self.bytes[HEADER_BYTES..]);
        found.into_iter().map(|(_, identity)| identity.key)
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// The frames that fit into a hole, in their order.
pub(super) fn find(
    hole: &Hole,
    segment: &Path,
    damaged: &Path,
    survey: &Survey,
) -> Result<Vec<Mend>, JournalError> {
    let mut found = Vec::new();
    let file = File::open(segment).map_err(JournalError::io(segment))?;
    let bytes = bytes_in(hole, &file).map_err(JournalError::io(segment))?;
    collect(&bytes, hole.offset, "where it stood", &mut found);
    let of_segment = |piece: &&SetAside| piece.segment == Some(hole.segment);
    for piece in survey.set_aside.iter().filter(of_segment) {
        let path = damaged.join(&piece.file);
        if let Some((bytes, at)) = read_piece(&path, piece, survey)? {
            collect(&bytes, at, &format!("from {}", piece.file), &mut found);
        }
    }
    Ok(choose(found, hole))
}

/// The damaged bytes themselves; at the end of a file with the zeros behind them that may be part of a frame.
fn bytes_in(hole: &Hole, file: &File) -> io::Result<Vec<u8>> {
    let is_at_end = hole.until.is_none() && hole.bytes > 0;
    let left = file.metadata()?.len().saturating_sub(hole.offset);
    let zeros = if is_at_end { ZEROS_OF_A_FRAME } else { 0 };
    let wanted = left.min(hole.bytes + zeros);
    let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
    read_around_bad_sectors(file, &mut bytes, hole.offset)?;
    Ok(bytes)
}

/// The bytes of a piece and where in the segment they stood. A whole segment
/// that was put there must say that it is of this journal.
fn read_piece(
    path: &Path,
    piece: &SetAside,
    survey: &Survey,
) -> Result<Option<(Vec<u8>, u64)>, JournalError> {
    if piece.bytes > MAX_PIECE_BYTES {
        return Ok(None);
    }
    let mut bytes = fs::read(path).map_err(JournalError::io(path))?;
    if path.extension().is_none_or(|kind| kind != "seg") {
        bytes.resize(bytes.len() + ZEROS_OF_A_FRAME as usize, 0);
        return Ok(Some((bytes, piece.offset)));
    }
    let header = bytes.first_chunk().map(SegmentHeader::decode);
    match header {
        Some(HeaderFound::Whole(header)) if Some(&header.journal) == survey.journal.as_ref() => {
            let frames = bytes.split_off(SEGMENT_HEADER_BYTES as usize);
            Ok(Some((frames, SEGMENT_HEADER_BYTES)))
        }
        _ => Ok(None),
    }
}

/// All frames in these bytes, which stood at `at`: whole ones, and those that lack one bit.
fn collect(bytes: &[u8], at: u64, from: &str, found: &mut Vec<Mend>) {
    let mut place = 0;
    let mut searchable = bytes.len() * SEARCHES;
    while place < bytes.len() {
        let rest = &bytes[place..];
        let offset = at + place as u64;
        let next = memchr::memmem::find(&rest[1..], &frame::MAGIC).map(|next| next + 1);
        let mend = whole(rest, offset, from)
            .or_else(|| put_right(rest, next, (offset, from), &mut searchable));
        if let Some(mend) = mend {
            place += mend.bytes.len();
            found.push(mend);
        } else {
            place = next.map_or(bytes.len(), |next| place + next);
        }
    }
}

fn whole(bytes: &[u8], offset: u64, from: &str) -> Option<Mend> {
    let Check::Whole(header) = frame::check(bytes) else {
        return None;
    };
    let origin = format!("whole, {from}");
    mend(&bytes[..header.frame_bytes()], offset, header, origin)
}

/// The frame that begins here, but for one bit: as long as it says, or, if that
/// is what is damaged, up to where the next one begins, or all that is left.
fn put_right(
    bytes: &[u8],
    next: Option<usize>,
    (offset, from): (u64, &str),
    searchable: &mut usize,
) -> Option<Mend> {
    let said = bytes.get(8..12).map(|_| frame::u32_at(bytes, 8) as usize);
    let said = said.map_or(0, |payload| payload.saturating_add(HEADER_BYTES));
    let zeros = usize::try_from(ZEROS_OF_A_FRAME).unwrap_or(0);
    let left = match next {
        Some(next) => next..=next,
        None => bytes.len().saturating_sub(zeros)..=bytes.len(),
    };
    std::iter::once(said).chain(left.rev()).find_map(|length| {
        let searched = bytes.get(..length)?;
        if length > MAX_SEARCHED_BYTES {
            return None;
        }
        *searchable = searchable.checked_sub(length)?;
        let right = flip::put_right(searched)?;
        let Check::Whole(header) = frame::check(&right) else {
            return None;
        };
        let is_vouched = are_as_admitted(&header, &right[HEADER_BYTES..]);
        let origin = format!("one bit put right, {from}");
        is_vouched
            .then(|| mend(&right, offset, header, origin))
            .flatten()
    })
}

/// A frame of which every record can be read that was not erased.
fn mend(bytes: &[u8], offset: u64, header: FrameHeader, origin: String) -> Option<Mend> {
    let records = frame::records(&header, &bytes[HEADER_BYTES..]).ok()?;
    let is_known = |found: &frame::Found| *found != frame::Found::Unreadable;
    records.iter().all(is_known).then(|| Mend {
        offset,
        bytes: bytes.to_vec(),
        header,
        origin,
    })
}

/// Whether every event has the hash that stands beside it.
fn are_as_admitted(header: &FrameHeader, payload: &[u8]) -> bool {
    let (Ok(texts), Ok(records)) = (
        frame::texts(header, payload),
        frame::records(header, payload),
    ) else {
        return false;
    };
    let identities = frame::identities(header, payload);
    let is_right = |place: usize, found: &frame::Found| match found {
        frame::Found::Record(Record::Event(event)) => {
            let position = Position(header.first.0 + place as u64);
            let identity = identities.iter().find(|(of, _)| *of == position);
            identity.is_some_and(|(_, identity)| {
                is_as_admitted(event, texts[place].get().as_bytes(), identity)
            })
        }
        frame::Found::Record(
            Record::Rejection(_) | Record::Timer(_) | Record::Fact(_) | Record::DeadLetter(_),
        )
        | frame::Found::Erased => true,
        frame::Found::Unreadable => false,
    };
    let mut numbered = records.iter().enumerate();
    numbered.all(|(place, record)| is_right(place, record))
}

/// Those that fit, none over another.
fn choose(mut found: Vec<Mend>, hole: &Hole) -> Vec<Mend> {
    found.retain(|mend| fits(mend, hole));
    found.sort_by_key(|mend| mend.offset);
    let (mut end, mut last) = (hole.offset, hole.after);
    found.retain(|mend| {
        // behind what is known nothing tells what is missing: only what follows at once
        let is_known_missing = hole.before.is_some_and(|before| mend.header.first < before);
        let follows = is_known_missing || mend.header.first == last.next();
        let fits = mend.offset >= end && mend.header.first > last && follows;
        if fits {
            (end, last) = (mend.end(), mend.header.last());
        }
        fits
    });
    found
}

fn fits(mend: &Mend, hole: &Hole) -> bool {
    let at = mend.header.received_at;
    let (earliest, latest) = hole.between;
    mend.offset >= hole.offset
        && hole.until.is_none_or(|until| mend.end() <= until)
        && (hole.is_open || hole.before.is_none_or(|before| mend.header.last() < before))
        && earliest.is_none_or(|earliest| earliest <= at)
        && latest.is_none_or(|latest| at <= latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_area_full_of_beginnings_of_frames_is_gone_through_in_a_bounded_time() {
        let mut beginning = [0; 16];
        beginning[..4].copy_from_slice(&frame::MAGIC);
        beginning[8..12].copy_from_slice(&100_000_u32.to_le_bytes());
        let mut found = Vec::new();

        collect(&beginning.repeat(64 << 10), 0, "a test", &mut found);

        assert!(found.is_empty());
    }
}
