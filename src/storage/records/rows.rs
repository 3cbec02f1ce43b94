//! From the journal's entries to rows: pure, no database.

use std::collections::BTreeMap;

use mimamori_actors::domain::{
    AcceptedEvent, ClassroomId, DeadLetter, Entry, Position, Rejection, StudentId, Timestamp,
};
use sea_orm::Value;
use unicode_normalization::UnicodeNormalization;

use super::RecordsError;
use super::body::Body;
use crate::storage::{filed_at, placed_at};

/// A client's event in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlacedEvent<'a> {
    pub(super) position: Position,
    pub(super) received_at: Timestamp,
    pub(super) accepted: &'a AcceptedEvent,
}

impl PlacedEvent<'_> {
    fn at(&self) -> Timestamp {
        placed_at(self.accepted.event.time, self.received_at)
    }
}

/// Where letters stand that belong to no classroom: that one always exists.
const CLASSROOM_OF_NONE: &str = "default";

pub(super) const EVENT_COLUMNS: [&str; 9] = [
    "position",
    "classroom",
    "student",
    "event_id",
    "kind",
    "at_ms",
    "event_time_ms",
    "received_at_ms",
    "body",
];

pub(super) const EXECUTION_COLUMNS: [&str; 13] = [
    "position",
    "classroom",
    "student",
    "at_ms",
    "status",
    "notebook",
    "cell_id",
    "cell_index",
    "cell_type",
    "execution_count",
    "code",
    "error",
    "result",
];

/// The rows of one event: always one of `events`, for an executed cell one of
/// `executions`; behind its columns each carries when it is filed.
pub(super) struct EventRows {
    pub(super) position: Position,
    pub(super) event: [Value; 10],
    pub(super) execution: Option<[Value; 14]>,
}

pub(super) fn event_rows(placed: &PlacedEvent<'_>) -> Result<EventRows, RecordsError> {
    let AcceptedEvent {
        classroom,
        student,
        event,
    } = placed.accepted;
    let at_ms = placed.at().as_millis();
    let filed_ms = filed_at(event.time).as_millis();
    let (body, cell) = Body::of(event);
    let row = [
        number(placed.position)?,
        classroom.as_str().into(),
        student.as_str().into(),
        event.id.as_str().into(),
        event.kind.as_str().into(),
        at_ms.into(),
        event.time.as_millis().into(),
        placed.received_at.as_millis().into(),
        body.to_json()?.into(),
        filed_ms.into(),
    ];
    let mut execution = None;
    if let (Some(cell), Some(status)) = (cell, event.execution_status()) {
        let result = cell.result.as_ref().map(serde_json::to_string);
        execution = Some([
            number(placed.position)?,
            classroom.as_str().into(),
            student.as_str().into(),
            at_ms.into(),
            status.as_str().into(),
            cell.notebook.into(),
            cell.cell_id.into(),
            cell.cell_index.into(),
            cell.cell_type.map(|kind| kind.as_str().to_owned()).into(),
            cell.execution_count.into(),
            cell.code.into(),
            cell.error.into(),
            result
                .transpose()
                .map_err(|error| RecordsError::Malformed(error.to_string()))?
                .into(),
            filed_ms.into(),
        ]);
    }
    Ok(EventRows {
        position: placed.position,
        event: row,
        execution,
    })
}

/// When something was first and last seen in a batch.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Timestamp,
    last: Timestamp,
}

/// What a batch tells of a student.
#[derive(Debug)]
struct SeenStudent<'a> {
    seen: Seen,
    address: &'a str,
    name: Option<&'a str>,
    team: Option<&'a str>,
    position: Position,
}

/// Who and what was seen in a batch: one row each, however many events there were.
#[derive(Debug, Default)]
pub(super) struct People<'a> {
    students: BTreeMap<(&'a ClassroomId, &'a StudentId), SeenStudent<'a>>,
    teams: BTreeMap<(&'a ClassroomId, &'a str), Seen>,
    notebooks: BTreeMap<(&'a ClassroomId, &'a str), Seen>,
}

