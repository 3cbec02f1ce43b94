//! What consoles must learn.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::event::{Event, EventKind, ExecutionStatus};
use super::ids::{EventId, Position, SessionKey, StudentId};
use super::student::StudentView;
use super::time::Timestamp;

/// An event as a line of the consoles' feed (contract, section 5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBrief {
    /// The event.
    pub event_id: EventId,
    /// What happened.
    pub event_type: EventKind,
    /// Whose it is.
    pub student: StudentId,
    /// In which notebook.
    pub notebook: Option<String>,
    /// On which cell.
    pub cell_id: Option<String>,
    /// Its place in the notebook.
    pub cell_index: Option<i64>,
    /// How the execution ended; absent for the other kinds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<ExecutionStatus>,
    /// When, by the client's clock.
    pub event_time: Timestamp,
}

impl EventBrief {
    /// The line for this event of this student.
    pub fn of(student: &StudentId, event: &Event) -> Self {
        Self {
            event_id: event.id.clone(),
            event_type: event.kind,
            student: student.clone(),
            notebook: event.notebook.clone(),
            cell_id: event.cell_id.clone(),
            cell_index: event.cell_index,
            status: event.execution_status(),
            event_time: event.time,
        }
    }
}

/// What a session tells its classroom after it applied an entry: the whole
/// student with the position, never increments, so that replay changes nothing.
#[derive(Debug, Clone)]
pub struct SessionUpdate {
    /// Who.
    pub key: SessionKey,
    /// The position that was applied.
    pub position: Position,
    /// The student after it.
    pub view: Arc<StudentView>,
    /// The line for the feed, if the entry was a client's event.
    pub event: Option<EventBrief>,
    /// Alerts that opened or closed by it.
    pub alerts: Vec<Alert>,
}

/// Where a console stands in a classroom's deltas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which incarnation of the classroom counted.
    pub epoch: String,
    /// The last delta that the console has.
    pub seq: u64,
}
