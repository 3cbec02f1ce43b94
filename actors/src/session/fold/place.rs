//! Where somebody is: the notebook and the cell. The module's doc of `fold` says what moves there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::brief::{Brief, Label, What};
use super::rows::CellKey;
use crate::domain::ExecutionStatus;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// As sent.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) notebook: Option<Label>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) cell_id: Option<Arc<str>>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) cell_index: Option<i64>,
}

impl Place {
    pub(super) fn move_by(&mut self, brief: &Brief) {
        match brief.what {
            What::Cell(
                ExecutionStatus::Ok
                | ExecutionStatus::Error
                | ExecutionStatus::Interrupted
                | ExecutionStatus::NotRun,
            ) => self.move_to_cell(brief),
            What::Cell(ExecutionStatus::Skipped | ExecutionStatus::Unknown)
            | What::Opened
            | What::Help
            | What::HelpStop => self.move_to_notebook(brief),
            What::Saved => {
                if self.notebook.is_none() {
                    self.move_to_notebook(brief);
                }
            }
        }
    }

    fn move_to_cell(&mut self, brief: &Brief) {
        if brief.notebook.is_some() {
            self.notebook.clone_from(&brief.notebook);
        }
        self.cell_id.clone_from(&brief.cell_id);
        self.cell_index = brief.cell_index;
    }

    fn move_to_notebook(&mut self, brief: &Brief) {
        let Some(notebook) = &brief.notebook else {
            return;
        };
        if self.notebook.as_ref().map(|known| known.key) != Some(notebook.key) {
            self.cell_id = None;
            self.cell_index = None;
        }
        self.notebook = Some(notebook.clone());
    }

    /// The cell as errors are counted of it.
    pub(super) fn cell(&self) -> Option<CellKey> {
        CellKey::of(self.notebook.as_ref(), self.cell_id.as_deref())
    }

    pub(super) fn notebook_path(&self) -> Option<Arc<str>> {
        let notebook = self.notebook.as_ref()?;
        Some(Arc::clone(&notebook.text))
    }
}
