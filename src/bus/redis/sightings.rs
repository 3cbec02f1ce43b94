//! Whether what is mirrored is the present, as far as can be known here.
//!
//! Pure. The beat tells where the node that folds stands. Nothing comes where
//! something should while no new beat is seen, while what a beat told of is not
//! there, and while that node itself says so.

use std::collections::BTreeMap;
use std::time::Duration;

use mimamori_actors::domain::{ClassroomId, Cursor, Timestamp};
use tokio::time::Instant;

use super::beat::Beat;

/// With more than this between two looks the whole process stood still: that was nobody's silence.
const STOOD_STILL: Duration = Duration::from_secs(3);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    last: Option<Beat>,
    /// When it was first seen.
    seen_at: Option<Instant>,
    looked_at: Option<Instant>,
    /// Told of by a beat and not there yet: since when, and what.
    behind: BTreeMap<ClassroomId, (Instant, Cursor)>,
}

/// For how long nothing came where something should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// For so long.
    For(Duration),
    /// Since then, says the node that folds.
    Since(Timestamp),
}

impl Sightings {
    /// A beat was read; nothing if there is none.
    pub(super) fn note(&mut self, beat: Option<Beat>, now: Instant) {
        if let Some(beat) = beat
            && self.last.as_ref() != Some(&beat)
        {
            self.last = Some(beat);
            self.seen_at = Some(now);
        }
    }

    /// The epoch of a classroom, as the last beat told.
    pub(super) fn epoch(&self, classroom: &ClassroomId) -> Option<&str> {
        let told = self.last.as_ref()?.classrooms.get(classroom)?;
        Some(&told.cursor.epoch)
    }

    /// What signs at the node that folds.
    pub(super) fn signs(&self) -> Option<&str> {
        self.last.as_ref()?.signs.as_deref()
    }

    /// Whether the last beat told of nothing that is not here.
    pub(super) fn knows_no_more(&self, classroom: &ClassroomId, here: &Cursor) -> bool {
        let told = self
            .last
            .as_ref()
            .and_then(|beat| beat.classrooms.get(classroom));
        told.is_none_or(|told| has(Some(here), &told.cursor))
    }

    /// To be called before looking at the classrooms, every second.
    pub(super) fn look(&mut self, now: Instant) {
        let last = self.looked_at.replace(now);
        let is_first = last.is_none();
        if is_first || last.is_some_and(|last| now.duration_since(last) > STOOD_STILL) {
            self.seen_at = Some(now);
            self.behind.clear();
        }
    }

    /// For how long nothing has come of this classroom where something should; zero if all is well.
    pub(super) fn silence(
        &mut self,
        classroom: &ClassroomId,
        here: Option<&Cursor>,
        now: Instant,
    ) -> Silence {
        let no_beat = self
            .seen_at
            .map_or(Duration::ZERO, |at| now.duration_since(at));
        let Some(told) = self
            .last
            .as_ref()
            .and_then(|beat| beat.classrooms.get(classroom))
        else {
            return Silence::For(no_beat);
        };
        if let Some(since) = told.stale_since {
            return Silence::Since(since);
        }
        if let Some((_, awaited)) = self.behind.get(classroom)
            && has(here, awaited)
        {
            self.behind.remove(classroom);
        }
        if has(here, &told.cursor) {
            return Silence::For(no_beat);
        }
        let behind = self
            .behind
            .entry(classroom.clone())
            .or_insert_with(|| (now, told.cursor.clone()));
        Silence::For(no_beat.max(now.duration_since(behind.0)))
    }
}

/// Whether what is here is as far as that.
fn has(here: Option<&Cursor>, there: &Cursor) -> bool {
    here.is_some_and(|here| here.epoch == there.epoch && here.seq >= there.seq)
}

#[cfg(test)]
mod tests {
    use super::super::beat::BeatOfClassroom;
    use super::*;

    fn room() -> ClassroomId {
        ClassroomId::new("default")
    }

    fn cursor(epoch: &str, seq: u64) -> Cursor {
        let epoch = epoch.to_owned();
        Cursor { epoch, seq }
    }

    fn beat(number: u64, cursor: Cursor, stale_since: Option<Timestamp>) -> Option<Beat> {
        let of_classroom = BeatOfClassroom {
            cursor,
            stale_since,
        };
        Some(Beat {
            node: "a/1".to_owned(),
            number,
            signs: None,
            classrooms: [(room(), of_classroom)].into(),
        })
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_is_counted_from_the_last_new_beat_and_over_with_the_next() {
        let begun = Instant::now();
        let mut sightings = Sightings::default();
        let here = cursor("a", 3);
        let mut silence = |second, number| {
            let now = begun + seconds(second);
            sightings.note(beat(number, here.clone(), None), now);
            sightings.look(now);
            sightings.silence(&room(), Some(&here), now)
        };

        let silences: Vec<_> = [(0, 1), (2, 1), (4, 1), (6, 1), (7, 2)]
            .into_iter()
            .map(|(second, number)| silence(second, number))
            .collect();

        assert_eq!(
            silences,
            [0, 2, 4, 6, 0].map(|it| Silence::For(seconds(it)))
        );
    }

    #[test]
    fn who_never_saw_a_beat_counts_from_its_first_look() {
        let begun = Instant::now();
        let mut sightings = Sightings::default();
        sightings.look(begun);
        sightings.look(begun + seconds(3));

        let silence = sightings.silence(&room(), None, begun + seconds(3));

        assert_eq!(silence, Silence::For(seconds(3)));
    }

    #[test]
    fn what_a_beat_told_of_and_is_not_here_is_silence_however_many_beats_come() {
        let begun = Instant::now();
        let mut sightings = Sightings::default();
        let mut silence = |second: u64, here: Cursor, there: Cursor| {
            let now = begun + seconds(second);
            sightings.note(beat(second, there, None), now);
            sightings.look(now);
            sightings.silence(&room(), Some(&here), now)
        };

        let silences = [
            silence(0, cursor("a", 1), cursor("a", 5)),
            silence(2, cursor("a", 2), cursor("a", 9)),
            silence(4, cursor("a", 5), cursor("a", 12)),
            silence(6, cursor("a", 6), cursor("b", 0)),
            silence(7, cursor("b", 0), cursor("b", 0)),
        ];

        // it was behind for 4 s until it had what it lacked first, and for 2 s since
        assert_eq!(
            silences,
            [0, 2, 0, 2, 0].map(|it| Silence::For(seconds(it)))
        );
    }

    #[test]
    fn what_the_node_that_folds_says_of_itself_is_said_on() {
        let begun = Instant::now();
        let mut sightings = Sightings::default();
        let since = Timestamp::from_millis(1);
        sightings.note(beat(1, cursor("a", 1), Some(since)), begun);
        sightings.look(begun);

        let silence = sightings.silence(&room(), Some(&cursor("a", 1)), begun);

        assert_eq!(silence, Silence::Since(since));
    }

    #[test]
    fn while_the_process_stood_still_nobody_was_silent() {
        let begun = Instant::now();
        let mut sightings = Sightings::default();
        sightings.note(beat(1, cursor("a", 1), None), begun);
        sightings.look(begun);
        let later = begun + seconds(60);

        sightings.look(later);

        let silence = sightings.silence(&room(), Some(&cursor("a", 1)), later);
        assert_eq!(silence, Silence::For(Duration::ZERO));
    }
}
