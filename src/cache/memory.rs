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

/// What nobody has asked for again is not kept for longer, whatever room there is.
const LONGEST_TERM: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Memory {
    kept: Moka<Name, Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    value: Bytes,
    until: Instant,
}

/// A value as it was found elsewhere.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) value: Bytes,
    /// How long it is to be kept.
    pub(super) term: Duration,
    pub(super) from: Found,
}

impl Memory {
    pub(super) fn new(max_bytes: u64) -> Self {
        let kept = Moka::builder()
            .max_capacity(max_bytes)
            .weigher(|_, kept: &Kept| {
                u32::try_from(kept.value.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
            })
            .time_to_live(LONGEST_TERM)
            .support_invalidation_closures()
            .build();
        Self { kept }
    }

    /// The value by this name, or as `bring` brings it, once for all who ask meanwhile.
    pub(super) async fn find_or<E>(
        &self,
        name: Name,
        bring: impl Future<Output = Result<Brought, E>>,
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
            let brought = bring.await?;
            found = brought.from;
            Ok(Kept {
                value: brought.value,
                until: Instant::now() + brought.term,
            })
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
