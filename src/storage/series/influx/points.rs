//! Entries as points: pure, no socket.
//!
//! A point is one with another of the same measurement, tags and time. All three
//! follow from the entry (the tags with the help of what was chosen before), so
//! the same entry again leaves one point, whenever it comes and from wherever.

use std::sync::Arc;

use influxdb::{Timestamp as PointTimestamp, WriteQuery};
use mimamori_actors::domain::{
    AcceptedEvent, ClassroomId, Entry, EventKind, ExecutionStatus, Fact, FactKind, JournalId,
    Position, Record, Timestamp,
};

use super::tags::{Label, Tags, of_classroom};
use crate::storage::series::FORMER;
use crate::storage::{filed_at, placed_at};

/// Where the points of entries are.
pub(super) const EVENTS: &str = "mimamori_events";
/// The kind of the point of a request for help that opened: a fact, no event of a client.
pub(super) const HELP_OPENED: &str = "help_opened";

/// So many positions in a row get nanoseconds of their own within one millisecond.
const POSITIONS_A_MILLISECOND: u64 = 1_000_000;
/// The last millisecond whose nanoseconds InfluxDB can count.
const LAST_MS: i64 = i64::MAX / 1_000_000 - 1;

/// Whether entries came by a journal, or were there before this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Journal,
    Former,
}

impl Side {
    pub(super) fn of(journal: &JournalId) -> Self {
        if journal.as_str() == FORMER {
            Self::Former
        } else {
            Self::Journal
        }
    }

    /// A position as it stands in the records and the points: what was before is below zero, so
    /// that it is in front of every position of a journal.
    pub(super) fn place(self, position: Position) -> i64 {
        let place = i64::try_from(position.0).unwrap_or(i64::MAX);
        match self {
            Self::Journal => place,
            Self::Former => -place,
        }
    }
}

/// When a point is, in nanoseconds since 1970: its event's millisecond, and its position within that.
pub(super) fn nanoseconds(at: Timestamp, position: Position) -> i64 {
    let millis = at.as_millis().clamp(0, LAST_MS);
    let within = position.0 % POSITIONS_A_MILLISECOND;
    millis * 1_000_000 + i64::try_from(within).unwrap_or_default()
}

/// The points of these entries, in their order. What has none is left out.
pub(super) fn of(entries: &[Arc<Entry>], side: Side, tags: &mut Tags) -> Vec<WriteQuery> {
    let points = entries.iter().filter_map(|entry| match &entry.record {
        Record::Event(accepted) => Some(of_event(entry, accepted, side, tags)),
        Record::Fact(fact) => of_fact(entry.position, side, fact),
        Record::Rejection(_) | Record::Timer(_) | Record::DeadLetter(_) => None,
    });
    points.collect()
}

/// Where an entry that is a point stands: its classroom, and when it is.
pub(super) fn place(entry: &Entry) -> Option<(&ClassroomId, Timestamp)> {
    match &entry.record {
        Record::Event(accepted) => Some((&accepted.classroom, placed(entry, accepted))),
        Record::Fact(fact) => match &fact.kind {
            FactKind::HelpOpened { since, .. } => Some((&fact.classroom, *since)),
            _ => None,
        },
        Record::Rejection(_) | Record::Timer(_) | Record::DeadLetter(_) => None,
    }
}

fn placed(entry: &Entry, accepted: &AcceptedEvent) -> Timestamp {
    placed_at(filed_at(accepted.event.time), entry.received_at)
}

fn of_event(entry: &Entry, accepted: &AcceptedEvent, side: Side, tags: &mut Tags) -> WriteQuery {
    let AcceptedEvent {
        classroom,
        student,
        event,
    } = accepted;
    let at = placed(entry, accepted);
    let place = side.place(entry.position);
    let mut choose = |label, text| tags.choose(classroom, label, text, place);
    let point = new(EVENTS, nanoseconds(at, entry.position))
        .add_tag("classroom", of_classroom(classroom))
        .add_tag("kind", event.kind.as_str())
        .add_tag(
            "notebook",
            choose(Label::Notebook, event.notebook.as_deref()),
        )
        .add_tag("team", choose(Label::Team, event.team.as_deref()))
        .add_field("position", place)
        .add_field("student", student.as_str());
    if event.kind != EventKind::CellExecuted {
        return point;
    }
    let status = event.execution_status();
    point
        .add_field(
            "executions",
            i64::from(status.is_some_and(ExecutionStatus::is_run)),
        )
        .add_field("errors", i64::from(status == Some(ExecutionStatus::Error)))
        .add_field("status", status.map(ExecutionStatus::as_str))
}

fn of_fact(position: Position, side: Side, fact: &Fact) -> Option<WriteQuery> {
    let FactKind::HelpOpened { student, since, .. } = &fact.kind else {
        return None;
    };
    let point = new(EVENTS, nanoseconds(*since, position))
        .add_tag("classroom", of_classroom(&fact.classroom))
        .add_tag("kind", HELP_OPENED)
        .add_field("position", side.place(position))
        // not `student`: who is helped has done nothing by that
        .add_field("helped", student.as_str())
        .add_field("help", 1_i64);
    Some(point)
}

/// A point at this time; times of points are never before 1970.
pub(super) fn new(measurement: &str, nanoseconds: i64) -> WriteQuery {
    let time = u128::try_from(nanoseconds).unwrap_or_default();
    WriteQuery::new(PointTimestamp::Nanoseconds(time), measurement)
}
