//! When which silence is over: kept by sessions and the router, read by housekeeping.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use crate::domain::{ClassroomId, Heard, SessionKey, Timer, TimerCause};

/// Whose silences.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    Session(SessionKey),
    Classroom(ClassroomId),
}

impl Owner {
    fn classroom(&self) -> &ClassroomId {
        match self {
            Self::Session(key) => &key.classroom,
            Self::Classroom(classroom) => classroom,
        }
    }
}

/// All silences that will be over one day, by heard time: a few for each student with an open session.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_owner: HashMap<Owner, Vec<(Heard, TimerCause)>>,
    by_time: BTreeSet<(Heard, Owner, TimerCause)>,
    /// Whose silences mean nothing any more, until they have new ones: what was
    /// taken out of theirs is not put back. As many as were erased.
    forgotten: HashSet<Owner>,
}

impl Inner {
    fn put(&mut self, owner: &Owner, deadlines: Vec<(Heard, TimerCause)>) {
        for (due, cause) in &deadlines {
            self.by_time.insert((*due, owner.clone(), cause.clone()));
        }
        if !deadlines.is_empty() {
            self.by_owner.insert(owner.clone(), deadlines);
        }
    }
}

impl Deadlines {
    /// These are all the silences of this owner now; what was set before is forgotten.
    pub(crate) fn set(&self, owner: &Owner, deadlines: Vec<(Heard, TimerCause)>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for (due, cause) in inner.by_owner.remove(owner).unwrap_or_default() {
            inner.by_time.remove(&(due, owner.clone(), cause));
        }
        inner.forgotten.remove(owner);
        inner.put(owner, deadlines);
    }

    /// This owner has none, and what was taken out of theirs does not come back.
    pub(crate) fn forget(&self, owner: Owner) {
        self.set(&owner, Vec::new());
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forgotten.insert(owner);
    }

    /// Takes out what is over at `now`, at most `limit`, earliest first.
    pub(crate) fn take_due(&self, now: Heard, limit: usize) -> Vec<Timer> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while due.len() < limit {
            if inner.by_time.first().is_none_or(|(at, ..)| *at > now) {
                break;
            }
            let Some((at, owner, cause)) = inner.by_time.pop_first() else {
                break;
            };
            if let Some(deadlines) = inner.by_owner.get_mut(&owner) {
                deadlines.retain(|(known_at, known)| *known_at != at || *known != cause);
            }
            due.push(Timer {
                classroom: owner.classroom().clone(),
                cause,
            });
        }
        due
    }

    /// What was taken out could not be journaled: it is due again at `at`.
    pub(crate) fn put_back(&self, timers: Vec<Timer>, at: Heard) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for Timer { classroom, cause } in timers {
            let owner = match cause.student() {
                Some(student) => Owner::Session(SessionKey {
                    classroom,
                    student: student.clone(),
                }),
                None => Owner::Classroom(classroom),
            };
            if inner.forgotten.contains(&owner) {
                continue;
            }
            inner
                .by_owner
                .entry(owner.clone())
                .or_default()
                .push((at, cause.clone()));
            inner.by_time.insert((at, owner, cause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::LessonId;

    fn lesson_over(name: &str) -> TimerCause {
        TimerCause::LessonSilent {
            lesson: LessonId::new(name),
            last_event: Heard::from_millis(0),
        }
    }

    fn classroom(name: &str) -> Owner {
        Owner::Classroom(ClassroomId::new(name))
    }

    #[test]
    fn what_is_set_again_replaces_what_was_set_before() {
        let deadlines = Deadlines::default();
        deadlines.set(
            &classroom("a"),
            vec![(Heard::from_millis(5), lesson_over("early"))],
        );

        deadlines.set(
            &classroom("a"),
            vec![(Heard::from_millis(9), lesson_over("late"))],
        );

        assert!(deadlines.take_due(Heard::from_millis(8), 10).is_empty());
        assert_eq!(deadlines.take_due(Heard::from_millis(9), 10).len(), 1);
    }

    #[test]
    fn what_could_not_be_journaled_is_due_again() {
        let deadlines = Deadlines::default();
        deadlines.set(
            &classroom("a"),
            vec![(Heard::from_millis(5), lesson_over("x"))],
        );
        let taken = deadlines.take_due(Heard::from_millis(5), 10);

        deadlines.put_back(taken, Heard::from_millis(7));

        assert!(deadlines.take_due(Heard::from_millis(6), 10).is_empty());
        assert_eq!(deadlines.take_due(Heard::from_millis(7), 10).len(), 1);
        deadlines.set(&classroom("a"), vec![]);
        assert!(deadlines.take_due(Heard::from_millis(99), 10).is_empty());
    }

    #[test]
    fn what_was_taken_of_somebody_who_was_forgotten_since_is_not_due_again() {
        let deadlines = Deadlines::default();
        let due = || vec![(Heard::from_millis(5), lesson_over("x"))];
        deadlines.set(&classroom("a"), due());
        let taken = deadlines.take_due(Heard::from_millis(5), 10);

        deadlines.forget(classroom("a"));
        deadlines.put_back(taken, Heard::from_millis(7));

        assert!(deadlines.take_due(Heard::from_millis(9), 10).is_empty());
        deadlines.set(&classroom("a"), due());
        assert_eq!(deadlines.take_due(Heard::from_millis(9), 10).len(), 1);
    }
}
