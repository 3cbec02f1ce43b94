//! What of an event decides the present: kept for the 3 s in which an older one may still come.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::format::is_default;
use super::order::Order;
use super::present::Present;
use crate::domain::{CellType, Event, EventKind, ExecutionStatus, Moment, Position};

/// An event, as far as the present needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Brief {
    #[serde(rename = "o")]
    pub(super) order: Order,
    #[serde(rename = "p")]
    pub(super) position: Position,
    /// When it was received.
    #[serde(rename = "m", with = "super::format::moment")]
    pub(super) received: Moment,
    #[serde(rename = "w")]
    pub(super) what: What,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) notebook: Option<Label>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) cell_id: Option<Arc<str>>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) cell_index: Option<i64>,
    /// The kernel's counter, if a kernel ran the cell.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<i64>,
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    pub(super) by: By,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    #[serde(rename = "x")]
    Cell(ExecutionStatus),
    #[serde(rename = "o")]
    Opened,
    /// Saved or closed.
    #[serde(rename = "s")]
    Saved,
    #[serde(rename = "h")]
    Help,
    #[serde(rename = "t")]
    HelpStop,
}

/// Who says it was, as far as the client tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct By {
    /// A hash of the client's own session.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<u64>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Label>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) team: Option<Arc<str>>,
}

impl Brief {
    /// `like` is the present, whose texts are shared where they are the same.
    pub(super) fn of(
        event: &Event,
        order: Order,
        position: Position,
        received: Moment,
        like: &Present,
    ) -> Self {
        Self {
            order,
            position,
            received,
            what: What::of(event),
            notebook: event
                .notebook
                .as_deref()
                .map(|path| Label::like(path, like.place.notebook.as_ref())),
            cell_id: event
                .cell_id
                .as_deref()
                .map(|id| shared(id, like.place.cell_id.as_ref())),
            cell_index: event.cell_index,
            count: count_of(event),
            by: By {
                session: session_of(event),
                name: said(event.name.as_ref()).map(|name| Label::like(name, like.name.as_ref())),
                team: said(event.team.as_ref()).map(|team| shared(team, like.team.as_ref())),
            },
        }
    }

    /// How the cell ran, if it did.
    pub(super) fn run(&self) -> Option<ExecutionStatus> {
        match self.what {
            What::Cell(status) => Some(status).filter(|status| status.is_run()),
            What::Opened | What::Saved | What::Help | What::HelpStop => None,
        }
    }
}

impl What {
    fn of(event: &Event) -> Self {
        match event.kind {
            EventKind::CellExecuted => {
                Self::Cell(event.execution_status().unwrap_or(ExecutionStatus::Unknown))
            }
            EventKind::NotebookOpened => Self::Opened,
            EventKind::NotebookSaved | EventKind::NotebookClosed => Self::Saved,
            EventKind::Help => Self::Help,
            EventKind::HelpStop => Self::HelpStop,
        }
    }
}

/// The kernel's counter; only what a kernel ran has one, whatever became of it.
pub(super) fn count_of(event: &Event) -> Option<i64> {
    let is_code = !matches!(event.cell_type, Some(CellType::Markdown | CellType::Raw));
    event
        .execution_count
        .filter(|count| is_code && *count >= 1 && event.kind == EventKind::CellExecuted)
}

/// A hash of the client's own session, if it says one.
pub(super) fn session_of(event: &Event) -> Option<u64> {
    let session = event.client_session.as_deref()?;
    (!session.is_empty()).then(|| short_hash(&[session]))
}

/// A name or path as sent, with what it is compared by: in NFKC two ways to type it are one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Arc<str>", into = "Arc<str>")]
pub(super) struct Label {
    pub(super) text: Arc<str>,
    pub(super) key: u64,
}

impl Label {
    pub(super) fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let key = if text.is_ascii() {
            short_hash(&[&text])
        } else {
            short_hash(&[&text.nfkc().collect::<String>()])
        };
        Self { text, key }
    }

    fn like(text: &str, known: Option<&Self>) -> Self {
        match known {
            Some(known) if *known.text == *text => known.clone(),
            Some(_) | None => Self::new(text),
        }
    }
}

impl From<Arc<str>> for Label {
    fn from(text: Arc<str>) -> Self {
        Self::new(text)
    }
}

impl From<Label> for Arc<str> {
    fn from(label: Label) -> Self {
        label.text
    }
}

fn shared(text: &str, known: Option<&Arc<str>>) -> Arc<str> {
    match known {
        Some(known) if **known == *text => Arc::clone(known),
        Some(_) | None => text.into(),
    }
}

/// The text, if it says anything.
fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str)
        .filter(|text| !text.trim().is_empty())
}

/// 64 bits of a hash over the parts. It is kept, so it must stay the same in every version.
pub(super) fn short_hash(parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // the length first: ("ab", "c") is not ("a", "bc")
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut short = [0; 8];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(short)
}
