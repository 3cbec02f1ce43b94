//! Alerts: how they open, close, and are told of.

use crate::domain::{
    Alert, AlertId, AlertKind, AlertState, FactKind, Position, SessionKey, Timestamp,
};

use super::Step;
use super::brief::Brief;

/// What an alert's id is computed from, and since when it stands.
pub(super) struct Cause {
    pub(super) kind: AlertKind,
    pub(super) position: Position,
    pub(super) since: Timestamp,
}

impl Cause {
    pub(super) fn of(kind: AlertKind, brief: &Brief) -> Self {
        Self {
            kind,
            position: brief.position,
            since: brief.received.at,
        }
    }
}

/// An alert that opens now, told of.
pub(super) fn open(
    cause: &Cause,
    cell_id: Option<&str>,
    reason: String,
    step: &mut Step<'_>,
) -> Alert {
    let alert = Alert {
        id: id(cause.kind, cause.position, step.key),
        kind: cause.kind,
        student: step.key.student.clone(),
        cell_id: cell_id.map(str::to_owned),
        since: cause.since,
        reason,
        state: AlertState::Open,
    };
    tell(&alert, AlertState::Open, step);
    alert
}

pub(super) fn id(kind: AlertKind, first: Position, key: &SessionKey) -> AlertId {
    key.caused(kind.as_str(), first, AlertId::computed)
}

/// The reason became another; consoles learn it, the history has the last one when it closes.
pub(super) fn change_reason(alert: &mut Alert, reason: String, step: &mut Step<'_>) {
    alert.reason = reason;
    step.outcome.alerts.push(alert.clone());
}

pub(super) fn close(alert: &mut Option<Alert>, step: &mut Step<'_>) {
    if let Some(alert) = alert.take() {
        tell(&alert, AlertState::Closed, step);
    }
}

/// Puts into the journal what the alert is now, and tells consoles.
pub(super) fn tell(alert: &Alert, state: AlertState, step: &mut Step<'_>) {
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
