//! Three errors in a row on one cell: an alert that opens with the third error.
//!
//! It closes with an `ok` on that cell, when the student moves on by running
//! another one, or when another lesson begins. To look at a markdown cell is
//! not to move on. Who comes back to the cell and fails again is stuck again:
//! that is a new alert, for its cause is a new one.

use serde::{Deserialize, Serialize};

use crate::domain::{
    Alert, AlertId, AlertKind, AlertState, ExecutionStatus, FactKind, STUCK_ERRORS,
};

use super::Step;
use super::present::Place;

/// An alert that stands, with the cell it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenAlert {
    pub(super) alert: Alert,
    place: Place,
}

/// A run ended so at this place: closes the alerts that are over by it.
pub(super) fn close_what_is_over(
    alerts: &mut Vec<OpenAlert>,
    place: &Place,
    status: ExecutionStatus,
    step: &mut Step<'_>,
) {
    alerts.retain(|open| {
        let stands = open.place == *place && status != ExecutionStatus::Ok;
        if !stands {
            tell(&open.alert, AlertState::Closed, step);
        }
        stands
    });
}

/// A run ended so at this place: the third error in a row opens an alert.
pub(super) fn open_if_stuck(
    alerts: &mut Vec<OpenAlert>,
    place: &Place,
    status: ExecutionStatus,
    errors_in_a_row: u32,
    step: &mut Step<'_>,
) {
    if status != ExecutionStatus::Error || errors_in_a_row < STUCK_ERRORS || !alerts.is_empty() {
        return;
    }
    let kind = AlertKind::ErrorsInARow;
    let alert = Alert {
        id: step.cause(kind.as_str(), AlertId::computed),
        kind,
        student: step.key.student.clone(),
        cell_id: place.cell_id.clone(),
        since: step.at,
        reason: format!("{errors_in_a_row} errors in a row on this cell"),
        state: AlertState::Open,
    };
    tell(&alert, AlertState::Open, step);
    alerts.push(OpenAlert {
        alert,
        place: place.clone(),
    });
}

/// Another lesson: what was wrong in the last one is over.
pub(super) fn close_all(alerts: &mut Vec<OpenAlert>, step: &mut Step<'_>) {
    for open in alerts.drain(..) {
        tell(&open.alert, AlertState::Closed, step);
    }
}

fn tell(alert: &Alert, state: AlertState, step: &mut Step<'_>) {
    let alert = Alert {
        state,
        ..alert.clone()
    };
    let name = format!("alert_{}", state.as_str());
    step.conclude(
        &name,
        alert.id.as_str(),
        FactKind::AlertChanged {
            alert: alert.clone(),
            at: step.at,
        },
    );
    step.outcome.alerts.push(alert);
}
