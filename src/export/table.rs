//! The columns of each export, and the rows for them.

use mimamori_actors::domain::{Event, Output};

use super::What;
use crate::storage::records::{ExportedEvent, ExportedSpan};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Real,
    Flag,
    /// Milliseconds since 1970.
    Time,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What stands in a row's column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Nothing,
    Text(String),
    Number(i64),
    Real(f64),
    Flag(bool),
    Time(i64),
}

/// As many cells as there are columns, in their order.
pub(super) type Row = Vec<Cell>;

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

const EVENTS: &[Column] = &[
    column("position", Kind::Number),
    column("at", Kind::Time),
    column("event_time", Kind::Time),
    column("received_at", Kind::Time),
    column("event_id", Kind::Text),
    column("event_type", Kind::Text),
    column("student", Kind::Text),
    column("team", Kind::Text),
    column("client_session", Kind::Text),
    column("notebook", Kind::Text),
    column("cell_id", Kind::Text),
    column("cell_index", Kind::Number),
    column("cell_type", Kind::Text),
    column("status", Kind::Text),
    column("execution_count", Kind::Number),
    column("has_error", Kind::Flag),
    column("code", Kind::Text),
    column("error", Kind::Text),
    column("result", Kind::Text),
    column("client_duration_ms", Kind::Real),
    column("metadata", Kind::Text),
    column("cut", Kind::Text),
];

const SESSIONS: &[Column] = &[
    column("id", Kind::Text),
    column("student", Kind::Text),
    column("begun", Kind::Time),
    column("ended", Kind::Time),
    column("events", Kind::Number),
];

const HELP: &[Column] = &[
    column("id", Kind::Text),
    column("student", Kind::Text),
    column("since", Kind::Time),
    column("until", Kind::Time),
    column("ended_by", Kind::Text),
    column("cell_id", Kind::Text),
];

const LESSONS: &[Column] = &[
    column("id", Kind::Text),
    column("begun", Kind::Time),
    column("ended", Kind::Time),
    column("ended_by", Kind::Text),
];

/// Executions have the columns of events: of both, one analysis can be made.
pub(super) const fn columns(what: What) -> &'static [Column] {
    match what {
        What::Executions | What::Events => EVENTS,
        What::Sessions => SESSIONS,
        What::Help => HELP,
        What::Lessons => LESSONS,
    }
}

fn text(text: Option<String>) -> Cell {
    text.map_or(Cell::Nothing, Cell::Text)
}

fn number(number: Option<i64>) -> Cell {
    number.map_or(Cell::Nothing, Cell::Number)
}

fn time(millis: Option<i64>) -> Cell {
    millis.map_or(Cell::Nothing, Cell::Time)
}

fn name(name: &'static str) -> Cell {
    Cell::Text(name.to_owned())
}

pub(super) fn event(_: What, row: ExportedEvent) -> Row {
    // names every field, so that a new one cannot be forgotten; who it is stays inside
    let Event {
        id,
        kind,
        time: said,
        address: _,
        name: _,
        team,
        client_session,
        notebook,
        cell_id,
        cell_index,
        cell_type,
        code,
        execution_count,
        has_error,
        error_message,
        result,
        execution_duration_ms,
        metadata,
        cut,
    } = row.event;
    vec![
        Cell::Number(row.position),
        Cell::Time(row.at_ms),
        Cell::Time(said.as_millis()),
        Cell::Time(row.received_at_ms),
        Cell::Text(id.as_str().to_owned()),
        name(kind.as_str()),
        Cell::Text(row.student),
        text(team),
        text(client_session),
        text(notebook),
        text(cell_id),
        number(cell_index),
        cell_type.map_or(Cell::Nothing, |kind| name(kind.as_str())),
        text(row.status),
        number(execution_count),
        has_error.map_or(Cell::Nothing, Cell::Flag),
        text(code),
        text(error_message),
        text(result.map(joined)),
        execution_duration_ms.map_or(Cell::Nothing, Cell::Real),
        text((!metadata.is_empty()).then(|| serde_json::Value::Object(metadata).to_string())),
        text((!cut.is_empty()).then(|| cut.join(" "))),
    ]
}

/// Several outputs of a cell stand below each other, as the student saw them.
fn joined(output: Output) -> String {
    match output {
        Output::One(text) => text,
        Output::Many(texts) => texts.join("\n"),
    }
}

pub(super) fn span(what: What, row: ExportedSpan) -> Row {
    let (begun, ended) = (Cell::Time(row.begun_ms), time(row.ended_ms));
    match what {
        What::Help => vec![
            Cell::Text(row.id),
            text(row.student),
            begun,
            ended,
            text(row.ended_by),
            text(row.cell_id),
        ],
        What::Lessons => vec![Cell::Text(row.id), begun, ended, text(row.ended_by)],
        What::Sessions | What::Executions | What::Events => vec![
            Cell::Text(row.id),
            text(row.student),
            begun,
            ended,
            number(row.events),
        ],
    }
}
