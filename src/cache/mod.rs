//! What was computed from a classroom's rows, kept for who asks next.
//!
//! First in this process' memory, bounded by bytes, where of any number who ask
//! the same at once one goes on: to Redis, if there is one, where nodes share what
//! they know, and then to the store; the answer is filled in on the way back. A
//! value is named by everything it depends on: the classroom, whose eyes it is
//! for, what was asked, and the edition of the rows ([`crate::storage::records`]).
//! So a write needs to find nothing in here: it makes another edition, and what is
//! kept of the one before is not asked for again (docs/adr/0020-a-cache-by-editions.md).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mimamori_actors::domain::ClassroomId;

use crate::config;
use crate::redis::RedisFault;
use crate::storage::records::{Records, RecordsError};

mod far;
mod memory;
mod name;
mod packed;

use far::Far;
use memory::{Brought, Memory};
pub(crate) use name::{Holds, Question, Scope, Subject};

/// Values that are larger are not kept: few of them would push out everything else.
const LARGEST: usize = 2 * 1024 * 1024;

/// The cache. It knows nothing of what it keeps.
#[derive(Debug)]
pub struct Cache {
    memory: Memory,
    far: Option<Far>,
    /// Nothing is kept anywhere: everybody asks the store.
    is_off: bool,
}

/// Why something that was kept may still be there.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// Nothing was forgotten.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Nobody is shown anything of it any more; it stands in Redis for up to an hour.
    #[error("what is kept in redis could not be taken away: {0}")]
    Redis(#[from] RedisFault),
}

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Memory,
    Redis,
    Store,
}

impl Found {
    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Store => "miss",
        }
    }
}

impl Cache {
    /// Keeps at most about `max_bytes`, in memory only.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            memory: Memory::new(max_bytes),
            far: None,
            is_off: max_bytes == 0,
        }
    }

    /// As the configuration says. Connects to Redis in the background.
    ///
    /// # Errors
    /// When its address is one that the client cannot use.
    pub fn open(config: &config::Cache) -> Result<Self, RedisFault> {
        Ok(Self {
            far: config.url.as_ref().map(Far::new).transpose()?,
            is_off: config.url.is_none() && config.memory_bytes == 0,
            ..Self::new(config.memory_bytes)
        })
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
        if self.is_off {
            return Ok(Bytes::from(compute.await?));
        }
        let name = question.name();
        let bring = async {
            let far = self.far.as_ref().filter(|_| question.is_shared());
            if let Some(far) = far
                && let Some((value, term)) = far.find(&name, question.term()).await
            {
                return Ok(Brought {
                    value,
                    term,
                    from: Found::Redis,
                });
            }
            let value = Bytes::from(compute.await?);
            let term = question.term();
            if let Some(far) = far
                && value.len() <= LARGEST
            {
                far.fill(name, question.anew(), value.clone(), term);
            }
            Ok(Brought {
                value,
                term,
                from: Found::Store,
            })
        };
        let (value, found) = self.memory.find_or(name, bring).await?;
        tell(question.subject, found);
        Ok(value)
    }

    /// Nothing that was computed of this classroom is shown any more, by any node:
    /// for whoever changed or deleted rows, or added old ones, once that is committed.
    ///
    /// # Errors
    /// When the records cannot be written; when Redis is away: see [`ForgetError`].
    pub async fn forget(
        &self,
        records: &Records,
        classroom: &ClassroomId,
    ) -> Result<(), ForgetError> {
        // this process alone makes them anew: what it knows of before is what others compute from
        let before = records.edition(classroom).await;
        records.renew(classroom).await?;
        self.memory.forget(classroom).await;
        if let Some(far) = &self.far {
            far.forget(classroom, before.map(|edition| edition.anew))
                .await?;
        }
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
