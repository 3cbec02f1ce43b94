//! Format 1, read only: before the last 3 s were kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::domain::{Alert, LessonId, Moment, OpenHelp, Position, STUCK_ERRORS, SessionKey};

use super::super::brief::Label;
use super::super::help::Call;
use super::super::place::Place;
use super::super::rows::{CellKey, Rows};
use super::super::stuck::Stuck;
use super::super::work::OpenSession;
use super::super::{Counters, SessionState};

pub(super) const FORMAT: u8 = 1;

#[derive(Deserialize)]
pub(super) struct State {
    key: SessionKey,
    position: Position,
    name: String,
    #[serde(default)]
    team: Option<Arc<str>>,
    last_activity: Option<Moment>,
    lesson: Option<LessonId>,
    counters: Counters,
    present: Present,
    session: Option<OpenSession>,
    help: Option<OpenHelp>,
    #[serde(default)]
    alerts: Vec<OpenAlert>,
}

#[derive(Deserialize)]
struct Present {
    #[serde(default)]
    notebook: Option<Label>,
    #[serde(default)]
    cell_id: Option<Arc<str>>,
    #[serde(default)]
    cell_index: Option<i64>,
    is_last_run_failed: bool,
    /// By notebook (in NFKC) and cell.
    #[serde(default)]
    error_runs: BTreeMap<String, BTreeMap<String, ErrorRun>>,
}

#[derive(Deserialize)]
struct ErrorRun {
    #[serde(rename = "n")]
    errors: u32,
    #[serde(rename = "p")]
    last: Position,
}

#[derive(Deserialize)]
struct OpenAlert {
    alert: Alert,
    place: AlertPlace,
}

#[derive(Deserialize)]
struct AlertPlace {
    notebook: Label,
    cell_id: Option<String>,
}

impl Present {
    fn rows(&self) -> Rows {
        let mut runs: Vec<_> = self
            .error_runs
            .iter()
            .flat_map(|(notebook, cells)| {
                let notebook = Label::new(notebook.as_str());
                cells
                    .iter()
                    .map(move |(cell, run)| (notebook.clone(), cell, run))
            })
            .collect();
        runs.sort_by_key(|(_, _, run)| run.last);
        let mut rows = Rows::default();
        for (notebook, cell, run) in runs {
            if let Some(cell) = CellKey::of(notebook.named(), Some(cell)) {
                rows.put(cell, run.errors);
            }
        }
        rows
    }
}

impl Label {
    /// No notebook was an empty path.
    fn named(&self) -> Option<&Self> {
        Some(self).filter(|label| !label.text.is_empty())
    }
}

impl OpenAlert {
    fn into_stuck(self) -> Option<Stuck> {
        let cell = CellKey::of(self.place.notebook.named(), self.place.cell_id.as_deref())?;
        let Alert {
            id,
            cell_id,
            since,
            reason,
            ..
        } = self.alert;
        let errors = reason
            .split_once(' ')
            .and_then(|(errors, _)| errors.parse().ok());
        Some(Stuck {
            id,
            cell_id: cell_id.map(Arc::from),
            since,
            errors: errors.unwrap_or(STUCK_ERRORS),
            cell,
            // its name stays, whatever comes
            first: Position::ZERO,
        })
    }
}

impl From<State> for SessionState {
    fn from(kept: State) -> Self {
        let mut state = Self::new(kept.key);
        state.position = kept.position;
        state.last_activity = kept.last_activity;
        state.lesson = kept.lesson;
        state.counters = kept.counters;
        state.session = kept.session;
        state.base.rows = kept.present.rows();
        let present = &mut state.base.present;
        present.name = Some(kept.name)
            .filter(|name| !name.is_empty())
            .map(Label::new);
        present.team = kept.team;
        present.place = Place {
            notebook: kept.present.notebook,
            cell_id: kept.present.cell_id,
            cell_index: kept.present.cell_index,
        };
        present.is_last_run_failed = kept.present.is_last_run_failed;
        present.help = kept.help.map(|open| Call {
            open,
            first: Position::ZERO,
        });
        present.trouble.stuck = kept.alerts.into_iter().find_map(OpenAlert::into_stuck);
        state.fold_recent_again();
        state
    }
}
