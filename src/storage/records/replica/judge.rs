//! Up to which moment a replica has everything, from what both servers said of their logs.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{MOST_BEHIND, Unused};
use crate::storage::records::postgres::looks::LogPlace;

/// Ends of the primary's log that the replica has not reached: of older ones it is known enough.
const MOST_ENDS: usize = 16;

/// What was seen of one run of the replica.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// When it was looked at first.
    begun: Option<Instant>,
    /// Where the primary's log ended and since when that is known, if the replica is not there yet.
    ends: VecDeque<(Instant, LogPlace)>,
    /// What was committed before this is at the replica.
    through: Option<Instant>,
    replayed: Option<LogPlace>,
    is_ahead: bool,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) through: Instant,
    pub(super) is_alone: bool,
}

impl Judge {
    /// A look at both that began at `at`: where the primary's log ended, if it said so, and up to
    /// where the replica shows it.
    pub(super) fn look(
        &mut self,
        at: Instant,
        end: Option<LogPlace>,
        replayed: LogPlace,
    ) -> Result<Seen, Unused> {
        // what it had at the look before, its primary has now
        let before = self.replayed.replace(replayed);
        self.is_ahead |= end.is_some_and(|end| before.is_some_and(|before| before > end));
        if self.is_ahead {
            return Err(Unused::Ahead);
        }
        if before.is_none() && end.is_some_and(|end| replayed > end) {
            // more was written while the two were asked, or it follows another one: the next look tells
            return Err(Unused::Unseen);
        }
        if let Some(end) = end {
            if self.ends.len() == MOST_ENDS {
                self.ends.pop_front();
            }
            self.ends.push_back((at, end));
        }
        while let Some((known, _)) = self.ends.pop_front_if(|(_, end)| *end <= replayed) {
            self.through = Some(known);
        }
        let begun = *self.begun.get_or_insert(at);
        let is_too_long = |since| at.saturating_duration_since(since) > MOST_BEHIND;
        let Some(through) = self.through else {
            // it may need a moment for what was there before the first look
            let is_behind = is_too_long(begun) && !self.ends.is_empty();
            return Err(if is_behind {
                Unused::Behind
            } else {
                Unused::Unseen
            });
        };
        let is_alone = end.is_none() && self.ends.is_empty();
        if !is_alone && is_too_long(through) {
            return Err(Unused::Behind);
        }
        Ok(Seen { through, is_alone })
    }

    /// What was committed before this is there; of one that never was level, when it was looked
    /// at first.
    pub(super) fn through(&self) -> Option<Instant> {
        self.through.or(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LOOK: Duration = Duration::from_millis(250);

    /// Looks every 250 ms: (the primary's end, what the replica shows) of each; what was seen
    /// last, in looks before that one.
    fn after(looks: &[(Option<i64>, i64)]) -> Result<(u32, bool), Unused> {
        let mut judge = Judge::default();
        let begun = Instant::now();
        let mut seen = Err(Unused::Unseen);
        let mut at = begun;
        for (nth, (end, replayed)) in (0..).zip(looks) {
            at = begun + LOOK * nth;
            seen = judge.look(at, end.map(LogPlace), LogPlace(*replayed));
        }
        let seen = seen?;
        let ago = (at - seen.through).as_millis() / LOOK.as_millis();
        Ok((u32::try_from(ago).unwrap(), seen.is_alone))
    }

    #[test]
    fn a_replica_has_what_was_there_when_its_place_was_the_end() {
        assert_eq!(after(&[(Some(10), 10)]), Ok((0, false)));
        assert_eq!(after(&[(Some(10), 10), (Some(20), 15)]), Ok((1, false)));
        // more was written while the two were asked
        assert_eq!(after(&[(Some(10), 10), (Some(20), 22)]), Ok((0, false)));
    }

    #[test]
    fn one_that_has_not_everything_of_a_second_ago_is_behind() {
        let mut looks = vec![(Some(10), 10)];
        looks.extend([(Some(20), 10); 4]);
        assert_eq!(after(&looks), Ok((4, false)));

        looks.push((Some(20), 10));
        assert_eq!(after(&looks), Err(Unused::Behind));

        looks.push((Some(30), 25));
        assert_eq!(after(&looks), Ok((1, false)));
    }

    #[test]
    fn at_the_beginning_it_may_take_a_second_to_be_level() {
        assert_eq!(after(&[(Some(10), 9); 5]), Err(Unused::Unseen));
        assert_eq!(after(&[(Some(10), 9); 6]), Err(Unused::Behind));
    }

    #[test]
    fn one_that_is_behind_for_long_is_level_again_when_it_catches_up() {
        let mut looks = vec![(Some(10), 10)];
        looks.extend((0..100).map(|n| (Some(20 + n), 10)));
        looks.push((Some(200), 120));

        assert_eq!(after(&looks), Ok((1, false)));
    }

    #[test]
    fn without_a_primary_it_is_enough_to_have_all_that_was_seen_of_it() {
        let alone = [(Some(10), 10), (None, 10), (None, 10), (None, 10)];
        assert_eq!(after(&alone), Ok((3, true)));

        let never_seen = [(None, 10)];
        assert_eq!(after(&never_seen), Err(Unused::Unseen));

        let lacks_the_end = [(Some(10), 10), (Some(20), 10), (None, 10)];
        assert_eq!(after(&lacks_the_end), Ok((2, false)));
        let and_gets_it = [(Some(10), 10), (Some(20), 10), (None, 20)];
        assert_eq!(after(&and_gets_it), Ok((1, true)));
    }

    #[test]
    fn one_that_has_more_than_its_primary_follows_another_and_is_never_read_again() {
        let went_back = [(Some(10), 10), (Some(5), 10)];
        assert_eq!(after(&went_back), Err(Unused::Ahead));

        let passes_it_later = [(Some(10), 10), (Some(5), 10), (Some(10), 10)];
        assert_eq!(after(&passes_it_later), Err(Unused::Ahead));
    }

    #[test]
    fn one_that_has_more_at_the_first_look_is_read_when_the_next_shows_that_its_primary_has_it() {
        let at_first = (Some(10), 12);
        assert_eq!(after(&[at_first]), Err(Unused::Unseen));
        assert_eq!(after(&[at_first, (Some(11), 12)]), Err(Unused::Ahead));
        assert_eq!(after(&[at_first, (Some(12), 12)]), Ok((0, false)));
    }
}
