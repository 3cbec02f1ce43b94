//! Whether a clock is believed before anything is deleted by it: what is deleted does not come back.
//!
//! A clock that was set a year ahead by mistake would make everything of a term of a
//! year go within minutes. So one that jumped ahead, or is far ahead of all that was ever
//! received, has to go on by itself for a day first: somebody may notice meanwhile.

use std::time::Duration;

use mimamori_actors::domain::Timestamp;
use tokio::time::Instant;

use crate::storage::BELIEVED;

/// A clock that nobody can confirm is believed when it has gone on by itself for so long.
const PROVEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// A difference from our own count of time that is no jump.
const DRIFTS: Duration = Duration::from_secs(60 * 60);

/// What is known of a clock.
#[derive(Debug)]
pub(super) struct Doubt {
    /// From when on it went without a jump, and what it said then.
    since: Instant,
    said: Timestamp,
    has_jumped: bool,
    is_told: bool,
}

impl Doubt {
    /// Of a clock that says `now`, and was not looked at before.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            since: Instant::now(),
            said: now,
            has_jumped: false,
            is_told: false,
        }
    }

    /// Whether it is believed. `heard` is when the last thing was received, by this clock or
    /// by the one of an earlier run; a clock close to it is confirmed, unless it jumped there.
    pub(super) fn believes(&mut self, now: Timestamp, heard: Option<Timestamp>) -> bool {
        let expected = self.said.plus(self.since.elapsed());
        if now > expected.plus(DRIFTS) {
            *self = Self {
                has_jumped: true,
                ..Self::new(now)
            };
        }
        let is_confirmed = heard.is_none_or(|heard| now.since(heard) <= BELIEVED);
        let is_believed =
            self.since.elapsed() >= PROVEN_AFTER || (is_confirmed && !self.has_jumped);
        metrics::gauge!("mimamori_retention_doubts_clock_bool").set(if is_believed {
            0.0
        } else {
            1.0
        });
        if !is_believed && !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                "the clock is far ahead of all that was received, or jumped ahead: nothing is deleted by it for 24 h; if it is wrong, set it right now"
            );
        }
        is_believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOON: Timestamp = Timestamp::from_millis(1_795_305_600_000);

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_close_to_what_was_received_is_believed_at_once() {
        assert!(Doubt::new(NOON).believes(NOON, Some(NOON.minus(DAY))));
        assert!(Doubt::new(NOON).believes(NOON, Some(NOON.plus(DAY))));
        // there is nothing that could be lost
        assert!(Doubt::new(NOON).believes(NOON, None));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_years_ahead_of_all_that_was_received_has_to_go_on_for_a_day() {
        let heard = Some(NOON.minus(400 * DAY));
        let mut doubt = Doubt::new(NOON);

        let at_once = doubt.believes(NOON, heard);
        tokio::time::advance(DAY - Duration::from_secs(1)).await;
        let before = doubt.believes(NOON.plus(DAY), heard);
        tokio::time::advance(Duration::from_secs(1)).await;
        let after = doubt.believes(NOON.plus(DAY), heard);

        assert_eq!((at_once, before, after), (false, false, true));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_jumps_ahead_is_doubted_whatever_is_received_then() {
        let mut doubt = Doubt::new(NOON);
        assert!(doubt.believes(NOON, Some(NOON)));
        tokio::time::advance(DAY).await;
        let later = NOON.plus(DAY);
        assert!(doubt.believes(later, Some(later)));

        let wrong = later.plus(365 * DAY);
        assert!(!doubt.believes(wrong, Some(wrong)));
        tokio::time::advance(DAY).await;
        assert!(doubt.believes(wrong.plus(DAY), Some(wrong)));
    }
}
