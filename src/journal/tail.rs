//! The newest entries in memory, so that a reader at the tail neither touches the disk nor parses again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use mimamori_actors::domain::{Entry, Position};
use mimamori_actors::ports::Batch;

/// Bytes of one answer to a reader, about.
pub(super) const BATCH_BYTES: usize = 8 << 20;
/// A reader so few entries from the end gets there.
const NEAR_ENTRIES: u64 = 16 << 10;
/// What an entry costs beside its text, about.
const ENTRY_BYTES: usize = 256;

/// The entries of one frame.
#[derive(Debug)]
pub(super) struct CachedFrame {
    /// In their order, at least one.
    pub(super) entries: Vec<Arc<Entry>>,
    /// Of the frame on disk.
    pub(super) bytes: usize,
}

impl CachedFrame {
    fn last(&self) -> Position {
        self.entries
            .last()
            .map_or(Position::ZERO, |entry| entry.position)
    }

    fn cost(&self) -> usize {
        self.bytes + self.entries.len() * ENTRY_BYTES
    }
}

impl State {
    /// Lets the oldest frame go, and says which was its last position.
    fn pop(&mut self) -> Option<Position> {
        let oldest = self.frames.pop_front()?;
        self.bytes -= oldest.cost();
        Some(oldest.last())
    }
}

/// The newest frames, bounded in bytes; none while nobody reads anywhere near
/// the end, who would find them gone when he gets there.
#[derive(Debug)]
pub(super) struct Tail {
    max_bytes: usize,
    /// Behind which position the reader that is furthest read last.
    furthest: AtomicU64,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    frames: VecDeque<CachedFrame>,
    bytes: usize,
    /// Every entry after this one is here, or none is and this is the end.
    floor: Position,
}

impl Tail {
    /// An empty one: what comes after `floor` will be in it.
    pub(super) fn new(max_bytes: usize, floor: Position) -> Self {
        Self {
            max_bytes,
            furthest: AtomicU64::new(floor.0),
            state: RwLock::new(State {
                frames: VecDeque::new(),
                bytes: 0,
                floor,
            }),
        }
    }

    /// Somebody reads behind this position.
    pub(super) fn note_reader(&self, after: Position) {
        self.furthest.fetch_max(after.0, Ordering::Relaxed);
    }

    /// Whether the next frames should be pushed. If not, `skip` must be called for them.
    pub(super) fn is_wanted(&self) -> bool {
        let furthest = self.furthest.load(Ordering::Relaxed);
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        furthest + NEAR_ENTRIES >= state.floor.0
    }

    /// Takes the newest frames in, and lets the oldest go.
    pub(super) fn push(&self, frames: Vec<CachedFrame>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for frame in frames {
            state.bytes += frame.cost();
            state.frames.push_back(frame);
        }
        while state.bytes > self.max_bytes {
            let Some(last) = state.pop() else {
                break;
            };
            state.floor = state.floor.max(last);
        }
        metrics::gauge!("mimamori_journal_cached_bytes").set(state.bytes as f64);
    }

    /// Frames up to `end` were not wanted. Those from before go little by
    /// little: to free them all at once would take too long.
    pub(super) fn skip(&self, frames: usize, end: Position) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.floor = end;
        for _ in 0..2 * frames {
            if state.pop().is_none() {
                break;
            }
        }
        metrics::gauge!("mimamori_journal_cached_bytes").set(state.bytes as f64);
    }

    /// Whole frames after `after`; nothing if some of them are no longer here.
    pub(super) fn read(&self, after: Position, limit: usize) -> Option<Batch> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if after < state.floor {
            return None;
        }
        let from = state.frames.partition_point(|frame| frame.last() <= after);
        let mut batch = Batch {
            entries: Vec::new(),
            through: after,
        };
        let mut bytes = 0;
        for frame in state.frames.range(from..) {
            let wanted = frame.entries.iter().filter(|entry| entry.position > after);
            batch.entries.extend(wanted.cloned());
            batch.through = frame.last();
            bytes += frame.bytes;
            if batch.entries.len() >= limit || bytes >= BATCH_BYTES {
                break;
            }
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests;
