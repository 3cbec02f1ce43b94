//! A classroom whole, as consoles see it.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::delta::BadFrame;
use super::frames;
use crate::domain::{Alert, ClassroomId, Cursor, EventBrief, Student};

/// The parts of a snapshot. Shared with whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Opening {
    /// Of which classroom.
    pub classroom: ClassroomId,
    /// Of which incarnation.
    pub epoch: String,
    /// The state is that after this delta.
    pub seq: u64,
    /// In the order of their ids.
    pub students: Vec<Arc<Student>>,
    /// The open ones, in the order of their ids.
    pub alerts: Vec<Arc<Alert>>,
    /// The last events, oldest first.
    pub recent: Vec<Arc<EventBrief>>,
}

impl Opening {
    /// As JSON text: contract, section 5.
    pub fn frame(&self) -> Bytes {
        frames::snapshot_frame(self)
    }

    /// Reads what [`Opening::frame`] wrote.
    ///
    /// # Errors
    /// When it is no snapshot.
    pub fn read(frame: &[u8]) -> Result<Self, BadFrame> {
        Ok(serde_json::from_slice(frame)?)
    }

    /// Where a console stands that has it.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch.clone(),
            seq: self.seq,
        }
    }
}
