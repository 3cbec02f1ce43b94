//! What charts have read before, in this process' memory.

use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::domain::ClassroomId;
use moka::future::Cache;

use super::hour::{Hour, Minutes};
use super::hours::{Found, Stamp};

/// A month of a class of 200 takes 2 MB, if all of them are there day and night.
const MOST_HOUR_BYTES: u64 = 32 * 1024 * 1024;
/// An hour of a class of 200 takes 10 KB.
const MOST_MINUTE_BYTES: u64 = 16 * 1024 * 1024;
/// What an entry takes besides its value: its name, its places in the lists of the cache.
const ENTRY_BYTES: usize = 256;
/// Nobody looks at it any more. (It goes when the next chart is made.)
const UNREAD_FOR: Duration = Duration::from_secs(3_600);
/// Classrooms of which it is remembered when they began.
const MOST_CLASSROOMS: u64 = 10_000;

#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) hours: ByHour<Arc<Hour>>,
    pub(super) minutes: ByHour<Arc<Minutes>>,
    oldest: Cache<ClassroomId, Oldest>,
}

/// What was counted of hours that hold, those that were read last.
#[derive(Debug)]
pub(super) struct ByHour<V: Clone + Send + Sync + 'static> {
    /// By their classrooms and numbers, with what they were counted by.
    counted: Cache<(ClassroomId, i64), (Stamp, V)>,
}

/// From this minute to this hour there is nothing.
#[derive(Debug, Clone, Copy)]
struct Oldest {
    from: i64,
    hour: i64,
    as_of: Stamp,
}

impl<V: Clone + Send + Sync + 'static> ByHour<V> {
    fn new(most_bytes: u64, bytes: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        let weight = move |_: &_, (_, value): &(Stamp, V)| {
            u32::try_from(bytes(value) + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let counted = Cache::builder().max_capacity(most_bytes).weigher(weight);
        Self {
            counted: counted.time_to_idle(UNREAD_FOR).build(),
        }
    }

    /// Of the hour of this number as it was counted by this; nothing if it is not remembered.
    /// As it was counted by anything else it is forgotten.
    pub(super) async fn find(&self, classroom: &ClassroomId, number: i64, by: Stamp) -> Option<V> {
        let name = (classroom.clone(), number);
        let (stamp, value) = self.counted.get(&name).await?;
        if stamp != by {
            self.counted.invalidate(&name).await;
            return None;
        }
        Some(value)
    }

    /// Takes the place of what was counted by something else.
    pub(super) async fn keep(&self, classroom: &ClassroomId, number: i64, by: Stamp, value: V) {
        let name = (classroom.clone(), number);
        self.counted.insert(name, (by, value)).await;
    }
}

impl Default for Remembered {
    fn default() -> Self {
        let oldest = Cache::builder().max_capacity(MOST_CLASSROOMS);
        Self {
            hours: ByHour::new(MOST_HOUR_BYTES, |hour: &Arc<Hour>| hour.bytes()),
            minutes: ByHour::new(MOST_MINUTE_BYTES, |minutes: &Arc<Minutes>| minutes.bytes()),
            oldest: oldest.time_to_idle(UNREAD_FOR).build(),
        }
    }
}

impl Remembered {
    /// Somebody is in there who is to be in nothing any more.
    pub(super) async fn forget(&self) {
        self.hours.counted.invalidate_all();
        self.minutes.counted.invalidate_all();
        self.hours.counted.run_pending_tasks().await;
        self.minutes.counted.run_pending_tasks().await;
    }

    /// The hour before which there is nothing in a range that begins at this minute; nothing
    /// if it is not remembered, or something may have come since.
    pub(super) async fn oldest(
        &self,
        classroom: &ClassroomId,
        from: i64,
        now: &Found,
    ) -> Option<i64> {
        let oldest = self.oldest.get(classroom).await?;
        let holds = oldest.from <= from && !now.came_before(oldest.hour, oldest.as_of);
        holds.then_some(oldest.hour)
    }

    /// From this minute to this hour there is nothing that came before this was found.
    pub(super) async fn keep_oldest(
        &self,
        classroom: &ClassroomId,
        from: i64,
        hour: i64,
        found: &Found,
    ) {
        if let Some(as_of) = found.settled(hour) {
            let oldest = Oldest { from, hour, as_of };
            self.oldest.insert(classroom.clone(), oldest).await;
        }
    }
}
