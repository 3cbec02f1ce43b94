//! What changed between two states of a classroom.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::frames;
use crate::domain::{Alert, ClassroomId, EventBrief, Student, StudentId};

/// Everything that consoles must learn between `after` and `seq`. Shared by all of them, down to its parts.
#[derive(Debug, Clone)]
pub struct Delta {
    /// Of which classroom.
    pub classroom: ClassroomId,
    /// Of which incarnation.
    pub epoch: String,
    /// The delta before it.
    pub after: u64,
    /// Its own number.
    pub seq: u64,
    /// Students whose visible form changed, as they are at `seq`.
    pub students: Vec<Arc<Student>>,
    /// Students who are no longer there; none of them is in `students`.
    pub removed: Vec<StudentId>,
    /// What happened, oldest first.
    pub events: Vec<Arc<EventBrief>>,
    /// How many events are left out.
    pub events_omitted: u64,
    /// Alerts that changed, as they are at `seq`.
    pub alerts: Vec<Arc<Alert>>,
    /// The same as JSON text: contract, section 5.
    pub frame: Bytes,
}

/// Why a text is no frame of a classroom. It says nothing of what the text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no frame of a classroom (line {line}, column {column})")]
pub struct BadFrame {
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for BadFrame {
    fn from(error: serde_json::Error) -> Self {
        Self {
            line: error.line(),
            column: error.column(),
        }
    }
}

/// A delta that is not serialised yet, or as it was read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeltaParts {
    pub(crate) classroom: ClassroomId,
    pub(crate) epoch: String,
    pub(crate) after: u64,
    pub(crate) seq: u64,
    pub(crate) students: Vec<Arc<Student>>,
    pub(crate) removed: Vec<StudentId>,
    pub(crate) events: Vec<Arc<EventBrief>>,
    pub(crate) events_omitted: u64,
    pub(crate) alerts: Vec<Arc<Alert>>,
}

impl DeltaParts {
    /// Whether it tells nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.students.is_empty()
            && self.removed.is_empty()
            && self.events.is_empty()
            && self.events_omitted == 0
            && self.alerts.is_empty()
    }
}

impl Delta {
    /// Serialises: the only place where a delta becomes text.
    pub(crate) fn new(parts: DeltaParts) -> Self {
        let frame = frames::delta_frame(&parts);
        Self::with_frame(parts, frame)
    }

    /// Reads a frame that another process serialised; its bytes are kept as they are.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(frame: Bytes) -> Result<Self, BadFrame> {
        let parts = serde_json::from_slice(&frame)?;
        Ok(Self::with_frame(parts, frame))
    }

    fn with_frame(parts: DeltaParts, frame: Bytes) -> Self {
        Self {
            classroom: parts.classroom,
            epoch: parts.epoch,
            after: parts.after,
            seq: parts.seq,
            students: parts.students,
            removed: parts.removed,
            events: parts.events,
            events_omitted: parts.events_omitted,
            alerts: parts.alerts,
            frame,
        }
    }
}
