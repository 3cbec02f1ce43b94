//! Entries for the tests of the stores and of the reading calls.

use std::sync::Arc;

use mimamori_actors::domain::{
    AcceptedEvent, ClassroomId, DeadLetter, Entry, Event, EventId, EventKind, Fact, FactId,
    FactKind, Heard, JournalId, Position, Record, Rejection, StudentId, Timestamp,
};
use serde_json::json;

/// A Sunday in November 2026, 09:00 in Japan.
pub(crate) const MORNING: Timestamp = Timestamp::from_millis(1_795_305_600_000);

pub(crate) fn journal() -> JournalId {
    JournalId::new("journal-1")
}

pub(crate) fn room() -> ClassroomId {
    ClassroomId::new("default")
}

pub(crate) fn student(number: u64) -> StudentId {
    StudentId::new(format!("stu_{number:032x}"))
}

/// So many seconds after [`MORNING`].
pub(crate) fn at(seconds: u64) -> Timestamp {
    MORNING.plus(std::time::Duration::from_secs(seconds))
}

pub(crate) fn entry(position: u64, received_at: Timestamp, record: Record) -> Arc<Entry> {
    Arc::new(Entry {
        position: Position(position),
        received_at,
        heard_at: Heard::of_wall(received_at),
        record,
    })
}

/// An executed cell of a student, a second a position.
pub(crate) fn execution(position: u64, of: u64) -> Event {
    let value = json!({
        "eventId": format!("5c1a8d6e-0000-4000-8000-{position:012x}"),
        "eventType": "cell_executed",
        "eventTime": at(position),
        "emailAddress": format!("student{of:03}@example.com"),
        "userName": format!("山田花子{of}"),
        "teamName": "チームA",
        "sessionId": "ce8400e8-e504-4ec7-9c43-24edd79c5182",
        "notebookPath": "week1/課題.ipynb",
        "cellId": format!("cell-{}", position % 7),
        "cellIndex": position % 7,
        "cellType": "code",
        "code": format!("for i in range({position}):\n    print(i)"),
        "executionCount": position,
        "hasError": false,
        "result": ["0", "1"],
        "executionDurationMs": 2.5,
        "metadata": {"kernel": "python3"},
    });
    serde_json::from_value(value).unwrap()
}

pub(crate) fn event(position: u64, of: u64, event: Event) -> Arc<Entry> {
    let accepted = AcceptedEvent {
        classroom: room(),
        student: student(of),
        event,
    };
    entry(position, at(position), Record::Event(Box::new(accepted)))
}

pub(crate) fn executed(position: u64, of: u64) -> Arc<Entry> {
    event(position, of, execution(position, of))
}

pub(crate) fn failed(position: u64, of: u64, error: &str) -> Arc<Entry> {
    let mut failing = execution(position, of);
    failing.has_error = Some(true);
    failing.error_message = Some(error.to_owned());
    event(position, of, failing)
}

/// A beat of a request for help.
pub(crate) fn help_beat(position: u64, of: u64) -> Event {
    let mut beat = execution(position, of);
    beat.id = EventId::new(format!("help-{position}"));
    beat.kind = EventKind::Help;
    beat.code = None;
    beat.has_error = None;
    beat.execution_count = None;
    beat.result = None;
    beat.execution_duration_ms = None;
    beat
}

pub(crate) fn fact(position: u64, kind: FactKind) -> Arc<Entry> {
    let fact = Fact {
        id: FactId::computed(&[&position.to_string()]),
        classroom: room(),
        cause: Position(position.saturating_sub(1)),
        kind,
    };
    entry(position, at(position), Record::Fact(Box::new(fact)))
}

pub(crate) fn rejection(position: u64, payload: &str) -> Arc<Entry> {
    let refused = Rejection {
        classroom: room(),
        index: 3,
        code: "unknown_type".to_owned(),
        detail: "the type is none of the known ones".to_owned(),
        pointer: "/3/eventType".to_owned(),
        event_id: Some("e-3".to_owned()),
        payload: payload.to_owned(),
    };
    entry(position, at(position), Record::Rejection(refused))
}

pub(crate) fn dead_letter(position: u64, of: u64) -> Arc<Entry> {
    let letter = DeadLetter {
        id: FactId::computed(&["records", &of.to_string()]),
        classroom: Some(room()),
        consumer: "records".to_owned(),
        position: Position(of),
        reason: "a rule of the tables was broken".to_owned(),
    };
    entry(position, at(position), Record::DeadLetter(letter))
}
