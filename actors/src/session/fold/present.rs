//! Where the student is, and how it goes there: what the order of events decides.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::domain::{Event, EventKind, ExecutionStatus, Position};

/// So many cells with errors are remembered; of more, the one that failed longest ago is forgotten.
pub const MAX_CELLS: usize = 5_000;

/// The student's place, and the errors there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Present {
    /// As sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notebook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cell_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cell_index: Option<i64>,
    is_last_run_failed: bool,
    /// Errors since the last `ok`, by notebook (in NFKC) and cell; only cells that have any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    error_runs: BTreeMap<String, BTreeMap<String, ErrorRun>>,
}

/// Errors of one cell since its last `ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ErrorRun {
    #[serde(rename = "n")]
    errors: u32,
    /// Where the last one stands.
    #[serde(rename = "p")]
    last: Position,
}

/// A cell in a notebook; two are the same if path (in NFKC) and id are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    notebook: String,
    pub(super) cell_id: Option<String>,
}

impl Present {
    pub(super) fn notebook(&self) -> Option<&String> {
        self.notebook.as_ref()
    }

    pub(super) fn cell_id(&self) -> Option<&String> {
        self.cell_id.as_ref()
    }

    pub(super) fn cell_index(&self) -> Option<i64> {
        self.cell_index
    }

    pub(super) fn is_last_run_failed(&self) -> bool {
        self.is_last_run_failed
    }

    pub(super) fn place(&self) -> Place {
        Place {
            notebook: compared(self.notebook.as_deref()).into_owned(),
            cell_id: self.cell_id.clone(),
        }
    }

    /// Moves the student to where this event was; the module's doc of `fold` says which ones do.
    pub(super) fn move_by(&mut self, event: &Event) {
        match event.kind {
            EventKind::CellExecuted => match event.execution_status() {
                Some(
                    ExecutionStatus::Ok
                    | ExecutionStatus::Error
                    | ExecutionStatus::Interrupted
                    | ExecutionStatus::NotRun,
                ) => self.move_to_cell(event),
                Some(ExecutionStatus::Skipped | ExecutionStatus::Unknown) | None => {
                    self.move_to_notebook(event);
                }
            },
            EventKind::NotebookOpened | EventKind::Help | EventKind::HelpStop => {
                self.move_to_notebook(event);
            }
            EventKind::NotebookSaved | EventKind::NotebookClosed => {
                if self.notebook.is_none() {
                    self.move_to_notebook(event);
                }
            }
        }
    }

    fn move_to_cell(&mut self, event: &Event) {
        if event.notebook.is_some() {
            self.notebook.clone_from(&event.notebook);
        }
        self.cell_id.clone_from(&event.cell_id);
        self.cell_index = event.cell_index;
    }

    fn move_to_notebook(&mut self, event: &Event) {
        if event.notebook.is_none() {
            return;
        }
        if compared(event.notebook.as_deref()) != compared(self.notebook.as_deref()) {
            self.cell_id = None;
            self.cell_index = None;
        }
        self.notebook.clone_from(&event.notebook);
    }

    /// The cell the student is on ran and ended so; gives its errors in a row.
    ///
    /// An interrupted run neither fails nor ends a row: the student stopped it.
    /// A cell without an id has no row: nothing tells it from the next one.
    pub(super) fn run(&mut self, status: ExecutionStatus, position: Position) -> u32 {
        self.is_last_run_failed = status == ExecutionStatus::Error;
        let place = self.place();
        if let Some(cell_id) = place.cell_id {
            match status {
                ExecutionStatus::Ok => self.forget(&place.notebook, &cell_id),
                ExecutionStatus::Error => self.count_error(place.notebook, cell_id, position),
                ExecutionStatus::Interrupted
                | ExecutionStatus::Skipped
                | ExecutionStatus::NotRun
                | ExecutionStatus::Unknown => {}
            }
        }
        self.errors_in_a_row()
    }

    /// Errors on the cell the student is on, since its last `ok`.
    pub(super) fn errors_in_a_row(&self) -> u32 {
        self.cell_id
            .as_ref()
            .and_then(|cell| {
                self.error_runs
                    .get(compared(self.notebook.as_deref()).as_ref())?
                    .get(cell)
            })
            .map_or(0, |run| run.errors)
    }

    /// Forgets how runs ended, not where the student is.
    pub(super) fn forget_runs(&mut self) {
        self.is_last_run_failed = false;
        self.error_runs.clear();
    }

    fn count_error(&mut self, notebook: String, cell_id: String, position: Position) {
        let cells = self.error_runs.entry(notebook).or_default();
        let run = cells.entry(cell_id).or_insert(ErrorRun {
            errors: 0,
            last: position,
        });
        run.errors = run.errors.saturating_add(1);
        run.last = position;
        if run.errors == 1 {
            self.forget_oldest_above(MAX_CELLS);
        }
    }

    fn forget_oldest_above(&mut self, limit: usize) {
        let remembered: usize = self.error_runs.values().map(BTreeMap::len).sum();
        if remembered <= limit {
            return;
        }
        let oldest = self
            .error_runs
            .iter()
            .flat_map(|(notebook, cells)| {
                cells
                    .iter()
                    .map(move |(cell, run)| (run.last, notebook, cell))
            })
            .min()
            .map(|(_, notebook, cell)| (notebook.clone(), cell.clone()));
        if let Some((notebook, cell)) = oldest {
            self.forget(&notebook, &cell);
        }
    }

    fn forget(&mut self, notebook: &str, cell_id: &str) {
        if let Some(cells) = self.error_runs.get_mut(notebook) {
            cells.remove(cell_id);
            if cells.is_empty() {
                self.error_runs.remove(notebook);
            }
        }
    }
}

/// A path as it is compared: in NFKC, so that one notebook is one, whichever way its name was typed.
fn compared(path: Option<&str>) -> Cow<'_, str> {
    let path = path.unwrap_or_default();
    if path.is_ascii() {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(path.nfkc().collect())
    }
}
