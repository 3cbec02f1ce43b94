//! What was computed from a classroom's rows, kept for who asks next.
//!
//! First in this process' memory, bounded by bytes, where of any number who ask
//! the same at once one asks the store; what it answers is filled in on the way
//! back. A value is named by everything it depends on: the classroom, whose eyes
//! it is for, what was asked, and the edition of the rows
//! ([`crate::storage::records`]). So a write needs to find nothing in here:
//! it makes another edition, and what is kept of the one before is not asked
//! for again (docs/adr/0020-a-cache-by-editions.md).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mimamori_actors::domain::ClassroomId;

use crate::storage::records::{Records, RecordsError};

mod memory;
mod name;

use memory::Memory;
pub(crate) use name::{Holds, Question, Scope, Subject};

/// Values that are larger are not kept: few of them would push out everything else.
const LARGEST: usize = 2 * 1024 * 1024;

/// The cache. It knows nothing of what it keeps.
#[derive(Debug)]
pub struct Cache {
    memory: Memory,
}

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Memory,
    Store,
}

impl Found {
    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Store => "miss",
        }
    }
}

impl Cache {
    /// Keeps at most about `max_bytes` in memory.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            memory: Memory::new(max_bytes),
        }
    }

    /// The answer to the question: as it was kept, or as `compute` gives it now.
    /// Who asks the same meanwhile waits for it, and gets the same failure.
    ///
    /// # Errors
    /// What `compute` failed with; a failure is not kept.
    pub(crate) async fn answer<E>(
        &self,
        question: &Question<'_>,
        compute: impl Future<Output = Result<Vec<u8>, E>>,
    ) -> Result<Bytes, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        let name = question.name();
        let (value, found) = self
            .memory
            .find_or(name, question.term(), async {
                compute
                    .await
                    .map(|value| (Bytes::from(value), Found::Store))
            })
            .await?;
        tell(question.subject, found);
        Ok(value)
    }

    /// Nothing that was computed of this classroom is shown any more, by any node:
    /// for whoever changed or deleted rows, or added old ones, once that is committed.
    ///
    /// # Errors
    /// When the records cannot be written: then values of before may be shown for up to an hour.
    pub async fn forget(
        &self,
        records: &Records,
        classroom: &ClassroomId,
    ) -> Result<(), RecordsError> {
        records.renew(classroom).await?;
        self.memory.forget(classroom).await;
        Ok(())
    }

    /// Bytes that are kept in memory.
    #[cfg(test)]
    async fn bytes(&self) -> u64 {
        self.memory.bytes().await
    }
}

/// For who has no use for one: everything is computed anew.
impl Default for Cache {
    fn default() -> Self {
        Self::new(0)
    }
}

fn tell(subject: Subject, found: Found) {
    let (subject, found) = (subject.name(), found.name());
    metrics::counter!("mimamori_cache_reads_total", "subject" => subject, "found" => found)
        .increment(1);
}

/// How long what nothing tells the changes of is shown.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
