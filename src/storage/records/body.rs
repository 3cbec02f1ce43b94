//! The part of an event's wire form that no column holds, and the way back to the event.
//!
//! `events` and `executions` hold what is searched and shown, `students` the
//! address. The rest is a small JSON text, so that nothing is stored twice and
//! the wire form can be given back as it was taken.

use mimamori_actors::domain::{CellType, Event, EventId, EventKind, Output, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RecordsError;

/// The rest of an event. Its names are short: it stands in every row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    client_session: Option<String>,
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    has_error: Option<bool>,
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    execution_duration_ms: Option<f64>,
    #[serde(rename = "m", skip_serializing_if = "Map::is_empty")]
    metadata: Map<String, Value>,
    #[serde(rename = "x", skip_serializing_if = "Vec::is_empty")]
    cut: Vec<String>,
    /// Only of events that are no execution: theirs stand in `executions`.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    cell: Option<CellParts>,
}

/// What an event says of a cell; of an execution these are columns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CellParts {
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    pub(super) notebook: Option<String>,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub(super) cell_id: Option<String>,
    #[serde(rename = "i", skip_serializing_if = "Option::is_none")]
    pub(super) cell_index: Option<i64>,
    #[serde(rename = "y", skip_serializing_if = "Option::is_none")]
    pub(super) cell_type: Option<CellType>,
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    pub(super) execution_count: Option<i64>,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Output>,
}

/// What of an event the columns of `events` and `students` hold.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: EventId,
    pub(super) kind: EventKind,
    pub(super) time: Timestamp,
    pub(super) address: String,
}

impl Body {
    /// Cuts an event into its body and what it says of a cell. Names every
    /// field, so that a new one cannot be forgotten.
    pub(super) fn of(event: &Event) -> (Self, Option<CellParts>) {
        let Event {
            id: _,
            kind,
            time: _,
            address: _,
            name,
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
        } = event;
        let cell = CellParts {
            notebook: notebook.clone(),
            cell_id: cell_id.clone(),
            cell_index: *cell_index,
            cell_type: *cell_type,
            execution_count: *execution_count,
            code: code.clone(),
            error: error_message.clone(),
            result: result.clone(),
        };
        let mut body = Self {
            name: name.clone(),
            team: team.clone(),
            client_session: client_session.clone(),
            has_error: *has_error,
            execution_duration_ms: *execution_duration_ms,
            metadata: metadata.clone(),
            cut: cut.clone(),
            cell: None,
        };
        if *kind == EventKind::CellExecuted {
            return (body, Some(cell));
        }
        body.cell = (cell != CellParts::default()).then_some(cell);
        (body, None)
    }

    pub(super) fn to_json(&self) -> Result<String, RecordsError> {
        serde_json::to_string(self).map_err(|error| RecordsError::Malformed(error.to_string()))
    }

    pub(super) fn from_json(text: &str) -> Result<Self, RecordsError> {
        serde_json::from_str(text).map_err(|error| RecordsError::Malformed(error.to_string()))
    }

    /// The event again; `columns` is what `executions` holds, if it was one.
    pub(super) fn into_event(self, head: Head, columns: Option<CellParts>) -> Event {
        let cell = columns.or(self.cell).unwrap_or_default();
        Event {
            id: head.id,
            kind: head.kind,
            time: head.time,
            address: head.address,
            name: self.name,
            team: self.team,
            client_session: self.client_session,
            notebook: cell.notebook,
            cell_id: cell.cell_id,
            cell_index: cell.cell_index,
            cell_type: cell.cell_type,
            code: cell.code,
            execution_count: cell.execution_count,
            has_error: self.has_error,
            error_message: cell.error,
            result: cell.result,
            execution_duration_ms: self.execution_duration_ms,
            metadata: self.metadata,
            cut: self.cut,
        }
    }
}

/// A wire name (`cell_executed`, `code`) as its enum.
pub(super) fn from_name<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, RecordsError> {
    serde_json::from_value(Value::from(name))
        .map_err(|error| RecordsError::Malformed(error.to_string()))
}
