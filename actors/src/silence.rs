//! When consoles are told that nothing comes where something should (contract, section 5).
//!
//! Pure: [`Silence`] holds what was seen of one classroom, [`Silence::look`]
//! says whether to tell. Something should come while the classroom is down or
//! has work that it does not take in hand, while the router has not handed out
//! what stands in the journal, and while a session sits on what it was handed.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Position;

/// After so long without anything, where something should have come, consoles are told.
pub(crate) const STALE_AFTER: Duration = Duration::from_secs(5);

/// With more than this between two looks the whole process stood still: that was nobody's silence.
const STOOD_STILL: Duration = Duration::from_secs(3);

/// What is seen of one classroom at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// When.
    pub(crate) now: Instant,
    /// When its consoles were last told something.
    pub(crate) told_at: Option<Instant>,
    /// Whether its actor takes messages.
    pub(crate) is_running: bool,
    /// How long the oldest message of its actor has waited.
    pub(crate) oldest_message: Duration,
    /// The end of the journal.
    pub(crate) end: Position,
    /// Up to where the router has handed it out.
    pub(crate) handed_out: Position,
}

/// What has been seen of one classroom so far.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// Since when there was a look every second, and the last one.
    looks: Option<(Instant, Instant)>,
    /// Its actor has not been running since.
    down_since: Option<Instant>,
    /// Since when the journal has had an end that the router has not reached, and which.
    behind: Option<(Instant, Position)>,
    /// Up to this end of the journal the sessions had nothing left to do.
    settled: Position,
}

impl Silence {
    /// For how long nothing has come where something should, if that is to be told.
    ///
    /// `sessions_wait` gives how long anything has waited for a session of the
    /// classroom; it looks at all of them, and is asked only when it may matter.
    pub(crate) fn look(
        &mut self,
        sight: &Sight,
        sessions_wait: impl FnOnce() -> Duration,
    ) -> Option<Duration> {
        let looked_for = self.looked_for(sight.now);
        let waits = self
            .classroom_waits(sight)
            .max(self.router_waits(sight))
            .max(self.sessions_wait(sight, sessions_wait));
        let silent = waits.min(quiet(sight)).min(looked_for);
        (silent >= STALE_AFTER).then_some(silent)
    }

    fn looked_for(&mut self, now: Instant) -> Duration {
        let begun = match self.looks {
            Some((begun, last)) if now.duration_since(last) <= STOOD_STILL => begun,
            Some(_) | None => now,
        };
        self.looks = Some((begun, now));
        now.duration_since(begun)
    }

    fn classroom_waits(&mut self, sight: &Sight) -> Duration {
        if sight.is_running {
            self.down_since = None;
            return sight.oldest_message;
        }
        let since = *self.down_since.get_or_insert(sight.now);
        sight.now.duration_since(since).max(sight.oldest_message)
    }

    fn router_waits(&mut self, sight: &Sight) -> Duration {
        if self.behind.is_some_and(|(_, end)| sight.handed_out >= end) {
            self.behind = None;
        }
        if sight.handed_out >= sight.end {
            return Duration::ZERO;
        }
        let (since, _) = *self.behind.get_or_insert((sight.now, sight.end));
        sight.now.duration_since(since)
    }

    fn sessions_wait(&mut self, sight: &Sight, ask: impl FnOnce() -> Duration) -> Duration {
        if quiet(sight) < STALE_AFTER || sight.end == self.settled {
            return Duration::ZERO;
        }
        let waits = ask();
        if waits.is_zero() {
            self.settled = sight.end;
        }
        waits
    }
}

