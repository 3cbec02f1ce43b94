//! Hours that were read before, in this process' memory.

use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::domain::ClassroomId;
use moka::future::Cache;

use super::hour::Hour;
use super::hours::{Found, Stamp};

/// A month of a class of 200 takes 2 MB, if all of them are there day and night.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
/// What an hour takes besides itself: its name, its places in the lists of the cache.
const ENTRY_BYTES: usize = 256;
/// Nobody looks at it any more. Of who was erased nothing is kept for longer, either.
const UNREAD_FOR: Duration = Duration::from_secs(3_600);

/// Classrooms of which it is remembered when they began.
const MOST_CLASSROOMS: u64 = 10_000;

/// Hours by their classrooms and numbers, those that were read last.
#[derive(Debug)]
pub(super) struct Remembered {
    hours: Cache<(ClassroomId, i64), Counted>,
    oldest: Cache<ClassroomId, Oldest>,
}

/// From this minute to this hour there is nothing.
#[derive(Debug, Clone, Copy)]
struct Oldest {
    from: i64,
    hour: i64,
    as_of: Stamp,
}

#[derive(Debug, Clone)]
struct Counted {
    by: Stamp,
    hour: Arc<Hour>,
}

impl Default for Remembered {
    fn default() -> Self {
        let bytes = |_: &_, counted: &Counted| {
            u32::try_from(counted.hour.bytes() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let hours = Cache::builder()
            .max_capacity(MOST_BYTES)
            .weigher(bytes)
            .time_to_idle(UNREAD_FOR)
            .build();
        let oldest = Cache::builder().max_capacity(MOST_CLASSROOMS);
        Self {
            hours,
            oldest: oldest.time_to_idle(UNREAD_FOR).build(),
        }
    }
}

impl Remembered {
    /// The hour of this number as it was counted by this; nothing if it is not remembered.
    /// As it was counted by anything else it is forgotten.
    pub(super) async fn hour(
        &self,
        classroom: &ClassroomId,
        number: i64,
        by: Stamp,
    ) -> Option<Arc<Hour>> {
        let name = (classroom.clone(), number);
        let counted = self.hours.get(&name).await?;
        if counted.by != by {
            self.hours.invalidate(&name).await;
            return None;
        }
        Some(counted.hour)
    }

    /// Takes the place of what was counted by something else.
    pub(super) async fn keep(
        &self,
        classroom: &ClassroomId,
        number: i64,
        by: Stamp,
        hour: Arc<Hour>,
    ) {
        let counted = Counted { by, hour };
        self.hours
            .insert((classroom.clone(), number), counted)
            .await;
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
