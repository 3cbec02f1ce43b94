//! Series that were away at the start, held against the journal when they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use mimamori_actors::domain::{Entry, JournalId, Position};
use mimamori_actors::ports::{Store, StoreError};

use super::none_beyond;
use super::unseen::Unseen;

/// A store that says how far it is only if that is not beyond the end that the journal had
/// when the server first went on without it: what lies between would be taken for written.
/// Whoever writes asks that first, and waits; a next start that sees the store ends.
pub(super) struct Compared {
    name: &'static str,
    store: Arc<dyn Store>,
    end: Position,
    unseen: Unseen,
    is_seen: AtomicBool,
}

impl Compared {
    pub(super) fn new(
        name: &'static str,
        store: Arc<dyn Store>,
        end: Position,
        unseen: Unseen,
    ) -> Self {
        Self {
            name,
            store,
            end,
            unseen,
            is_seen: AtomicBool::new(false),
        }
    }

    fn compare(&self, known: Option<Position>) -> anyhow::Result<()> {
        if !self.is_seen.load(Ordering::Acquire) {
            none_beyond(self.end, &[(self.name, known)])?;
            self.unseen.is_seen()?;
            self.is_seen.store(true, Ordering::Release);
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Compared {
    async fn offset(&self, journal: &JournalId) -> Result<Option<Position>, StoreError> {
        let known = self.store.offset(journal).await?;
        let compared = self.compare(known);
        compared.map_err(|error| StoreError::Unavailable(format!("{error:#}")))?;
        Ok(known)
    }

    async fn write(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), StoreError> {
        self.store.write(journal, entries, through).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }
}
