//! Where the student is, and how it goes there: what the order of events decides.
//!
//! A value of its own: the base holds one of what is in its place for good, and
//! the state another, with the last 3 s folded on top.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{ExecutionStatus, SessionKey};

use super::brief::{Brief, Label, What};
use super::help::{self, Call};
use super::people::People;
use super::place::Place;
use super::rows::Errors;
use super::stuck::{Stuck, Trouble};
use super::told::Ended;

/// All that the order decides, but for the rows of errors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Present {
    /// Name and team are those sent last; an empty one says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) team: Option<Arc<str>>,
    pub(super) place: Place,
    pub(super) is_last_run_failed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) help: Option<Call>,
    pub(super) trouble: Trouble,
    pub(super) people: People,
}

/// What ended within a fold.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) calls: Vec<Ended<Call>>,
    pub(super) stuck: Vec<Ended<Stuck>>,
}

impl Present {
    /// Folds the next event in, in the order of the present.
    pub(super) fn fold(
        &mut self,
        brief: &Brief,
        rows: &mut impl Errors,
        key: &SessionKey,
        over: &mut Over,
    ) {
        self.introduce(brief);
        self.place.move_by(brief);
        self.people.fold(brief);
        match brief.what {
            What::Cell(_) => {
                if let Some(status) = brief.run() {
                    over.stuck.extend(self.run(status, brief, rows, key));
                }
            }
            What::Help => {
                let cell = brief.cell_id.as_deref().or(self.place.cell_id.as_deref());
                help::beat(&mut self.help, brief, cell, key);
            }
            What::HelpStop => over.calls.extend(help::stop(&mut self.help, brief)),
            What::Opened | What::Saved => {}
        }
    }

    fn introduce(&mut self, brief: &Brief) {
        if brief.by.name.is_some() {
            self.name.clone_from(&brief.by.name);
        }
        if brief.by.team.is_some() {
            self.team.clone_from(&brief.by.team);
        }
    }

    /// The cell the student is on ran and ended so.
    ///
    /// An interrupted run neither fails nor ends a row: the student stopped it.
    fn run(
        &mut self,
        status: ExecutionStatus,
        brief: &Brief,
        rows: &mut impl Errors,
        key: &SessionKey,
    ) -> Option<Ended<Stuck>> {
        self.is_last_run_failed = status == ExecutionStatus::Error;
        let cell = self.place.cell();
        let mut errors = 0;
        if let Some(cell) = cell {
            errors = rows.of(cell);
            match status {
                ExecutionStatus::Ok => {
                    if errors > 0 {
                        rows.set(cell, 0, brief);
                    }
                }
                ExecutionStatus::Error => {
                    errors = errors.saturating_add(1);
                    rows.set(cell, errors, brief);
                }
                ExecutionStatus::Interrupted
                | ExecutionStatus::Skipped
                | ExecutionStatus::NotRun
                | ExecutionStatus::Unknown => {}
            }
        }
        self.trouble.run(cell, status, errors, brief, key)
    }

    /// Forgets how runs ended, not where the student is.
    pub(super) fn forget_runs(&mut self) {
        self.is_last_run_failed = false;
        self.trouble.forget();
    }
}
