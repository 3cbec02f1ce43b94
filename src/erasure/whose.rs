//! Whose a record is: who is erased must be found in whatever stands of them.

use std::collections::BTreeSet;

use mimamori_actors::domain::{
    ClassroomId, DeadLetter, FactId, FactKind, Position, Record, SessionKey, StudentId,
};
use serde_json::Value;

use crate::admit::StudentKey;

/// Texts that are longer are no address.
const LONGEST_ADDRESS_BYTES: usize = 1024;
/// As deep as a payload is looked into; deeper ones are refused before they are kept.
const DEEPEST: usize = 64;

/// The student that a record is about, if it says so itself.
pub(crate) fn student_of(record: &Record) -> Option<(&ClassroomId, &StudentId)> {
    match record {
        Record::Event(accepted) => Some((&accepted.classroom, &accepted.student)),
        Record::Timer(timer) => Some((&timer.classroom, timer.cause.student()?)),
        Record::Fact(fact) => Some((&fact.classroom, student_of_fact(&fact.kind)?)),
        Record::Rejection(_) | Record::DeadLetter(_) => None,
    }
}

fn student_of_fact(kind: &FactKind) -> Option<&StudentId> {
    match kind {
        FactKind::SessionBegun { student, .. }
        | FactKind::SessionEnded { student, .. }
        | FactKind::HelpOpened { student, .. }
        | FactKind::HelpEnded { student, .. } => Some(student),
        FactKind::AlertChanged { alert, .. } => Some(&alert.student),
        FactKind::LessonBegun { .. } | FactKind::LessonEnded { .. } => None,
    }
}

/// A person as looked for.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) key: SessionKey,
    students: StudentKey,
    /// Where entries of theirs stand: a dead letter names no more than that.
    entries: BTreeSet<Position>,
}

impl Person {
    pub(crate) fn new(key: SessionKey, students: StudentKey) -> Self {
        Self {
            key,
            students,
            entries: BTreeSet::new(),
        }
    }

    /// An entry of theirs stands, or stood, there.
    pub(crate) fn note(&mut self, position: Position) {
        self.entries.insert(position);
    }

    /// Whether the record is theirs. They come in the order of their positions.
    pub(crate) fn owns(&mut self, position: Position, record: &Record) -> bool {
        let is_theirs = self.is_named_by(record);
        if is_theirs {
            self.entries.insert(position);
        }
        is_theirs
    }

    /// Whether the record says that it is theirs.
    pub(crate) fn is_named_by(&self, record: &Record) -> bool {
        if let Some((classroom, student)) = student_of(record) {
            return *classroom == self.key.classroom && *student == self.key.student;
        }
        match record {
            Record::Rejection(rejection) => {
                rejection.classroom == self.key.classroom && self.sent(&rejection.payload)
            }
            Record::DeadLetter(letter) => self.is_of_letter(letter),
            Record::Event(_) | Record::Timer(_) | Record::Fact(_) => false,
        }
    }

    /// Whether a dead letter is about an entry of theirs.
    pub(crate) fn is_of_letter(&self, letter: &DeadLetter) -> bool {
        let of_session = self
            .key
            .caused("sessions", letter.position, FactId::computed);
        self.entries.contains(&letter.position) || letter.id == of_session
    }

    /// Whether this is what they sent: any text in it, however written, may be
    /// their address. What is no JSON (it was cut) is looked through text by text.
    pub(crate) fn sent(&self, payload: &str) -> bool {
        match serde_json::from_str::<Value>(payload) {
            Ok(sent) => self.is_in(&sent, DEEPEST),
            Err(_) => payload.split('"').any(|text| self.is_address(text)),
        }
    }

    fn is_in(&self, value: &Value, depth: usize) -> bool {
        match value {
            Value::String(text) => self.is_address(text),
            Value::Array(values) if depth > 0 => {
                values.iter().any(|value| self.is_in(value, depth - 1))
            }
            Value::Object(fields) if depth > 0 => {
                fields.values().any(|value| self.is_in(value, depth - 1))
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => false,
        }
    }

    fn is_address(&self, text: &str) -> bool {
        let text = text.trim();
        !text.is_empty()
            && text.len() <= LONGEST_ADDRESS_BYTES
            && self.students.student(text) == self.key.student
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDENTS: StudentKey = StudentKey::from_bytes([7; 32]);

    fn person() -> Person {
        let key = SessionKey {
            classroom: ClassroomId::new("default"),
            student: STUDENTS.student("hanako@example.ac.jp"),
        };
        Person::new(key, STUDENTS)
    }

    #[test]
    fn what_was_refused_is_theirs_if_any_text_in_it_is_their_address_however_written() {
        let person = person();

        for theirs in [
            r#"{"emailAddress":" Hanako@Example.AC.JP "}"#,
            r#"{"userId":"ｈａｎａｋｏ@example.ac.jp"}"#,
            r#"{"a":[{"b":{"c":"hanako@example.ac.jp"}}]}"#,
            r#"{"emailAddress":"hanako@example.ac.jp","code":"cut he"#,
        ] {
            assert!(person.sent(theirs), "{theirs}");
        }
        for others in [
            "",
            "5",
            r#"{"emailAddress":"taro@example.ac.jp"}"#,
            r#"{"emailAddress":"taro@example.ac.jp","code":"cut he"#,
        ] {
            assert!(!person.sent(others), "{others}");
        }
    }

    #[test]
    fn a_dead_letter_is_theirs_if_its_entry_was() {
        let mut person = person();
        let letter = |id: FactId, position| {
            Record::DeadLetter(DeadLetter {
                id,
                classroom: Some(ClassroomId::new("default")),
                consumer: "records".to_owned(),
                position: Position(position),
                reason: String::new(),
            })
        };
        person.note(Position(5));
        let of_session = person.key.caused("sessions", Position(9), FactId::computed);

        assert!(person.owns(Position(20), &letter(FactId::new("any"), 5)));
        assert!(person.owns(Position(21), &letter(of_session, 9)));
        assert!(!person.owns(Position(22), &letter(FactId::new("any"), 6)));
    }
}
