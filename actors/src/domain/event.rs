//! The one `Event`: what every client's wire form is decoded into.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use super::ids::EventId;
use super::time::Timestamp;

/// A fact from a client: past tense, immutable.
///
/// Its JSON is the wire form of the contract (section 3), so that what was
/// taken can be given back; optional fields that were absent or null are absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What the client called it, or an id computed from its content.
    #[serde(rename = "eventId")]
    pub id: EventId,
    /// What happened.
    #[serde(rename = "eventType")]
    pub kind: EventKind,
    /// When, by the client's clock.
    #[serde(rename = "eventTime")]
    pub time: Timestamp,
    /// Who, as the client put it: trimmed and in lower case. Personal, like name and team: never logged.
    #[serde(rename = "emailAddress")]
    pub address: String,
    /// The student's name, as sent.
    #[serde(rename = "userName", skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The student's team, as sent.
    #[serde(rename = "teamName", skip_serializing_if = "Option::is_none", default)]
    pub team: Option<String>,
    /// The client's own session (of JupyterLab), not ours.
    #[serde(rename = "sessionId", skip_serializing_if = "Option::is_none", default)]
    pub client_session: Option<String>,
    /// Path of the notebook, as sent.
    #[serde(
        rename = "notebookPath",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub notebook: Option<String>,
    /// The cell's nbformat id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cell_id: Option<String>,
    /// The cell's place in the notebook at that time: a position, never an identity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cell_index: Option<i64>,
    /// What kind of cell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cell_type: Option<CellType>,
    /// The cell's source; at most 256 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    /// The kernel's counter; absent when the cell did not run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub execution_count: Option<i64>,
    /// Whether the client saw an error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub has_error: Option<bool>,
    /// The error's text; at most 256 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_message: Option<String>,
    /// What the cell put out; at most 256 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<Output>,
    /// As sent; of cell-monitor it is not the run time, so it is never shown as such.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub execution_duration_ms: Option<f64>,
    /// What the client sent as `metadata`, unknown fields, and optional ones of a wrong type.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub metadata: Map<String, Value>,
    /// Names of the fields that were cut at their limit.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cut: Vec<String>,
}

/// The kinds of events that clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A notebook was opened.
    NotebookOpened,
    /// A notebook was saved.
    NotebookSaved,
    /// A notebook was closed.
    NotebookClosed,
    /// A cell was executed, or the client thought so: see [`Event::execution_status`].
    CellExecuted,
    /// The student wants help; repeated every 10 s while the button is on.
    Help,
    /// The student no longer wants help.
    HelpStop,
}

impl EventKind {
    /// Every kind, in the order of the contract.
    pub const ALL: [Self; 6] = [
        Self::NotebookOpened,
        Self::NotebookSaved,
        Self::NotebookClosed,
        Self::CellExecuted,
        Self::Help,
        Self::HelpStop,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotebookOpened => "notebook_opened",
            Self::NotebookSaved => "notebook_saved",
            Self::NotebookClosed => "notebook_closed",
            Self::CellExecuted => "cell_executed",
            Self::Help => "help",
            Self::HelpStop => "help_stop",
        }
    }
}

/// The kinds of cells of nbformat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellType {
    /// Code for the kernel.
    Code,
    /// Rendered text.
    Markdown,
    /// Neither.
    Raw,
}

impl CellType {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Markdown => "markdown",
            Self::Raw => "raw",
        }
    }
}

/// A cell's output, in either form that clients send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Output {
    /// One text.
    One(String),
    /// One text an output.
    Many(Vec<String>),
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// It ran to its end.
    Ok,
    /// It raised.
    Error,
    /// `KeyboardInterrupt`: the student stopped it.
    Interrupted,
    /// It never ran: with Run All, a cell before it failed.
    Skipped,
    /// There was nothing to run: an empty cell, markdown, raw.
    NotRun,
    /// The client did not say enough.
    Unknown,
}

impl ExecutionStatus {
    /// Every status, in the order of the contract.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Error,
        Self::Interrupted,
        Self::Skipped,
        Self::NotRun,
        Self::Unknown,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
            Self::NotRun => "not_run",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the kernel ran the cell: these count as executions, the others are only listed.
    pub const fn is_run(self) -> bool {
        matches!(self, Self::Ok | Self::Error | Self::Interrupted)
    }
}

/// What cell-monitor sends as the address of a student who has not set one.
const DEFAULT_ADDRESS: &str = "student001@example.com";

impl Event {
    /// Whether the address is the one that a client has before a student sets an own one:
    /// whoever else left it is the same student to us.
    pub fn has_default_address(&self) -> bool {
        self.address == DEFAULT_ADDRESS
            || (!self.address.is_ascii()
                && self.address.nfkc().collect::<String>().to_lowercase() == DEFAULT_ADDRESS)
    }

    /// How the execution ended, for `cell_executed`; nothing for the other kinds.
    ///
    /// Clients get this wrong (contract, section 4) and it is put right here:
    /// cell-monitor sends the cells that Run All never reached as `hasError:
    /// false` without an `executionCount`.
    pub fn execution_status(&self) -> Option<ExecutionStatus> {
        if self.kind != EventKind::CellExecuted {
            return None;
        }
        Some(self.status_of_cell())
    }

    fn status_of_cell(&self) -> ExecutionStatus {
        if matches!(self.cell_type, Some(CellType::Markdown | CellType::Raw)) {
            return ExecutionStatus::NotRun;
        }
        if self.has_error == Some(true) {
            return if self.is_interrupt() {
                ExecutionStatus::Interrupted
            } else {
                ExecutionStatus::Error
            };
        }
        if self
            .code
            .as_deref()
            .is_some_and(|code| code.trim().is_empty())
        {
            return ExecutionStatus::NotRun;
        }
        match (self.has_error, self.execution_count) {
            (Some(_), Some(_)) => ExecutionStatus::Ok,
            (Some(_), None) => ExecutionStatus::Skipped,
            (None, _) => ExecutionStatus::Unknown,
        }
    }

    fn is_interrupt(&self) -> bool {
        self.error_text()
            .is_some_and(|message| message.starts_with("KeyboardInterrupt"))
    }

    /// The error's text from its first word on, without the colours before it.
    pub fn error_text(&self) -> Option<&str> {
        self.error_message.as_deref().map(without_colours)
    }
}

/// What follows blanks and the escape sequences with which kernels colour errors (ECMA-48, SGR).
fn without_colours(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some((sequence, after)) = rest
        .strip_prefix("\u{1b}[")
        .and_then(|rest| rest.split_once('m'))
    {
        if !sequence
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b';')
        {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_recognised_behind_the_colours_of_a_kernel() {
        assert_eq!(
            without_colours("\u{1b}[0;31mKeyboardInterrupt\u{1b}[0m"),
            "KeyboardInterrupt\u{1b}[0m"
        );
        assert_eq!(without_colours("  ValueError: m"), "ValueError: m");
        assert_eq!(without_colours("\u{1b}[x"), "\u{1b}[x");
    }
}
