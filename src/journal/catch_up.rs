//! Reads at a start what the index does not know, and leaves the last segment clean behind the last good frame.

use std::sync::Arc;

use mimamori_actors::domain::{JournalId, Moment, Position};

use super::backlog::RUN_IDENTITIES;
use super::damage::{Damage, DamagedSpot};
use super::disk::Disk;
use super::error::JournalError;
use super::found_index::Start;
use super::frame::{self, FrameHeader};
use super::index::{Checkpoint, Index, IndexError, Indexed};
use super::scan::{Found, Scanner};
use super::segment::{SEGMENT_HEADER_BYTES, Segment};

/// The state of reading on from where the index stands.
pub(super) struct CatchUp {
    journal: JournalId,
    pub(super) index: Index,
    pub(super) damage: Damage,
    /// The last position that is known to have been given.
    pub(super) last: Position,
    /// The last position that was found, or that the index vouches for.
    last_found: Position,
    /// When the last entry was accepted.
    pub(super) last_accepted: Moment,
    /// How many entries were added to the index.
    pub(super) reindexed: u64,
    /// How many bytes were cut from the end.
    pub(super) torn_bytes: u64,
    pending: Vec<Indexed>,
    torn: Option<(u64, u64)>,
    read_bytes: u64,
}

impl CatchUp {
    pub(super) fn new(journal: JournalId, index: Index, damage: Damage, start: &Start) -> Self {
        Self {
            journal,
            index,
            damage,
            last: start.last,
            last_found: start.last,
            last_accepted: start.last_accepted,
            reindexed: 0,
            torn_bytes: 0,
            pending: Vec::new(),
            torn: None,
            read_bytes: 0,
        }
    }

    /// Positions go on above this one.
    pub(super) fn raise_to(&mut self, position: Position) {
        self.last = self.last.max(position);
    }

    /// Reads from `start` to the end. `progress` is told the bytes done and in all.
    pub(super) fn read(
        &mut self,
        segments: &[Arc<Segment>],
        start: &Start,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), JournalError> {
        let from = segments.partition_point(|segment| segment.first < start.segment);
        let unread = segments.get(from..).unwrap_or_default();
        let total = unread.iter().map(|segment| segment.durable()).sum::<u64>();
        self.read_bytes = start.offset.min(total);
        let mut offset = start.offset;
        for (place, segment) in unread.iter().enumerate() {
            let behind = unread.get(place + 1).map(|next| next.first);
            self.read_segment(segment, offset, behind, &mut |done| progress(done, total))?;
            offset = SEGMENT_HEADER_BYTES;
        }
        Ok(())
    }

    fn read_segment(
        &mut self,
        segment: &Segment,
        from: u64,
        behind: Option<Position>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), JournalError> {
        let mut scanner = Scanner::new(&segment.file, from, segment.durable());
        let mut damaged = Vec::new();
        let mut end = from;
        // its name says what was given before it
        self.last = self.last.max(Position(segment.first.0 - 1));
        loop {
            let found = scanner.next().map_err(|error| error.at(&segment.path))?;
            self.read_bytes += scanner.offset().saturating_sub(end);
            match found {
                Some(Found::Frame { offset, header }) => {
                    self.note(segment, &mut damaged, end, Some(header.first));
                    segment.mark(header.first, offset);
                    self.take(&header, scanner.payload());
                    if self.pending.len() >= RUN_IDENTITIES {
                        self.flush(segment.first, scanner.offset())?;
                        progress(self.read_bytes);
                    }
                }
                Some(Found::Damaged { offset, bytes }) => damaged.push((offset, bytes)),
                Some(Found::Torn { offset, bytes }) if behind.is_none() => {
                    self.torn = Some((offset, bytes));
                }
                Some(Found::Torn { offset, bytes }) => damaged.push((offset, bytes)),
                None => break,
            }
            if matches!(found, Some(Found::Frame { .. } | Found::Damaged { .. })) {
                end = scanner.offset();
            }
        }
        self.note(segment, &mut damaged, end, behind);
        if behind.is_none() {
            segment.set_durable(end);
        }
        progress(self.read_bytes);
        Ok(())
    }

