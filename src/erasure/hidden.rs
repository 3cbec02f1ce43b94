//! Who is hidden from every read: at once, while what stands of them is being rewritten.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use mimamori_actors::domain::{Entry, Position, Record, SessionKey};

use super::whose::{Person, student_of};
use crate::admit::StudentKey;

/// The people of whom nothing is shown up to a position.
///
/// Who is erased stays here until the process ends: a reader may hold an old
/// file, and the journal's memory is not rewritten. As many as were erased.
#[derive(Debug)]
pub struct Hidden {
    /// Almost always nobody: then a reader asks only this.
    is_anybody: AtomicBool,
    people: RwLock<BTreeMap<SessionKey, Veil>>,
    students: StudentKey,
}

#[derive(Debug)]
struct Veil {
    through: Position,
    person: Person,
    /// Whether something of them may still stand in the records.
    is_pending: bool,
}

impl Hidden {
    /// Nobody. `students` is what ids are computed with.
    #[must_use]
    pub fn nobody(students: StudentKey) -> Self {
        Self {
            is_anybody: AtomicBool::new(false),
            people: RwLock::default(),
            students,
        }
    }

    /// From now on nothing of this person is shown up to `through`.
    pub fn hide(&self, key: &SessionKey, through: Position) {
        let veil = Veil {
            through,
            person: self.person(key),
            is_pending: true,
        };
        self.people_to_change().insert(key.clone(), veil);
        self.is_anybody.store(true, Ordering::Release);
    }

    /// The person was not erased after all.
    pub fn reveal(&self, key: &SessionKey) {
        let mut people = self.people_to_change();
        people.remove(key);
        self.is_anybody.store(!people.is_empty(), Ordering::Release);
    }

    /// Nothing of this person is left in the records: nobody has to look for it any more.
    pub fn is_done(&self, key: &SessionKey) {
        if let Some(veil) = self.people_to_change().get_mut(key) {
            veil.is_pending = false;
        }
    }

    fn people_to_change(&self) -> RwLockWriteGuard<'_, BTreeMap<SessionKey, Veil>> {
        // every change is one step
        self.people.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// This person, as looked for.
    pub(crate) fn person(&self, key: &SessionKey) -> Person {
        Person::new(key.clone(), self.students.clone())
    }

    /// Everybody of whom something may still stand in the records, and up to where.
    #[must_use]
    pub fn pending(&self) -> Vec<(SessionKey, Position)> {
        if !self.is_anybody() {
            return Vec::new();
        }
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        let pending = people.iter().filter(|(_, veil)| veil.is_pending);
        pending
            .map(|(key, veil)| (key.clone(), veil.through))
            .collect()
    }

    /// Whether anybody is hidden.
    #[must_use]
    pub fn is_anybody(&self) -> bool {
        self.is_anybody.load(Ordering::Acquire)
    }

    fn covers(&self, key: &SessionKey, position: Position) -> bool {
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        let veil = people.get(key);
        veil.is_some_and(|veil| position <= veil.through)
    }

    /// Whether the entry is hidden.
    #[must_use]
    pub fn hides(&self, entry: &Entry) -> bool {
        if !self.is_anybody() {
            return false;
        }
        if let Some((classroom, student)) = student_of(&entry.record) {
            let key = SessionKey {
                classroom: classroom.clone(),
                student: student.clone(),
            };
            return self.covers(&key, entry.position);
        }
        if !matches!(entry.record, Record::Rejection(_) | Record::DeadLetter(_)) {
            return false;
        }
        let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
        people
            .values()
            .any(|veil| entry.position <= veil.through && veil.person.is_named_by(&entry.record))
    }

    /// Whether a refused request, as sent, is of somebody who is hidden.
    #[must_use]
    pub fn hides_sent(&self, position: Position, payload: &str) -> bool {
        self.is_anybody() && {
            let people = self.people.read().unwrap_or_else(PoisonError::into_inner);
            people
                .values()
                .any(|veil| position <= veil.through && veil.person.sent(payload))
        }
    }
}

#[cfg(test)]
mod tests {
    use mimamori_actors::domain::{
        ClassroomId, Heard, Rejection, StudentId, Timer, TimerCause, Timestamp,
    };

    use super::*;

    const STUDENTS: StudentKey = StudentKey::from_bytes([7; 32]);

    fn key(student: StudentId) -> SessionKey {
        SessionKey {
            classroom: ClassroomId::new("default"),
            student,
        }
    }

    fn entry(position: u64, record: Record) -> Entry {
        Entry {
            position: Position(position),
            received_at: Timestamp::default(),
            heard_at: Heard::default(),
            record,
        }
    }

    fn timer(student: &StudentId) -> Record {
        let due = Heard::default();
        Record::Timer(Timer {
            classroom: ClassroomId::new("default"),
            cause: TimerCause::OrderSettled {
                student: student.clone(),
                due,
            },
        })
    }

    fn refused(payload: &str) -> Record {
        Record::Rejection(Rejection {
            classroom: ClassroomId::new("default"),
            index: 0,
            code: String::new(),
            detail: String::new(),
            pointer: String::new(),
            event_id: None,
            payload: payload.to_owned(),
        })
    }

    #[test]
    fn a_person_is_hidden_up_to_a_position_and_nobody_else_is() {
        let (hanako, taro) = (STUDENTS.student("hanako@x"), STUDENTS.student("taro@x"));
        let hidden = Hidden::nobody(STUDENTS);
        let hides = |position, record| hidden.hides(&entry(position, record));
        assert!(!hides(1, timer(&hanako)));

        hidden.hide(&key(hanako.clone()), Position(5));

        assert!(hides(5, timer(&hanako)));
        assert!(!hides(6, timer(&hanako)));
        assert!(!hides(5, timer(&taro)));
        assert!(hides(5, refused(r#"{"emailAddress":"Hanako@x"}"#)));
        assert!(!hides(6, refused(r#"{"emailAddress":"Hanako@x"}"#)));
        assert!(!hides(5, refused(r#"{"emailAddress":"taro@x"}"#)));
    }

    #[test]
    fn who_is_erased_is_hidden_on_but_looked_for_no_more() {
        let hanako = key(STUDENTS.student("hanako@x"));
        let hidden = Hidden::nobody(STUDENTS);
        hidden.hide(&hanako, Position(5));
        assert_eq!(hidden.pending(), [(hanako.clone(), Position(5))]);

        hidden.is_done(&hanako);

        assert_eq!(hidden.pending(), []);
        assert!(hidden.hides(&entry(5, timer(&hanako.student))));
        hidden.reveal(&hanako);
        assert!(!hidden.hides(&entry(5, timer(&hanako.student))));
    }
}
