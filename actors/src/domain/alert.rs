//! What an instructor should look at.

use serde::{Deserialize, Serialize};

use super::ids::{AlertId, StudentId};
use super::time::Timestamp;

/// Something about a student that an instructor should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Computed from its cause.
    pub id: AlertId,
    /// What kind.
    pub kind: AlertKind,
    /// About whom.
    pub student: StudentId,
    /// On which cell.
    pub cell_id: Option<String>,
    /// When its cause was received.
    pub since: Timestamp,
    /// For a person to read.
    pub reason: String,
    /// Whether it still stands.
    pub state: AlertState,
}

/// The kinds of alerts. Only `errors_in_a_row` goes with a status (`stuck`); the others change none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Three errors in a row on the current cell.
    ErrorsInARow,
    /// The kernel's counter jumped: it ran cells that nobody reported.
    RunsNotReported,
    /// The kernel's counter fell: it was started again.
    KernelRestarted,
    /// Two people, or two browsers, are at work under one address.
    SharedIdentity,
}

impl AlertKind {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ErrorsInARow => "errors_in_a_row",
            Self::RunsNotReported => "runs_not_reported",
            Self::KernelRestarted => "kernel_restarted",
            Self::SharedIdentity => "shared_identity",
        }
    }
}

/// Whether an alert still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It stands.
    Open,
    /// An instructor put it off.
    Snoozed,
    /// Its cause is gone.
    Closed,
}

impl AlertState {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Snoozed => "snoozed",
            Self::Closed => "closed",
        }
    }
}
