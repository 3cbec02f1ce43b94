//! Lets go of segments that every consumer has kept elsewhere.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mimamori_actors::domain::Position;

use super::shared::Shared;
use crate::files::sync_dir;

/// Who reads the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer {
    /// Its name, as it commits.
    pub name: &'static str,
    /// Whether the journal waits for it without end. One that does not hold
    /// back is waited for while the journal uses no more than half of its limit.
    pub holds_back: bool,
}

/// How far each consumer has come since the start.
#[derive(Debug)]
pub(super) struct Consumers(Vec<Progress>);

#[derive(Debug)]
struct Progress {
    consumer: Consumer,
    has_reported: AtomicBool,
    offset: AtomicU64,
    is_cut_off: AtomicBool,
}

impl Progress {
    fn offset(&self) -> Option<Position> {
        self.has_reported
            .load(Ordering::Acquire)
            .then(|| Position(self.offset.load(Ordering::Acquire)))
    }
}

impl Consumers {
    pub(super) fn new(consumers: &[Consumer]) -> Self {
        let progress = consumers.iter().map(|consumer| Progress {
            consumer: *consumer,
            has_reported: AtomicBool::new(false),
            offset: AtomicU64::new(0),
            is_cut_off: AtomicBool::new(false),
        });
        Self(progress.collect())
    }

    /// Notes an offset, which may be lower than before: a store that lost a part reads it
    /// again, and it must not be trimmed meanwhile. False if nobody of that name was declared.
    pub(super) fn committed(&self, name: &str, offset: Position) -> bool {
        let Some(known) = self.0.iter().find(|known| known.consumer.name == name) else {
            return false;
        };
        known.offset.store(offset.0, Ordering::Release);
        known.has_reported.store(true, Ordering::Release);
        true
    }

    /// What all that hold back have kept; nothing until each has reported.
    fn held(&self) -> Option<Position> {
        let holding = self.0.iter().filter(|known| known.consumer.holds_back);
        let offsets: Option<Vec<_>> = holding.map(Progress::offset).collect();
        offsets?.into_iter().min()
    }

    /// Those that do not hold back and have not kept everything up to `last`.
    fn behind(&self, last: Position) -> impl Iterator<Item = &Progress> {
        self.0.iter().filter(move |known| {
            !known.consumer.holds_back && known.offset().is_none_or(|offset| offset < last)
        })
    }

    /// Every consumer with its offset, nothing for one that has not reported.
    pub(super) fn offsets(&self) -> Vec<(&'static str, Option<Position>)> {
        self.0
            .iter()
            .map(|known| (known.consumer.name, known.offset()))
            .collect()
    }
}

impl Shared {
    /// Up to where nothing is needed any more; nothing until everybody who holds back has said.
    pub(super) fn free_to(&self) -> Option<Position> {
        // what is not in the index must stay, to be added at the start
        Some(self.consumers.held()?.min(*self.indexed_through.borrow()))
    }

    /// The same, if there is a whole segment of it.
    pub(super) fn trimmable(&self) -> Option<Position> {
        let free_to = self.free_to()?;
        let segments = self.segments.all();
        let second = segments.get(1)?;
        (second.first <= free_to.next()).then_some(free_to)
    }

    /// Whether somebody copies the journal, and there is room for it.
    pub(super) fn is_held(&self) -> bool {
        // requests are refused from nine tenths on: well before, it goes on without the copy
        let is_room_needed =
            !self.room.state().is_free() || self.room.used_bytes() >= self.room.max_bytes() / 4 * 3;
        self.pins.hold(is_room_needed)
    }

    /// As the keeper does it.
    #[cfg(test)]
    pub(super) fn trim(&self) {
        if let Some(free_to) = self.trimmable() {
            self.trim_to(free_to);
        }
    }

    /// Removes whole segments up to there, the one being written never.
    pub(super) fn trim_to(&self, free_to: Position) {
        let mut removed = 0;
        while let [oldest, second, ..] = self.segments.all().as_slice() {
            let last = Position(second.first.0 - 1);
            if last > free_to || !self.may_leave_behind(last) || !self.remove_oldest(oldest.first) {
                break;
            }
            removed += 1;
        }
        if removed > 0 {
            metrics::counter!("mimamori_journal_trimmed_segments_total").increment(removed);
            if let Err(error) = sync_dir(self.dir.path()) {
                tracing::warn!(error = %error, "the journal's directory could not be synced after trimming");
            }
        }
    }

    /// Whether the writer should begin a new segment because the one it writes
    /// is all that is left and there is no room: only then can it be let go.
    pub(super) fn is_stuck_in_one_segment(&self) -> bool {
        let end = *self.end.borrow();
        let is_kept = self.consumers.held().is_some_and(|held| held >= end);
        !self.room.state().is_free()
            && is_kept
            && self
                .segments
                .all()
                .last()
                .is_some_and(|active| active.first <= end)
    }

    fn may_leave_behind(&self, last: Position) -> bool {
        if self.consumers.behind(last).next().is_none() {
            return true;
        }
        if self.room.used_bytes() <= self.room.max_bytes() / 2 {
            return false;
        }
        for left in self.consumers.behind(last) {
            metrics::counter!("mimamori_journal_cut_off_segments_total", "consumer" => left.consumer.name)
                .increment(1);
            if !left.is_cut_off.swap(true, Ordering::AcqRel) {
                tracing::warn!(
                    consumer = left.consumer.name,
                    "a consumer is so far behind that the journal goes on without it: it must be filled from the records"
                );
            }
        }
        true
    }

    fn remove_oldest(&self, first: Position) -> bool {
        let Some((segment, oldest)) = self.segments.remove_oldest(first) else {
            return false;
        };
        self.room.give_back(segment.durable());
        self.oldest.send_replace(oldest);
        if let Err(error) = fs::remove_file(&segment.path) {
            tracing::error!(
                journal.segment = segment.first.0,
                error = %error,
                "a trimmed segment could not be removed: it takes room until the next start"
            );
        }
        true
    }
}
