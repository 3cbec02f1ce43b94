//! What the classrooms told and Redis has not got yet. Bounded; putting in never waits.
//!
//! Beside what waits stands each classroom as it is: when something was thrown
//! away, or Redis lost what it had, a snapshot is taken from there and what
//! waits is no longer needed. So nobody ever asks a classroom for anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mimamori_actors::domain::{ClassroomId, Timestamp};
use mimamori_actors::feed::{Applied, Delta, FeedLimits, Mirror, Opening};
use tokio::sync::Notify;

use super::beat::BeatOfClassroom;

/// More than this of one classroom does not wait: a snapshot takes its place.
const MOST_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// The same in deltas.
const MOST_WAITING: usize = 4096;
/// A snapshot is put down anew behind so many bytes of deltas, …
const RENEW_AFTER_BYTES: usize = 1024 * 1024;
/// … but not before the deltas weigh so many times as much as the snapshot …
const RENEW_AFTER_TIMES: usize = 4;
/// … and in any case behind so many deltas.
const RENEW_AFTER_DELTAS: usize = 2048;

/// Between the classrooms and the publisher.
#[derive(Default)]
pub(super) struct HandOver {
    /// Held for moments only, never over an await.
    rooms: Mutex<BTreeMap<ClassroomId, Room>>,
    arrived: Notify,
}

struct Room {
    now: Mirror,
    waiting: VecDeque<Arc<Delta>>,
    waiting_bytes: usize,
    /// Redis has nothing that what comes next would follow.
    needs_snapshot: bool,
    /// No snapshot of this epoch was put down: what Redis has of others is of no use to anybody.
    is_new: bool,
    /// Since the last snapshot.
    bytes_since: usize,
    deltas_since: usize,
    snapshot_bytes: usize,
    stale_since: Option<Timestamp>,
}

/// What Redis is to get next of one classroom: the deltas, then the snapshot behind them.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) deltas: Vec<Arc<Delta>>,
    pub(super) snapshot: Option<Opening>,
    /// What is before the snapshot is to go.
    pub(super) is_new_epoch: bool,
}

impl HandOver {
    /// A classroom begins an epoch: what waited of the one before is of no use.
    pub(super) fn begin(&self, opening: Opening) {
        let classroom = opening.classroom.clone();
        // consoles resume elsewhere: here nothing is remembered
        let limits = FeedLimits {
            remember_bytes: 0,
            remember_deltas: 0,
            ..FeedLimits::default()
        };
        let room = Room {
            now: Mirror::new(opening, limits),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            needs_snapshot: true,
            is_new: true,
            bytes_since: 0,
            deltas_since: 0,
            snapshot_bytes: 0,
            stale_since: None,
        };
        self.lock().insert(classroom, room);
        self.arrived.notify_one();
    }

    pub(super) fn put(&self, delta: &Arc<Delta>) {
        if let Some(room) = self.lock().get_mut(&delta.classroom) {
            room.put(delta);
        }
        self.arrived.notify_one();
    }

    pub(super) fn tell_stale(&self, classroom: &ClassroomId, since: Timestamp) {
        if let Some(room) = self.lock().get_mut(classroom) {
            room.stale_since.get_or_insert(since);
        }
    }

    /// Returns when something may have been put in since it last returned.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub(super) fn classrooms(&self) -> Vec<ClassroomId> {
        self.lock().keys().cloned().collect()
    }

    /// What is next of this classroom; nothing if Redis has everything.
    pub(super) fn take(&self, classroom: &ClassroomId) -> Option<Work> {
        let mut rooms = self.lock();
        let work = rooms.get_mut(classroom)?.take();
        let is_something = !work.deltas.is_empty() || work.snapshot.is_some();
        is_something.then_some(work)
    }

    /// A snapshot of this epoch was put down; how many bytes it had.
    pub(super) fn put_down(&self, classroom: &ClassroomId, epoch: &str, snapshot_bytes: usize) {
        if let Some(room) = self.lock().get_mut(classroom)
            && room.now.cursor().epoch == epoch
        {
            room.snapshot_bytes = snapshot_bytes;
            room.is_new = false;
        }
    }

    /// Nothing is known of what Redis has of this classroom.
    pub(super) fn lost(&self, classroom: &ClassroomId) {
        if let Some(room) = self.lock().get_mut(classroom) {
            room.needs_snapshot = true;
        }
        self.arrived.notify_one();
    }

    /// Whether this is the epoch of the classroom; not if it has none.
    pub(super) fn is_epoch(&self, classroom: &ClassroomId, epoch: Option<&str>) -> bool {
        let rooms = self.lock();
        let room = rooms.get(classroom);
        room.is_some_and(|room| Some(room.now.cursor().epoch.as_str()) == epoch)
    }

    /// Where every classroom stands.
    pub(super) fn stand(&self) -> BTreeMap<ClassroomId, BeatOfClassroom> {
        let rooms = self.lock();
        let of_room = |room: &Room| BeatOfClassroom {
            cursor: room.now.cursor(),
            stale_since: room.stale_since,
        };
        rooms
            .iter()
            .map(|(id, room)| (id.clone(), of_room(room)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClassroomId, Room>> {
        // a panic inside leaves at worst a classroom short of a delta: what follows is told to the
        // consoles of this node alone, until it begins anew
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn put(&mut self, delta: &Arc<Delta>) {
        if self.now.apply(delta) != Applied::Next {
            // of an incarnation that was written off and came back
            metrics::counter!("mimamori_bus_strays_total").increment(1);
            return;
        }
        self.stale_since = None;
        if self.needs_snapshot {
            return; // it will be in it
        }
        self.waiting_bytes += delta.frame.len();
        self.waiting.push_back(Arc::clone(delta));
        if self.waiting.len() > MOST_WAITING || self.waiting_bytes > MOST_WAITING_BYTES {
            metrics::counter!("mimamori_bus_cuts_total").increment(1);
            self.forget_waiting();
            self.needs_snapshot = true;
        }
    }

    fn take(&mut self) -> Work {
        if self.needs_snapshot {
            self.forget_waiting();
            return Work {
                deltas: Vec::new(),
                snapshot: Some(self.snapshot()),
                is_new_epoch: self.is_new,
            };
        }
        self.bytes_since += self.waiting_bytes;
        self.deltas_since += self.waiting.len();
        let deltas = std::mem::take(&mut self.waiting).into();
        self.waiting_bytes = 0;
        let enough = RENEW_AFTER_BYTES.max(RENEW_AFTER_TIMES * self.snapshot_bytes);
        let is_due = self.bytes_since > enough || self.deltas_since > RENEW_AFTER_DELTAS;
        Work {
            deltas,
            snapshot: is_due.then(|| self.snapshot()),
            is_new_epoch: false,
        }
    }

    fn snapshot(&mut self) -> Opening {
        self.needs_snapshot = false;
        self.bytes_since = 0;
        self.deltas_since = 0;
        self.now.opening()
    }

    fn forget_waiting(&mut self) {
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
