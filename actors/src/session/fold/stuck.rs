//! Three errors in a row on one cell: an alert that opens with the third error.
//!
//! It closes with an `ok` on that cell, when the student moves on by running
//! another one, or when another lesson begins. To look at a markdown cell is
//! not to move on. Who comes back to the cell and fails again is stuck again:
//! that is a new alert, for its cause is a new one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Alert, AlertId, AlertKind, AlertState, ExecutionStatus, Position, STUCK_ERRORS, SessionKey,
    StudentId, Timestamp,
};

use super::Step;
use super::alerts;
use super::brief::Brief;
use super::rows::CellKey;
use super::told::{Ended, Episode};

/// Errors on one cell, with no `ok` and no run of another between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Visit {
    cell: CellKey,
    /// The one that was received first.
    first: Position,
}

/// An alert that stands, with the cell it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stuck {
    pub(super) id: AlertId,
    #[serde(rename = "c")]
    pub(super) cell_id: Option<Arc<str>>,
    #[serde(rename = "s")]
    pub(super) since: Timestamp,
    /// When it opened.
    #[serde(rename = "n")]
    pub(super) errors: u32,
    #[serde(rename = "k")]
    pub(super) cell: CellKey,
    /// The error that names it: the first received of those that led to it.
    #[serde(rename = "f")]
    pub(super) first: Position,
}

impl Stuck {
    pub(super) fn alert(&self, student: &StudentId) -> Alert {
        Alert {
            id: self.id.clone(),
            kind: AlertKind::ErrorsInARow,
            student: student.clone(),
            cell_id: self.cell_id.as_deref().map(str::to_owned),
            since: self.since,
            reason: format!("{} errors in a row on this cell", self.errors),
            state: AlertState::Open,
        }
    }
}

/// How the student fares on the current cell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Trouble {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    visit: Option<Visit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stuck: Option<Stuck>,
}

impl Trouble {
    /// The cell ran and ended so; with it, it has so many errors in a row.
    pub(super) fn run(
        &mut self,
        cell: Option<CellKey>,
        status: ExecutionStatus,
        errors: u32,
        brief: &Brief,
        key: &SessionKey,
    ) -> Option<Ended<Stuck>> {
        let is_over = |it: CellKey| Some(it) != cell || status == ExecutionStatus::Ok;
        self.visit.take_if(|visit| is_over(visit.cell));
        let over = self.stuck.take_if(|stuck| is_over(stuck.cell));
        if let Some(cell) = cell
            && status == ExecutionStatus::Error
        {
            self.fail(cell, errors, brief, key);
        }
        over.map(|episode| Ended {
            episode,
            at: brief.received.at,
        })
    }

    fn fail(&mut self, cell: CellKey, errors: u32, brief: &Brief, key: &SessionKey) {
        let visit = self.visit.get_or_insert(Visit {
            cell,
            first: brief.position,
        });
        visit.first = visit.first.min(brief.position);
        let first = visit.first;
        match &mut self.stuck {
            Some(stuck) if first < stuck.first => {
                stuck.first = first;
                stuck.id = id(first, key);
            }
            None if errors >= STUCK_ERRORS => {
                self.stuck = Some(Stuck {
                    id: id(first, key),
                    cell_id: brief.cell_id.clone(),
                    since: brief.received.at,
                    errors,
                    cell,
                    first,
                });
            }
            Some(_) | None => {}
        }
    }

    /// Another lesson: what was wrong in the last one is over.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn id(first: Position, key: &SessionKey) -> AlertId {
    alerts::id(AlertKind::ErrorsInARow, first, key)
}

impl Episode for Stuck {
    type Id = AlertId;

    fn id(&self) -> &AlertId {
        &self.id
    }

    fn tell_opened(&self, step: &mut Step<'_>) {
        alerts::tell(&self.alert(&step.key.student), AlertState::Open, step);
    }

    fn tell_ended(&self, _at: Timestamp, step: &mut Step<'_>) {
        alerts::tell(&self.alert(&step.key.student), AlertState::Closed, step);
    }
}
