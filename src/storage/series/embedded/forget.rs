//! Takes a person's counts out of the series.

use std::collections::BTreeMap;

use mimamori_actors::domain::{JournalId, Position, SessionKey};

use super::counts::{self, Counts};
use super::{EmbeddedSeries, Files, Inner, keys};
use crate::storage::embedded::handle::rebuild;
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
        self.in_turn(move |inner, _| inner.erase(&journal, &person, through, recount))
            .await
    }
}

impl Inner {
    /// While it has its turn nothing is counted; what waits was read before and is filtered.
    fn erase(
        &self,
        journal: &JournalId,
        person: &SessionKey,
        through: Position,
        recount: impl Recount,
    ) -> Result<(), SeriesError> {
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
    rebuild::copy(&old.counts, &new.counts, |cell, _| !keys::is_of(cell, key))?;
    for (cell, counts) in anew {
        if cell.classroom == key.classroom && cell.student == key.student {
            new.counts.insert(cell.to_bytes(), counts.to_bytes())?;
        }
    }
    rebuild::copy(&old.offsets, &new.offsets, |_, _| true)?;
    new.database.sync()
}
