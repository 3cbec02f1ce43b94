//! A student as consoles see them, now.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::ids::{HelpId, Position, StudentId};
use super::time::{Heard, Moment, Timestamp};

/// An event within this time makes a student `active`.
pub const ACTIVE_FOR: Duration = Duration::from_secs(2 * 60);
/// An event within this time makes a student `idle`; after it `offline`, and the session ends.
pub const IDLE_FOR: Duration = Duration::from_secs(30 * 60);
/// So many consecutive errors make a student `stuck`.
pub const STUCK_ERRORS: u32 = 3;

/// What a student is doing; the first that holds, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudentStatus {
    /// A request for help is open.
    Help,
    /// Three or more consecutive errors on the current cell.
    Stuck,
    /// The last execution failed.
    Error,
    /// An event within 2 minutes.
    Active,
    /// An event within 30 minutes.
    Idle,
    /// Longer than that.
    Offline,
}

/// The `Student` of the contract (section 5), as it goes to consoles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Student {
    /// Opaque and stable.
    pub id: StudentId,
    /// The name the client sent last; empty if it never sent one.
    pub name: Arc<str>,
    /// The team the client sent last.
    pub team: Option<Arc<str>>,
    /// What the student is doing.
    pub status: StudentStatus,
    /// Path of the current notebook.
    pub notebook: Option<Arc<str>>,
    /// The current cell.
    pub cell_id: Option<Arc<str>>,
    /// Its place in the notebook.
    pub cell_index: Option<i64>,
    /// Runs in the current lesson: ok, error and interrupted.
    pub executions: u64,
    /// Runs in the current lesson that failed.
    pub errors: u64,
    /// Errors on the current cell since its last `ok`.
    pub consecutive_errors: u32,
    /// When the last event was received.
    pub last_activity: Option<Timestamp>,
    /// The open request for help.
    pub help: Option<StudentHelp>,
    /// Whether the address is the one that a client has before a student sets an own one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_default_address: bool,
    /// Who works under this address, as long as an alert says that it is more than one; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Person>,
}

/// One of several people under one address, as the clients tell them apart: by name and session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// The name sent last; empty if none was sent.
    pub name: Arc<str>,
    /// The team sent last.
    pub team: Option<Arc<str>>,
    /// Path of the current notebook.
    pub notebook: Option<Arc<str>>,
    /// The current cell.
    pub cell_id: Option<Arc<str>>,
    /// Its place in the notebook.
    pub cell_index: Option<i64>,
    /// When the last event was received.
    pub last_activity: Timestamp,
}

/// An open request for help, as it goes to consoles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StudentHelp {
    /// The request.
    pub id: HelpId,
    /// When it opened, by our clock.
    pub since: Timestamp,
    /// The cell the student was on.
    pub cell_id: Option<String>,
    /// Which instructor took it.
    pub claimed_by: Option<String>,
}

/// Everything about a student that consoles may learn, but for the status:
/// that one depends on the time of looking and is added then.
///
/// A session publishes it whole after every change, with the position it
/// stands on, so that hearing of it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudentView {
    /// The last position of the journal that is in it.
    pub position: Position,
    /// Opaque and stable.
    pub id: StudentId,
    /// The name the client sent last.
    pub name: Arc<str>,
    /// The team the client sent last.
    pub team: Option<Arc<str>>,
    /// Whether the address is the one that a client has before a student sets an own one.
    pub is_default_address: bool,
    /// Who works under this address, if that is more than one.
    pub people: Vec<Person>,
    /// Path of the current notebook.
    pub notebook: Option<Arc<str>>,
    /// The current cell.
    pub cell_id: Option<Arc<str>>,
    /// Its place in the notebook.
    pub cell_index: Option<i64>,
    /// Runs in the current lesson.
    pub executions: u64,
    /// Runs in the current lesson that failed.
    pub errors: u64,
    /// Errors on the current cell since its last `ok`.
    pub consecutive_errors: u32,
    /// Whether the last run in the current lesson failed.
    pub is_last_run_failed: bool,
    /// When the last event was received.
    pub last_activity: Option<Moment>,
    /// The open request for help.
    pub help: Option<OpenHelp>,
    /// Alerts about this student that are open.
    pub alerts: Vec<Alert>,
}

/// An open request for help, as the session keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenHelp {
    /// What consoles see of it.
    pub shown: StudentHelp,
    /// When its last beat was received; after 30 s of silence the request is over.
    pub last_beat: Moment,
}

impl StudentView {
    /// The status at `now`, a pure function: journaled never.
    pub fn status(&self, now: Heard) -> StudentStatus {
        if self.help.is_some() {
            return StudentStatus::Help;
        }
        if self.consecutive_errors >= STUCK_ERRORS {
            return StudentStatus::Stuck;
        }
        if self.is_last_run_failed {
            return StudentStatus::Error;
        }
        match self.silence(now) {
            Some(silence) if silence < ACTIVE_FOR => StudentStatus::Active,
            Some(silence) if silence < IDLE_FOR => StudentStatus::Idle,
            Some(_) | None => StudentStatus::Offline,
        }
    }

    /// For how long nothing was heard of the student.
    pub fn silence(&self, now: Heard) -> Option<Duration> {
        Some(now.since(self.last_activity?.heard))
    }

    /// Whether the end of a lesson would change it.
    pub fn has_anything_of_a_lesson(&self) -> bool {
        self.executions > 0
            || self.errors > 0
            || self.consecutive_errors > 0
            || self.is_last_run_failed
            || !self.alerts.is_empty()
    }

    /// When the status will next change by silence alone; nothing if it will not.
    pub fn next_status_change(&self, now: Heard) -> Option<Heard> {
        let last = self.last_activity?.heard;
        match self.status(now) {
            StudentStatus::Active => Some(last.plus(ACTIVE_FOR)),
            StudentStatus::Idle => Some(last.plus(IDLE_FOR)),
            StudentStatus::Help
            | StudentStatus::Stuck
            | StudentStatus::Error
            | StudentStatus::Offline => None,
        }
    }

    /// What consoles see at `now`.
    pub fn to_student(&self, now: Heard) -> Student {
        Student {
            id: self.id.clone(),
            name: self.name.clone(),
            team: self.team.clone(),
            status: self.status(now),
            notebook: self.notebook.clone(),
            cell_id: self.cell_id.clone(),
            cell_index: self.cell_index,
            executions: self.executions,
            errors: self.errors,
            consecutive_errors: self.consecutive_errors,
            last_activity: self.last_activity.map(|last| last.at),
            help: self.help.as_ref().map(|help| help.shown.clone()),
            is_default_address: self.is_default_address,
            people: self.people.clone(),
        }
    }
}
