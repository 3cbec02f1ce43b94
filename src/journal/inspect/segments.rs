//! Walks through the segment files and tells frames from holes.

use std::fs::File;
use std::io;
use std::path::Path;

use mimamori_actors::domain::{Position, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{HeaderState, Hole, Kinds, SegmentFound, Survey};
use crate::journal::error::JournalError;
use crate::journal::frame::{self, FrameHeader};
use crate::journal::scan::{Found, ScanError, Scanner};
use crate::journal::segment::{self, HeaderFound, SEGMENT_HEADER_BYTES, SegmentHeader};

/// What a record is, without what it says.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Event(IgnoredAny),
    Rejection(IgnoredAny),
    Timer(IgnoredAny),
    Fact(IgnoredAny),
    DeadLetter(IgnoredAny),
}

/// The walk so far.
#[derive(Default)]
struct Walk {
    survey: Survey,
    /// The last position that is known to have been given.
    last: Position,
    last_at: Option<Timestamp>,
}

/// Everything in the segments of `dir`; positions up to `reached` are known to have been given.
pub(super) fn walk(dir: &Path, reached: Position) -> Result<Survey, JournalError> {
    let mut walk = Walk::default();
    let segments = segment::list(dir)?;
    for (place, (first, path)) in segments.iter().enumerate() {
        let file = match File::open(path) {
            Ok(file) => file,
            // trimmed while we look
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(JournalError::io(path)(error)),
        };
        let behind = segments.get(place + 1).map(|(next, _)| *next);
        walk.last = walk.last.max(Position(first.0.saturating_sub(1)));
        walk.segment(*first, &file, path, behind, reached)?;
    }
    Ok(walk.survey)
}

impl Walk {
    fn segment(
        &mut self,
        first: Position,
        file: &File,
        path: &Path,
        behind: Option<Position>,
        reached: Position,
    ) -> Result<(), JournalError> {
        let mut found = self.begin(first, file, path)?;
        let length = file.metadata().map_err(JournalError::io(path))?.len();
        let mut scanner = Scanner::new(file, SEGMENT_HEADER_BYTES, length);
        let (end, torn) = self.frames(&mut found, (file, path), &mut scanner)?;
        self.survey.segments.push(found);
        // what was noted to be on disk and is not there is no torn write
        let known = (reached > self.last).then(|| reached.next());
        let mut hole = self.hole(first, end, torn);
        hole.before = behind.or(known);
        hole.is_open = behind.is_none();
        if hole.before.is_none() && torn > 0 {
            self.survey.unfinished_end = Some(hole);
        } else if hole.missing().is_some() || torn > 0 {
            self.survey.holes.push(hole);
        } else if hole.is_open {
            self.survey.end = Some(hole);
        }
        Ok(())
    }

    /// Where the last frame ends, and how many bytes that are no frame stand behind it.
    fn frames(
        &mut self,
        found: &mut SegmentFound,
        (file, path): (&File, &Path),
        scanner: &mut Scanner<'_>,
    ) -> Result<(u64, u64), JournalError> {
        let mut end = scanner.offset();
        let mut looked_again_at = None;
        loop {
            let at = scanner.offset();
            match scanner.next() {
                Ok(Some(Found::Frame { offset, header })) => {
                    self.hole_before(found.segment, end, offset, &header);
                    self.frame(found, &header, scanner.payload());
                    end = scanner.offset();
                }
                Ok(Some(Found::Damaged { .. })) if looked_again_at != Some(at) => {
                    // a server may have written here and behind while we looked
                    looked_again_at = Some(at);
                    scanner.look_again(at, scanner.limit());
                }
                Ok(Some(Found::Damaged { .. })) => {}
                Ok(Some(Found::Torn { bytes, .. })) => return Ok((end, bytes)),
                Ok(None) => return Ok((end, 0)),
                Err(error) => {
                    // what a server had allocated and not used went back while we looked
                    let length = file.metadata().map_err(JournalError::io(path))?.len();
                    if !is_too_short(&error) || length >= scanner.limit() {
                        return Err(error.at(path));
                    }
                    scanner.look_again(at, length);
                }
            }
        }
    }

    fn hole_before(&mut self, segment: Position, end: u64, offset: u64, next: &FrameHeader) {
        if offset > end || next.first > self.last.next() {
            let mut hole = self.hole(segment, end, offset - end);
            hole.before = Some(next.first);
            hole.until = Some(offset);
            hole.between.1 = Some(next.received_at);
            self.survey.holes.push(hole);
        }
    }

    fn begin(
        &mut self,
        first: Position,
        file: &File,
        path: &Path,
    ) -> Result<SegmentFound, JournalError> {
        let header = SegmentHeader::read(file).map_err(JournalError::io(path))?;
        let (state, journal) = match header {
            HeaderFound::Whole(header) => (HeaderState::Whole, Some(header.journal)),
            HeaderFound::Damaged => (HeaderState::Damaged, None),
            HeaderFound::UnknownVersion(_) => (HeaderState::Later, None),
        };
        self.survey.journal = self.survey.journal.take().or_else(|| journal.clone());
        Ok(SegmentFound {
            segment: first,
            header: state,
            journal,
            frames: 0,
            entries: 0,
            bytes: 0,
            first: None,
            last: None,
            begun: None,
            ended: None,
        })
    }

    fn hole(&self, segment: Position, offset: u64, bytes: u64) -> Hole {
        Hole {
            segment,
            offset,
            bytes,
            after: self.last,
            before: None,
            until: None,
            is_open: false,
            between: (self.last_at, None),
        }
    }

    fn frame(&mut self, found: &mut SegmentFound, header: &FrameHeader, payload: &[u8]) {
        found.frames += 1;
        found.entries += u64::from(header.entries);
        found.bytes += header.frame_bytes() as u64;
        found.first.get_or_insert(header.first);
        found.last = Some(header.last());
        found.begun.get_or_insert(header.received_at);
        found.ended = Some(header.received_at);
        self.last = self.last.max(header.last());
        self.last_at = Some(header.received_at);
        self.survey.entries.count(header, payload);
    }
}

fn is_too_short(error: &ScanError) -> bool {
    matches!(error, ScanError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
}

impl Kinds {
    fn count(&mut self, header: &FrameHeader, payload: &[u8]) {
        let texts = frame::texts(header, payload).unwrap_or_default();
        self.unreadable += u64::from(header.entries).saturating_sub(texts.len() as u64);
        for text in texts {
            if frame::is_erased(text) {
                self.erased += 1;
                continue;
            }
            match serde_json::from_str(text.get()) {
                Ok(Kind::Event(_)) => self.events += 1,
                Ok(Kind::Rejection(_)) => self.rejected += 1,
                Ok(Kind::DeadLetter(_)) => self.dead_letters += 1,
                Ok(Kind::Timer(_) | Kind::Fact(_)) => self.own += 1,
                Err(_) => self.unreadable += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests;
