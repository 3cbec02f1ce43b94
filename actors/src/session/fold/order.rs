//! In which order a student's events happened, told by clocks that are not ours.
//!
//! Events are put in the order of `eventTime`, whatever that clock says: the
//! differences of one clock are right even if it is a day ahead. Only a clock
//! that jumps back needs care, or its student would stand still until it has
//! caught up. Such a jump begins another *epoch*, and what is of a later epoch
//! comes later. Two things are taken for a jump:
//!
//! - A clock that was ahead of ours by more than [`JUMP`] and now says a time
//!   at least four times nearer to ours was put right: at once. Of a clock that
//!   is less ahead, an event that was sent again for 20 s would look like that.
//! - Of a clock that was set back we first see an event more than [`JUMP`]
//!   later than its predecessors came. That may be an old event that comes
//!   late. When another comes as late as that one (within [`ALIKE`]), and at
//!   least as long after it, it is the clock: old events that were kept and
//!   come together are as late as they are old, each by another time.
//!
//! A jump back by less than [`JUMP`] can't be told from an event that comes
//! late: that student stands still for as long as the jump was.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::format::is_default;
use crate::domain::{Heard, Moment, Timestamp};

/// By less no clock is known to have jumped: an event may come so late.
const JUMP: Duration = Duration::from_secs(60);
/// Two events of one clock come to us within so much of each other's delay.
const ALIKE: Duration = Duration::from_secs(3);

/// Where an event stands among the student's others.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub(super) struct Order {
    #[serde(rename = "e", default, skip_serializing_if = "is_default")]
    epoch: u32,
    #[serde(rename = "t")]
    time_ms: i64,
}

/// What is known of the clocks that a student's events are timed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Clocks {
    #[serde(default, skip_serializing_if = "is_default")]
    epoch: u32,
    /// The newest event of this epoch.
    newest: Option<Seen>,
    /// An event of a clock that was perhaps set back, and when it was heard.
    #[serde(default, skip_serializing_if = "is_default")]
    suspect: Option<(i64, Heard)>,
}

/// An event's time, and how much later by our clock it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    time_ms: i64,
    behind_ms: i64,
}

impl Clocks {
    /// The order of an event of this time, received at this moment.
    pub(super) fn order(&mut self, time: Timestamp, received: Moment) -> Order {
        let seen = Seen {
            time_ms: time.as_millis(),
            behind_ms: received.at.as_millis().saturating_sub(time.as_millis()),
        };
        match self.newest {
            Some(newest) if seen.time_ms < newest.time_ms => {
                if is_put_right(newest, seen) || self.is_set_back(newest, seen, received.heard) {
                    self.epoch = self.epoch.saturating_add(1);
                    self.newest = Some(seen);
                }
            }
            Some(_) | None => self.newest = Some(seen),
        }
        Order {
            epoch: self.epoch,
            time_ms: seen.time_ms,
        }
    }

    fn is_set_back(&mut self, newest: Seen, seen: Seen, now: Heard) -> bool {
        if seen.behind_ms.saturating_sub(newest.behind_ms) <= millis(JUMP) {
            return false;
        }
        match self.suspect {
            Some((behind_ms, since))
                if behind_ms.saturating_sub(seen.behind_ms).saturating_abs() <= millis(ALIKE) =>
            {
                // kept, so that two clocks under one address need not be found out again and again
                now.since(since) >= ALIKE
            }
            Some(_) | None => {
                self.suspect = Some((seen.behind_ms, now));
                false
            }
        }
    }
}

fn is_put_right(newest: Seen, seen: Seen) -> bool {
    newest.behind_ms < -millis(JUMP)
        && seen.behind_ms.unsigned_abs() <= newest.behind_ms.unsigned_abs() / 4
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