    fn take(&mut self, header: &FrameHeader, payload: &[u8]) {
        self.last = self.last.max(header.last());
        self.last_found = self.last;
        self.last_accepted = self.last_accepted.max(header.moment());
        self.reindexed += u64::from(header.entries);
        for (position, identity) in frame::identities(header, payload) {
            self.pending.push(Indexed {
                identity,
                position,
                received_at: header.received_at,
            });
        }
    }

    fn note(
        &self,
        segment: &Segment,
        damaged: &mut Vec<(u64, u64)>,
        at: u64,
        before: Option<Position>,
    ) {
        self.damage
            .note_between(segment, damaged, at, (self.last, before));
    }

    fn flush(&mut self, segment: Position, offset: u64) -> Result<(), JournalError> {
        let to = Checkpoint {
            journal: self.journal.clone(),
            position: self.last,
            accepted: self.last_accepted,
            segment,
            offset,
        };
        self.index
            .insert(&self.pending, &to)
            .map_err(|error| give_up(&error))?;
        self.pending.clear();
        Ok(())
    }

    /// Nothing stands behind what was read.
    fn complete(&mut self, active: &Segment) -> Result<(), JournalError> {
        self.flush(active.first, active.durable())?;
        let completed = self.index.is_complete();
        completed.map_err(|error| give_up(&error.into()))
    }

    /// What the stores know beyond the last frame, if the bad end can have held
    /// it: then that end was acknowledged, and is not torn but damaged.
    pub(super) fn vouched_by_stores(&self, known: Position) -> Position {
        let missing = known.0.saturating_sub(self.last_found.0);
        let bytes = self.torn.map_or(0, |(_, bytes)| bytes);
        if missing > 0 && missing.saturating_mul(frame::MIN_ENTRY_BYTES) <= bytes {
            known
        } else {
            Position::ZERO
        }
    }

    /// Whether positions were given that neither a frame nor a segment's name
    /// tells: only the index, which may be lost.
    pub(super) fn end_is_untold(&self, active: &Segment) -> bool {
        self.last > self.last_found && active.first != self.last.next()
    }

    /// Cuts what is torn from the last segment, makes what is left durable and
    /// the index complete. `highest` is a position known to have been given.
    /// Returns how far the last segment is allocated.
    pub(super) fn settle(
        &mut self,
        segments: &[Arc<Segment>],
        highest: Position,
        now: Moment,
        disk: &dyn Disk,
    ) -> Result<u64, JournalError> {
        let Some(active) = segments.last() else {
            return Ok(0);
        };
        if let Some((offset, bytes)) = self.torn {
            self.cut(active, (offset, bytes), highest, disk)?;
        }
        // what a crash left unsynced must be on disk before anybody reads it
        let at = JournalError::io;
        disk.sync(&active.file).map_err(at(&active.path))?;
        let capacity = active.file.metadata().map_err(at(&active.path))?.len();
        if self.last_accepted == Moment::default() {
            self.last_accepted = now;
        }
        self.complete(active)?;
        Ok(capacity)
    }

    fn cut(
        &mut self,
        active: &Segment,
        (offset, bytes): (u64, u64),
        highest: Position,
        disk: &dyn Disk,
    ) -> Result<(), JournalError> {
        if highest > self.last_found {
            // the index has had these entries: this is no torn frame but damage
            let before = Some(highest.next());
            let spot = DamagedSpot {
                segment: active.first,
                offset,
                bytes,
                after: self.last_found,
                before,
            };
            let kept = self.damage.note_before_cut(&spot, &active.file);
            kept.map_err(|source| JournalError::NotKept {
                path: active.path.clone(),
                dir: self.damage.kept_in(),
                source,
            })?;
        } else {
            tracing::warn!(
                journal.segment = active.first.0,
                journal.offset = offset,
                bytes,
                "the journal ended in a torn frame, as a crash leaves it: it was never acknowledged and is cut"
            );
        }
        metrics::counter!("mimamori_journal_torn_bytes_total").increment(bytes);
        self.torn_bytes = bytes;
        let file = &active.file;
        let cut = file.metadata().and_then(|before| {
            file.set_len(offset)?;
            // without room the next append begins a new segment, or is refused
            let _ = disk.allocate(file, offset, before.len() - offset);
            Ok(())
        });
        cut.map_err(JournalError::io(&active.path))
    }
}

fn give_up(error: &IndexError) -> JournalError {
    JournalError::Index(error.to_string())
}