/// How long consoles have been told nothing.
fn quiet(sight: &Sight) -> Duration {
    sight
        .told_at
        .map_or(Duration::MAX, |at| sight.now.duration_since(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_WAIT: fn() -> Duration = || Duration::ZERO;

    /// Everything is in order, and nothing was told for ever.
    fn well(now: Instant) -> Sight {
        Sight {
            now,
            told_at: None,
            is_running: true,
            oldest_message: Duration::ZERO,
            end: Position(7),
            handed_out: Position(7),
        }
    }

    /// The same, and something has come since.
    fn attentive_to_new(now: Instant) -> Silence {
        Silence {
            settled: Position(6),
            ..attentive(now)
        }
    }

    /// One that has looked at a class in order for a minute, up to now.
    fn attentive(now: Instant) -> Silence {
        let mut silence = Silence::default();
        for s in 0..60 {
            let told = silence.look(&well(now - seconds(60 - s)), NO_WAIT);
            assert_eq!(told, None);
        }
        silence
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_class_in_which_nothing_happens_is_not_stale() {
        let begun = Instant::now();
        let mut silence = Silence::default();

        let told = (0..100).find_map(|s| silence.look(&well(begun + seconds(s)), NO_WAIT));

        assert_eq!(told, None);
    }

    #[test]
    fn a_classroom_that_is_down_is_stale_after_five_seconds_and_not_when_it_is_back() {
        let begun = Instant::now();
        let mut silence = Silence::default();
        let down = |s| Sight {
            is_running: false,
            ..well(begun + seconds(s))
        };

        let told: Vec<_> = (0..7)
            .map(|s| silence.look(&down(s), NO_WAIT).is_some())
            .collect();
        let back = silence.look(&well(begun + seconds(7)), NO_WAIT);

        assert_eq!(told, [false, false, false, false, false, true, true]);
        assert_eq!(back, None);
        assert_eq!(silence.look(&down(8), NO_WAIT), None, "it counts anew");
    }

    #[test]
    fn a_classroom_that_leaves_a_message_lying_is_stale() {
        let now = Instant::now() + seconds(100);
        let sight = Sight {
            oldest_message: seconds(6),
            ..well(now)
        };

        let told = attentive(now).look(&sight, NO_WAIT);

        assert_eq!(told, Some(seconds(6)));
    }

    #[test]
    fn while_the_whole_process_stood_still_nothing_was_silent() {
        let now = Instant::now() + seconds(100);
        let mut silence = attentive(now);
        let waits = |s| Sight {
            oldest_message: seconds(s),
            ..well(now + seconds(s))
        };

        let told: Vec<_> = [30, 31, 32, 33, 34, 35]
            .map(|s| silence.look(&waits(s), NO_WAIT).is_some())
            .into();

        assert_eq!(told, [false, false, false, false, false, true]);
    }

    #[test]
    fn a_router_that_does_not_move_is_stale_and_one_that_moves_is_not() {
        let begun = Instant::now();
        let behind = |s: u64, handed_out: u64| Sight {
            end: Position(100 + s * 10),
            handed_out: Position(handed_out),
            ..well(begun + seconds(s))
        };
        let (mut stuck, mut slow) = (Silence::default(), Silence::default());

        let stuck_told = (0..=5)
            .filter_map(|s| stuck.look(&behind(s, 50), NO_WAIT))
            .count();
        let slow_told = (0..=50)
            .filter_map(|s| slow.look(&behind(s, 80 + s * 10), NO_WAIT))
            .count();

        assert_eq!(stuck_told, 1);
        assert_eq!(slow_told, 0, "what it is behind is never older than 2 s");
    }

    #[test]
    fn a_session_that_sits_on_its_entries_makes_the_class_stale_only_if_nothing_else_comes() {
        let now = Instant::now() + seconds(100);
        let sit = || seconds(9);
        let told_lately = Sight {
            told_at: Some(now - seconds(4)),
            ..well(now)
        };
        let told_long_ago = Sight {
            told_at: Some(now - seconds(6)),
            ..well(now)
        };

        assert_eq!(attentive_to_new(now).look(&told_lately, sit), None);
        assert_eq!(
            attentive_to_new(now).look(&told_long_ago, sit),
            Some(seconds(6))
        );
    }

    #[test]
    fn sessions_that_have_nothing_to_do_are_not_looked_at_again_before_something_comes() {
        let now = Instant::now() + seconds(100);
        let mut silence = attentive(now);

        silence.look(&well(now), || panic!("nothing has come since"));
        let more = Sight {
            end: Position(8),
            handed_out: Position(8),
            ..well(now)
        };

        assert_eq!(silence.look(&more, || seconds(5)), Some(seconds(5)));
    }
}
