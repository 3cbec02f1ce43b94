//! What waits for one console: bounded in bytes, merged per student when the console is slow.
//!
//! A classroom delivers into many outboxes and never waits for one. While
//! there is room, the frame that all consoles share is queued as it is. Beyond
//! that, everything pending is merged: the latest of each student and alert
//! wins, events are counted. When even that outgrows the bound it is thrown
//! away, and what comes next is [`Item::Resnapshot`]: the console begins anew.
//!
//! It promises: of each classroom a console sees its opening (a snapshot, or
//! nothing where it resumes), then deltas of which each one's `after` is the
//! last one's `seq`; and what waits is never more than
//! [`OutboxLimits::max_bytes`], or one delta, and one opening a classroom.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use metrics::counter;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::{ClassroomId, Cursor};
use crate::feed::{Delta, Merged};

mod close;
mod queue;
#[cfg(test)]
mod tests;

pub use close::CloseCode;

use queue::{Queue, Taken};

/// How much may wait for one console.
#[derive(Debug, Clone, Copy)]
pub struct OutboxLimits {
    /// Besides the snapshots, which all consoles share and of which one a classroom may wait,
    /// and besides a delta where nothing else waits: that is shared too.
    pub max_bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024,
        }
    }
}

/// What comes next for a console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A text frame, ready to be sent.
    Frame(Bytes),
    /// What waited of this classroom is lost: tell a reset and subscribe anew. Until then none of its deltas comes.
    Resnapshot(ClassroomId),
    /// The end: nothing comes after it.
    Closed(CloseCode),
}

/// What waits for one console. Any number of tasks may put in, one takes out.
pub struct Outbox {
    limits: OutboxLimits,
    /// Held for moments only, never over an await.
    queue: Mutex<Queue>,
    arrived: Notify,
}

impl Outbox {
    /// An empty one.
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            queue: Mutex::new(Queue::default()),
            arrived: Notify::new(),
        }
    }

    /// Queues a frame that belongs to no classroom: an answer, an error.
    ///
    /// These are not merged; if they alone outgrow the bound, the console is too slow.
    pub fn push(&self, frame: Bytes) {
        self.change(|queue| queue.push(frame, self.limits.max_bytes));
    }

    /// Begins a classroom (anew): what waits of it is dropped, `opening` is
    /// queued, and only deltas after `cursor` follow.
    ///
    /// The opening is a snapshot (with a reset before it, if the console had
    /// another state), or empty for a console that resumes at `cursor`.
    pub fn begin(&self, classroom: &ClassroomId, opening: Vec<Bytes>, cursor: Cursor) {
        self.change(|queue| queue.begin(classroom, opening, cursor));
    }

    /// Puts a delta in; never waits. Deltas of a classroom that was not begun,
    /// of another epoch, or that the console has already, are ignored.
    pub fn deliver(&self, delta: &Arc<Delta>) {
        let outcome = self.change(|queue| queue.deliver(delta, self.limits.max_bytes));
        if outcome.merged > 0 {
            counter!("mimamori_live_deltas_merged_total").increment(outcome.merged);
        }
        if outcome.lost > 0 {
            counter!("mimamori_live_resnapshots_total").increment(outcome.lost);
        }
    }

    /// Tells the console that nothing comes of a classroom that it watches,
    /// unless it was told since it last got something.
    pub(crate) fn tell_stale(&self, classroom: &ClassroomId, frame: &Bytes) {
        self.change(|queue| queue.tell_stale(classroom, frame, self.limits.max_bytes));
    }

    /// Whether the console was told that nothing comes of this classroom, and has got nothing since.
    pub(crate) fn is_stale(&self, classroom: &ClassroomId) -> bool {
        self.lock().is_stale(classroom)
    }

    /// No more of this classroom: what waits of it is dropped.
    pub fn stop_classroom(&self, classroom: &ClassroomId) {
        self.change(|queue| queue.stop(classroom));
    }

    /// Ends it; only the first code counts. What waits is still delivered when
    /// the server drains, and dropped with every other code.
    pub fn close(&self, code: CloseCode) {
        self.change(|queue| queue.close(code));
    }

    /// Whether [`Outbox::close`] was called, and with what.
    pub fn closed(&self) -> Option<CloseCode> {
        self.lock().closed()
    }

    /// The next item; waits for it. Loses nothing if it is cancelled.
    pub async fn next(&self) -> Item {
        loop {
            if let Some(item) = self.try_next() {
                return item;
            }
            self.arrived.notified().await;
        }
    }

    /// The next item, if one is there.
    pub fn try_next(&self) -> Option<Item> {
        let taken = self.lock().take()?;
        // out of the lock: serialising takes a while
        Some(match taken {
            Taken::Item(item) => item,
            Taken::Merged(merged) => Item::Frame(Merged::into_delta(*merged).frame),
        })
    }

    /// How many bytes wait, openings included.
    pub fn queued_bytes(&self) -> usize {
        self.lock().queued_bytes()
    }

    /// Since when something has been waiting without a break; nothing if nothing waits.
    pub fn behind_since(&self) -> Option<Instant> {
        self.lock().behind_since()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.lock();
        let outcome = change(&mut queue);
        let has_items = queue.note_behind();
        drop(queue);
        if has_items {
            self.arrived.notify_one();
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // a panic inside leaves at worst a queue that is short of a frame, and the chain check finds that
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Outbox {
    /// Without what waits: it names students.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("limits", &self.limits)
            .field("queued_bytes", &self.queued_bytes())
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}
