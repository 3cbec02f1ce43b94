//! When which silence is over: kept by sessions and the router, read by housekeeping.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::domain::{ClassroomId, SessionKey, Timer, TimerCause, Timestamp};

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

/// All silences that will be over one day: a few for each student with an open session.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The time in which the server was away was no silence.
    earliest_end_of_help: Timestamp,
    by_owner: HashMap<Owner, Vec<(Timestamp, TimerCause)>>,
    by_time: BTreeMap<(Timestamp, Owner, TimerCause), ()>,
}

impl Inner {
    fn put(&mut self, owner: &Owner, mut deadlines: Vec<(Timestamp, TimerCause)>) {
        for (due, cause) in &mut deadlines {
            if matches!(cause, TimerCause::HelpSilent { .. }) {
                *due = (*due).max(self.earliest_end_of_help);
            }
            self.by_time
                .insert((*due, owner.clone(), cause.clone()), ());
        }
        if !deadlines.is_empty() {
            self.by_owner.insert(owner.clone(), deadlines);
        }
    }
}

impl Deadlines {
    /// These are all the silences of this owner now; what was set before is forgotten.
    pub(crate) fn set(&self, owner: &Owner, deadlines: Vec<(Timestamp, TimerCause)>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for (due, cause) in inner.by_owner.remove(owner).unwrap_or_default() {
            inner.by_time.remove(&(due, owner.clone(), cause));
        }
        inner.put(owner, deadlines);
    }

    /// From the start on: no request for help ends before it could have beaten again.
    pub(crate) fn hear_from(&self, earliest_end_of_help: Timestamp) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.earliest_end_of_help = earliest_end_of_help;
        let known = std::mem::take(&mut inner.by_owner);
        inner.by_time.clear();
        for (owner, deadlines) in known {
            inner.put(&owner, deadlines);
        }
    }

    /// Takes out what is over at `now`, at most `limit`, earliest first.
    pub(crate) fn take_due(&self, now: Timestamp, limit: usize) -> Vec<Timer> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while due.len() < limit {
            let Some(entry) = inner.by_time.first_entry() else {
                break;
            };
            if entry.key().0 > now {
                break;
            }
            let ((at, owner, cause), ()) = entry.remove_entry();
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
    pub(crate) fn put_back(&self, timers: Vec<Timer>, at: Timestamp) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for Timer { classroom, cause } in timers {
            let owner = match cause.student() {
                Some(student) => Owner::Session(SessionKey {
                    classroom,
                    student: student.clone(),
                }),
                None => Owner::Classroom(classroom),
            };
            inner
                .by_owner
                .entry(owner.clone())
                .or_default()
                .push((at, cause.clone()));
            inner.by_time.insert((at, owner, cause), ());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{LessonId, StudentId};

    fn lesson_over(name: &str) -> TimerCause {
        TimerCause::LessonSilent {
            lesson: LessonId::new(name),
            last_event: Timestamp::from_millis(0),
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
            vec![(Timestamp::from_millis(5), lesson_over("early"))],
        );

        deadlines.set(
            &classroom("a"),
            vec![(Timestamp::from_millis(9), lesson_over("late"))],
        );

        assert!(deadlines.take_due(Timestamp::from_millis(8), 10).is_empty());
        assert_eq!(deadlines.take_due(Timestamp::from_millis(9), 10).len(), 1);
    }

    #[test]
    fn what_could_not_be_journaled_is_due_again() {
        let deadlines = Deadlines::default();
        deadlines.set(
            &classroom("a"),
            vec![(Timestamp::from_millis(5), lesson_over("x"))],
        );
        let taken = deadlines.take_due(Timestamp::from_millis(5), 10);

        deadlines.put_back(taken, Timestamp::from_millis(7));

        assert!(deadlines.take_due(Timestamp::from_millis(6), 10).is_empty());
        assert_eq!(deadlines.take_due(Timestamp::from_millis(7), 10).len(), 1);
        deadlines.set(&classroom("a"), vec![]);
        assert!(
            deadlines
                .take_due(Timestamp::from_millis(99), 10)
                .is_empty()
        );
    }

    #[test]
    fn a_request_for_help_gets_its_time_after_a_start() {
        let key = SessionKey {
            classroom: ClassroomId::new("a"),
            student: StudentId::new("s"),
        };
        let cause = TimerCause::HelpSilent {
            student: key.student.clone(),
            help: crate::domain::HelpId::new("h"),
            last_beat: Timestamp::from_millis(0),
        };
        let deadlines = Deadlines::default();
        deadlines.set(
            &Owner::Session(key),
            vec![(Timestamp::from_millis(5), cause)],
        );

        deadlines.hear_from(Timestamp::from_millis(30));

        assert!(
            deadlines
                .take_due(Timestamp::from_millis(29), 10)
                .is_empty()
        );
        assert_eq!(deadlines.take_due(Timestamp::from_millis(30), 10).len(), 1);
    }
}
