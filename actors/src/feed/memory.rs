//! The last deltas, for consoles that come back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::delta::Delta;
use super::merge::Merged;
use super::{FeedLimits, Resume};
use crate::domain::Cursor;

/// A console that missed more deltas than this gets them as one.
const SEND_SINGLY: usize = 16;
/// So many merged runs are kept for the next who asks: consoles that were cut
/// off together stand at a few places, not at one.
const MERGED_RUNS: usize = 16;

/// The last deltas without a gap, bounded in number and bytes.
#[derive(Default)]
pub(super) struct Memory {
    deltas: VecDeque<Arc<Delta>>,
    bytes: usize,
    /// The long runs up to the newest delta that were merged, the latest last.
    merged: VecDeque<Arc<Delta>>,
}

impl Memory {
    /// Remembers the newest delta and forgets the oldest ones beyond the limits.
    pub(super) fn remember(&mut self, delta: Arc<Delta>, limits: &FeedLimits) {
        self.merged.clear();
        self.bytes += weigh(&delta);
        self.deltas.push_back(delta);
        while self.deltas.len() > limits.remember_deltas || self.bytes > limits.remember_bytes {
            let Some(oldest) = self.deltas.pop_front() else {
                break;
            };
            self.bytes -= weigh(&oldest);
        }
    }

    /// What a console missed that has everything up to `since`, where `newest` is all there is.
    pub(super) fn resume(&mut self, since: &Cursor, newest: &Cursor, max_events: usize) -> Resume {
        let reason = if since.epoch != newest.epoch {
            "epoch"
        } else if since.seq > newest.seq {
            "unknown"
        } else {
            match self.since(since.seq, newest.seq, max_events) {
                Some(deltas) => return Resume::Deltas(deltas),
                None => "forgotten",
            }
        };
        Resume::Reset { reason }
    }

    /// Everything after `since` up to `newest`; nothing if some of it is forgotten.
    fn since(&mut self, since: u64, newest: u64, max_events: usize) -> Option<Vec<Arc<Delta>>> {
        if since == newest {
            return Some(Vec::new());
        }
        // seq grows by one a delta, so the place follows from the number
        let begin = usize::try_from(since.checked_sub(self.deltas.front()?.after)?).ok()?;
        if self.deltas.len() - begin <= SEND_SINGLY {
            return Some(self.deltas.range(begin..).cloned().collect());
        }
        match self.merged.iter().find(|merged| merged.after == since) {
            Some(merged) => Some(vec![Arc::clone(merged)]),
            None => self.merge(begin, max_events).map(|merged| vec![merged]),
        }
    }

    fn merge(&mut self, begin: usize, max_events: usize) -> Option<Arc<Delta>> {
        let mut run = self.deltas.range(begin..);
        let mut merged = Merged::of(run.next()?, max_events);
        for delta in run {
            merged.add(delta);
        }
        let merged = Arc::new(merged.into_delta());
        if self.merged.len() == MERGED_RUNS {
            self.merged.pop_front();
        }
        self.merged.push_back(Arc::clone(&merged));
        Some(merged)
    }
}

/// The parts of a delta weigh about as much as its text.
fn weigh(delta: &Delta) -> usize {
    2 * delta.frame.len()
}
