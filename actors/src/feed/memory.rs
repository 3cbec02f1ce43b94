//! The last deltas, for consoles that come back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::delta::Delta;
use super::merge::Merged;
use super::{FeedLimits, Resume};
use crate::domain::{Cursor, Heard};

/// A console that missed more deltas than this gets them as one.
const SEND_SINGLY: usize = 16;
/// So many merged runs are kept for the next who asks: consoles that were cut
/// off together stand at a few places, not at one.
const MERGED_RUNS: usize = 16;

/// The last deltas without a gap, bounded in number, bytes and age.
#[derive(Default)]
pub(super) struct Memory {
    /// Each with when it was made.
    deltas: VecDeque<(Heard, Arc<Delta>)>,
    bytes: usize,
    /// The long runs up to the newest delta that were merged, the latest last.
    merged: VecDeque<Arc<Delta>>,
}

impl Memory {
    /// Remembers the newest delta and forgets the oldest ones beyond the limits.
    pub(super) fn remember(&mut self, delta: Arc<Delta>, now: Heard, limits: &FeedLimits) {
        self.merged.clear();
        self.bytes += weigh(&delta);
        self.deltas.push_back((now, delta));
        while self.deltas.len() > limits.remember_deltas || self.bytes > limits.remember_bytes {
            self.forget_oldest();
        }
    }

    /// Forgets what is older than consoles take to come back, and the room that it took.
    pub(super) fn forget_old(&mut self, now: Heard, limits: &FeedLimits) {
        let is_old = |(made, _): &(Heard, _)| now.since(*made) >= limits.remember_for;
        while self.deltas.front().is_some_and(is_old) {
            self.forget_oldest();
        }
        if self.deltas.is_empty() {
            *self = Self::default();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.deltas.pop_front() {
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

    /// When the last of it is to be forgotten.
    pub(super) fn ends_at(&self, limits: &FeedLimits) -> Option<Heard> {
        let (made, _) = self.deltas.back()?;
        Some(made.plus(limits.remember_for))
    }

    /// Everything after `since` up to `newest`; nothing if some of it is forgotten.
    fn since(&mut self, since: u64, newest: u64, max_events: usize) -> Option<Vec<Arc<Delta>>> {
        if since == newest {
            return Some(Vec::new());
        }
        // seq grows by one a delta, so the place follows from the number
        let begin = usize::try_from(since.checked_sub(self.deltas.front()?.1.after)?).ok()?;
        if self.deltas.len() - begin <= SEND_SINGLY {
            let deltas = self.deltas.range(begin..);
            return Some(deltas.map(|(_, delta)| Arc::clone(delta)).collect());
        }
        match self.merged.iter().find(|merged| merged.after == since) {
            Some(merged) => Some(vec![Arc::clone(merged)]),
            None => self.merge(begin, max_events).map(|merged| vec![merged]),
        }
    }

    fn merge(&mut self, begin: usize, max_events: usize) -> Option<Arc<Delta>> {
        let mut run = self.deltas.range(begin..).map(|(_, delta)| delta);
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
