//! Takes a person's counts out of the series.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use fjall::PersistMode;
use mimamori_actors::domain::{JournalId, Position, SessionKey};

use super::counts::{self, Counts};
use super::{EmbeddedSeries, Files, Inner, keys};
use crate::storage::series::{Recount, SeriesError};

impl EmbeddedSeries {
    /// As [`crate::storage::series::Series::erase`]. Who reads or writes meanwhile is told
    /// to come again.
    pub(in crate::storage::series) async fn erase(
        &self,
        journal: &JournalId,
        person: &SessionKey,
        through: Position,
        recount: impl Recount,
    ) -> Result<(), SeriesError> {
        let (journal, person) = (journal.clone(), person.clone());
        self.blocking(move |inner| inner.erase(&journal, &person, through, recount))
            .await
    }
}

impl Inner {
    fn erase(
        &self,
        journal: &JournalId,
        person: &SessionKey,
        through: Position,
        recount: impl Recount,
    ) -> Result<(), SeriesError> {
        // with this held nothing is counted; what waits for it was read before and is filtered
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = self.files.reading()?.known(journal)?.unwrap_or_default();
        let mut since = if reached > through {
            recount(through, reached)
        } else {
            Vec::new()
        };
        since.retain(|entry| entry.position <= reached);
        let anew = counts::of(&since, through);
        let rebuilt = self.files.rebuild(|old, new| copy(old, new, person, anew));
        rebuilt.map_err(|error| SeriesError::Unopened(error.to_string()))
    }
}

fn copy(
    old: &Files,
    new: &Files,
    key: &SessionKey,
    anew: BTreeMap<keys::Cell, Counts>,
) -> fjall::Result<()> {
    for found in old.counts.iter() {
        let (cell, counts) = found.into_inner()?;
        if !keys::is_of(&cell, key) {
            new.counts.insert(cell, counts)?;
        }
    }
    for (cell, counts) in anew {
        if cell.classroom == key.classroom && cell.student == key.student {
            new.counts.insert(cell.to_bytes(), counts.to_bytes())?;
        }
    }
    for found in old.offsets.iter() {
        let (journal, position) = found.into_inner()?;
        new.offsets.insert(journal, position)?;
    }
    new.database.persist(PersistMode::SyncAll)
}