impl<'a> People<'a> {
    /// Adds an event; they come in the order of their positions.
    pub(super) fn add(&mut self, placed: &PlacedEvent<'a>) {
        let AcceptedEvent {
            classroom,
            student,
            event,
        } = placed.accepted;
        let now = Seen {
            first: placed.received_at,
            last: placed.received_at,
        };
        if let Some(team) = event.team.as_deref() {
            see(&mut self.teams, (classroom, team), now);
        }
        if let Some(path) = event.notebook.as_deref() {
            see(&mut self.notebooks, (classroom, path), now);
        }
        let known = self
            .students
            .entry((classroom, student))
            .or_insert(SeenStudent {
                seen: now,
                address: &event.address,
                name: None,
                team: None,
                position: placed.position,
            });
        known.seen.last = now.last;
        known.position = placed.position;
        known.name = event.name.as_deref().or(known.name);
        known.team = event.team.as_deref().or(known.team);
    }

    pub(super) fn students(&self) -> Result<Vec<[Value; 8]>, RecordsError> {
        self.students
            .iter()
            .map(|((classroom, student), known)| {
                Ok([
                    classroom.as_str().into(),
                    student.as_str().into(),
                    known.address.into(),
                    known.name.map(str::to_owned).into(),
                    known.team.map(str::to_owned).into(),
                    known.seen.first.as_millis().into(),
                    known.seen.last.as_millis().into(),
                    number(known.position)?,
                ])
            })
            .collect()
    }

    pub(super) fn teams(&self) -> Vec<[Value; 5]> {
        named(&self.teams)
    }

    pub(super) fn notebooks(&self) -> Vec<[Value; 5]> {
        named(&self.notebooks)
    }
}

fn see<'a>(
    known: &mut BTreeMap<(&'a ClassroomId, &'a str), Seen>,
    key: (&'a ClassroomId, &'a str),
    now: Seen,
) {
    known
        .entry(key)
        .and_modify(|seen| seen.last = now.last)
        .or_insert(now);
}

fn named(known: &BTreeMap<(&ClassroomId, &str), Seen>) -> Vec<[Value; 5]> {
    known
        .iter()
        .map(|((classroom, name), seen)| {
            [
                classroom.as_str().into(),
                (*name).into(),
                comparable(name).into(),
                seen.first.as_millis().into(),
                seen.last.as_millis().into(),
            ]
        })
        .collect()
}

/// The form in which names, teams and paths are compared.
pub(super) fn comparable(text: &str) -> String {
    text.nfkc().collect()
}

/// The classrooms that entries speak of, each once.
pub(super) fn classrooms(entries: &[&Entry]) -> Vec<[Value; 3]> {
    let mut first: BTreeMap<&ClassroomId, Timestamp> = BTreeMap::new();
    for entry in entries {
        if let Some(classroom) = entry.record.classroom() {
            first.entry(classroom).or_insert(entry.received_at);
        }
    }
    first
        .into_iter()
        .map(|(id, seen)| {
            [
                id.as_str().into(),
                id.as_str().into(),
                seen.as_millis().into(),
            ]
        })
        .collect()
}

pub(super) fn rejection(entry: &Entry, it: &Rejection) -> Result<[Value; 9], RecordsError> {
    Ok([
        number(entry.position)?,
        it.classroom.as_str().into(),
        entry.received_at.as_millis().into(),
        i64::from(it.index).into(),
        it.code.as_str().into(),
        it.detail.as_str().into(),
        it.pointer.as_str().into(),
        it.event_id.clone().into(),
        it.payload.as_str().into(),
    ])
}

pub(super) fn dead_letter(entry: &Entry, it: &DeadLetter) -> Result<[Value; 7], RecordsError> {
    let classroom = it.classroom.as_ref();
    Ok([
        number(entry.position)?,
        it.id.as_str().into(),
        classroom
            .map_or(CLASSROOM_OF_NONE, ClassroomId::as_str)
            .into(),
        entry.received_at.as_millis().into(),
        it.consumer.as_str().into(),
        number(it.position)?,
        it.reason.as_str().into(),
    ])
}

/// A position as a column holds it.
pub(super) fn number(position: Position) -> Result<Value, RecordsError> {
    i64::try_from(position.0).map(Value::from).map_err(|_| {
        RecordsError::Malformed(format!("position {position} is beyond what a column holds"))
    })
}
