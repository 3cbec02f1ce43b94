//! The first tier: this process' memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mimamori_actors::domain::ClassroomId;
use moka::future::Cache as Moka;
use tokio::time::Instant;

use super::name::{Name, classroom_number};
use super::{Found, LARGEST};

/// What an entry takes besides its value: its name, its places in moka's own lists.
const ENTRY_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct Memory {
    kept: Moka<Name, Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    value: Bytes,
    until: Instant,
}

impl Memory {
    pub(super) fn new(max_bytes: u64) -> Self {
        let kept = Moka::builder()
            .max_capacity(max_bytes)
            .weigher(|_, kept: &Kept| {
                u32::try_from(kept.value.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
            })
            .support_invalidation_closures()
            .build();
        Self { kept }
    }

    /// The value by this name, or as `find` brings it, once for all who ask meanwhile.
    pub(super) async fn find_or<E>(
        &self,
        name: Name,
        term: Duration,
        find: impl Future<Output = Result<(Bytes, Found), E>>,
    ) -> Result<(Bytes, Found), Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        // terms go by our clock; who finds a value that is over by it takes it away
        if let Some(kept) = self.kept.get(&name).await {
            if kept.until > Instant::now() {
                return Ok((kept.value, Found::Memory));
            }
            self.kept.invalidate(&name).await;
        }
        let mut found = Found::Memory;
        let filled = async {
            let (value, by) = find.await?;
            found = by;
            let until = Instant::now() + term;
            Ok(Kept { value, until })
        };
        let value = self.kept.try_get_with(name, filled).await?.value;
        if found != Found::Memory {
            if value.len() > LARGEST {
                self.kept.invalidate(&name).await;
            }
            metrics::gauge!("mimamori_cache_memory_bytes").set(self.kept.weighted_size() as f64);
        }
        Ok((value, found))
    }

    pub(super) async fn forget(&self, classroom: &ClassroomId) {
        let gone = classroom_number(classroom);
        // by their names they are not found any more: this frees them
        let freed = self
            .kept
            .invalidate_entries_if(move |name, _| name.classroom == gone);
        if let Err(error) = freed {
            tracing::error!(%error, "kept answers cannot be taken out of memory by classroom");
        }
        self.kept.run_pending_tasks().await;
    }

    #[cfg(test)]
    pub(super) async fn bytes(&self) -> u64 {
        self.kept.run_pending_tasks().await;
        self.kept.weighted_size()
    }
}
