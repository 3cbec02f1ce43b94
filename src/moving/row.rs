//! A row of the former service as the event that it was: pure.

use mimamori_actors::domain::{Event, Timestamp};
use serde_json::{Map, Value, json};

use super::report::{Reason, Report};
use crate::decode::{self, Code, MAX_NAME_BYTES, cell_monitor, cut};

/// An execution with what the other tables say of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ExecutionRow {
    pub(super) execution_id: Option<String>,
    pub(super) has_student: bool,
    pub(super) email: Option<String>,
    pub(super) name: Option<String>,
    pub(super) team: Option<String>,
    pub(super) has_notebook: bool,
    pub(super) path: Option<String>,
    pub(super) cell_id: Option<String>,
    pub(super) at_ms: Option<i64>,
    pub(super) execution_count: Option<i64>,
    pub(super) status: Option<String>,
    pub(super) duration: Option<f64>,
    pub(super) error_message: Option<String>,
    pub(super) output: Option<String>,
    pub(super) code: Option<String>,
    pub(super) cell_index: Option<i64>,
    pub(super) cell_type: Option<String>,
}

impl ExecutionRow {
    /// What a person finds it by in its own table; nothing in it moves a terminal's cursor or
    /// turns its text around.
    pub(super) fn name(&self) -> String {
        let id = self.execution_id.as_deref().unwrap_or("(without an id)");
        cut(id, 64).escape_debug().to_string()
    }
}

/// The event that the extension sent for it.
pub(super) fn event(row: &ExecutionRow, report: &mut Report) -> Result<Event, Reason> {
    if !row.has_student {
        return Err(Reason::NoStudent);
    }
    if !row.has_notebook {
        return Err(Reason::NoNotebook);
    }
    let at = row.at_ms.ok_or(Reason::NoTime)?;
    let body = [Value::Object(wire(row, at, report))];
    let body = serde_json::to_vec(&body).map_err(|_| Reason::Unreadable)?;
    let events = decode::split(&body).map_err(|_| Reason::Unreadable)?;
    let element = events.elements.first().ok_or(Reason::Unreadable)?;
    cell_monitor::decode(element).map_err(|refused| match refused.code {
        Code::MissingStudent => Reason::NoAddress,
        Code::BadTime | Code::MissingTime => Reason::NoTime,
        Code::NotAnObject | Code::UnknownType | Code::TooLong | Code::TooDeep | Code::Conflict => {
            Reason::Unreadable
        }
    })
}

fn wire(row: &ExecutionRow, at: i64, report: &mut Report) -> Map<String, Value> {
    let mut wire = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            wire.insert(name.to_owned(), value);
        }
    };
    set("eventType", json!("cell_executed"));
    set("eventTime", json!(Timestamp::from_millis(at)));
    let id = row.execution_id.as_deref().filter(|id| !id.is_empty());
    // one that is too long is computed from the content, as one that is absent
    set("eventId", json!(id.filter(|id| id.len() <= MAX_NAME_BYTES)));
    for (name, value) in [
        ("emailAddress", &row.email),
        ("userName", &row.name),
        ("teamName", &row.team),
        ("notebookPath", &row.path),
        ("cellId", &row.cell_id),
    ] {
        set(name, json!(short(value.as_deref(), report)));
    }
    set("cellIndex", json!(row.cell_index));
    set("cellType", json!(row.cell_type));
    set("code", json!(row.code));
    set("executionCount", json!(row.execution_count));
    set("hasError", json!(has_error(row, report)));
    set("errorMessage", json!(row.error_message));
    set("result", json!(row.output));
    // its unit is not known: kept, and never taken for a time that something ran
    if let Some(duration) = row.duration.filter(|it| it.is_finite()) {
        set("metadata", json!({ "formerDuration": duration }));
    }
    wire
}

fn has_error(row: &ExecutionRow, report: &mut Report) -> Option<bool> {
    let status = row.status.as_deref().map(|it| it.trim().to_lowercase());
    match status.as_deref() {
        Some("success") => Some(false),
        Some("error") => Some(true),
        Some(_) | None => {
            report.other_statuses += 1;
            None
        }
    }
}

/// A name, team, path or id within its limit.
pub(super) fn short(text: Option<&str>, report: &mut Report) -> Option<String> {
    let text = text.filter(|text| !text.trim().is_empty())?;
    if text.len() > MAX_NAME_BYTES {
        report.names_cut += 1;
    }
    Some(cut(text, MAX_NAME_BYTES).to_owned())
}
