//! Reads entries back: from memory at the tail, else from the segment files.

use std::sync::Arc;

use mimamori_actors::domain::{Entry, Position};
use mimamori_actors::ports::{Batch, ReadError};

use super::frame::{self, FrameHeader};
use super::scan::{Found, ScanError, Scanner};
use super::segment::Segment;
use super::shared::Shared;
use super::tail::BATCH_BYTES;

/// A batch being read from files.
struct Reading {
    limit: usize,
    bytes: usize,
    end: Position,
    batch: Batch,
}

impl Reading {
    fn is_full(&self) -> bool {
        self.batch.entries.len() >= self.limit || self.bytes >= BATCH_BYTES
    }

    fn is_done(&self) -> bool {
        self.is_full() || self.batch.through >= self.end
    }
}

impl Shared {
    /// Entries after `after` if memory has them; nothing if the files must be read.
    pub(super) fn read_memory(&self, after: Position, limit: usize) -> Option<Batch> {
        self.tail.note_reader(after);
        if after >= *self.end.borrow() {
            return Some(Batch {
                entries: Vec::new(),
                through: after,
            });
        }
        self.tail.read(after, limit)
    }

    /// Entries after `after` from the segment files. Blocks on the disk.
    pub(super) fn read_files(&self, after: Position, limit: usize) -> Result<Batch, ReadError> {
        // first the end, then the segments: what stands before the end is in them
        let mut reading = Reading {
            limit,
            bytes: 0,
            end: *self.end.borrow(),
            batch: Batch {
                entries: Vec::new(),
                through: after,
            },
        };
        let segments = self.segments.all();
        let from = segments.partition_point(|segment| segment.first <= after.next());
        let Some(from) = from.checked_sub(1) else {
            // of the same moment as the segments: what is told elsewhere comes a little later
            let oldest = segments.first().map(|oldest| oldest.first);
            return Err(ReadError::Trimmed {
                oldest: oldest.unwrap_or(*self.oldest.borrow()),
            });
        };
        for (place, segment) in segments.iter().enumerate().skip(from) {
            let behind = segments.get(place + 1).map(|next| next.first);
            self.read_segment(segment, behind, &mut reading)
                .map_err(|error| ReadError::Failed(error.to_string()))?;
            if reading.is_done() {
                break;
            }
        }
        Ok(reading.batch)
    }

    /// `behind` is the first position of the next segment, if there is one.
    fn read_segment(
        &self,
        segment: &Arc<Segment>,
        behind: Option<Position>,
        reading: &mut Reading,
    ) -> Result<(), ScanError> {
        let (first, from) = segment.mark_before(reading.batch.through.next());
        let mut scanner = Scanner::new(&segment.file, from, segment.durable());
        let mut last_good = (Position(first.0 - 1), from);
        let mut damaged = Vec::new();
        while let Some(found) = scanner.next()? {
            match found {
                Found::Frame { offset, header } => {
                    self.note_between(segment, &mut damaged, last_good, header.first);
                    last_good = (header.last(), scanner.offset());
                    if header.first > reading.end {
                        break;
                    }
                    segment.mark(header.first, offset);
                    read_frame(&header, scanner.payload(), reading);
                    if reading.is_full() {
                        return Ok(());
                    }
                }
                Found::Damaged { offset, bytes } | Found::Torn { offset, bytes } => {
                    damaged.push((offset, bytes));
                }
            }
        }
        let next = behind.unwrap_or(reading.end.next());
        self.note_between(segment, &mut damaged, last_good, next);
        // whatever is missing up to here has been looked for
        let last = behind.map_or(reading.end, |behind| Position(behind.0 - 1));
        reading.batch.through = reading.batch.through.max(last.min(reading.end));
        Ok(())
    }

    /// `last_good` is the frame before: its last position, and where it ends.
    fn note_between(
        &self,
        segment: &Segment,
        damaged: &mut Vec<(u64, u64)>,
        (after, at): (Position, u64),
        before: Position,
    ) {
        self.damage
            .note_between(segment, damaged, at, (after, Some(before)));
    }
}

/// Adds the entries of a frame that are wanted.
fn read_frame(header: &FrameHeader, payload: &[u8], reading: &mut Reading) {
    if header.last() <= reading.batch.through {
        return;
    }
    match frame::records(header, payload) {
        Ok(records) => {
            for (place, record) in records.into_iter().enumerate() {
                let position = Position(header.first.0 + place as u64);
                let record = match record {
                    frame::Found::Record(record) => record,
                    frame::Found::Erased => continue,
                    frame::Found::Unreadable => {
                        unreadable(position);
                        continue;
                    }
                };
                if position > reading.batch.through {
                    reading.batch.entries.push(Arc::new(Entry {
                        position,
                        received_at: header.received_at,
                        heard_at: header.heard_at,
                        record,
                    }));
                }
            }
        }
        Err(_) => unreadable(header.first),
    }
    reading.batch.through = header.last();
    reading.bytes += header.frame_bytes();
}

/// The bytes are as they were written, but this program cannot read them as a record.
fn unreadable(position: Position) {
    metrics::counter!("mimamori_journal_unreadable_entries_total").increment(1);
    tracing::error!(
        journal.position = position.0,
        "an entry of the journal cannot be read as a record: it is left out"
    );
}
