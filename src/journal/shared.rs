//! What the journal's threads and callers share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mimamori_actors::domain::{JournalId, Position};
use mimamori_actors::ports::{AppendError, Batch, Clock};
use tokio::sync::watch;

use crate::erasure::hidden::Hidden;

use super::backlog::Backlog;
use super::claims::Claims;
use super::damage::Damage;
use super::disk::Disk;
use super::index::Index;
use super::pin::Pins;
use super::room::Room;
use super::segment::{SegmentDir, Segments};
use super::tail::Tail;
use super::trim::Consumers;

/// What the journal's threads and callers share.
pub(super) struct Shared {
    pub(super) id: JournalId,
    pub(super) dir: SegmentDir,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dedup_days: u32,
    pub(super) segments: Segments,
    pub(super) tail: Tail,
    pub(super) claims: Arc<Claims>,
    pub(super) index: Index,
    /// Identities on their way into the index.
    pub(super) backlog: Backlog,
    /// The last position whose identity is in the index to stay, whatever happens to the power.
    pub(super) indexed_through: watch::Sender<Position>,
    pub(super) room: Room,
    pub(super) consumers: Consumers,
    /// Who copies the journal and needs its beginning.
    pub(super) pins: Pins,
    pub(super) damage: Damage,
    /// The last position that is on disk.
    pub(super) end: watch::Sender<Position>,
    /// The oldest position that can be read.
    pub(super) oldest: watch::Sender<Position>,
    /// Why the journal refuses for ever.
    pub(super) failed: watch::Sender<Option<String>>,
    /// Who is in no batch that is read.
    pub(super) hidden: OnceLock<Arc<Hidden>>,
    pub(super) is_closing: AtomicBool,
    /// fsyncs of groups since the start.
    pub(super) syncs: AtomicU64,
    /// Makes the next fsync fail.
    #[cfg(test)]
    pub(super) fails_next_sync: AtomicBool,
}

impl Shared {
    /// Refuses everything from now on. The first reason counts.
    pub(super) fn fail(&self, reason: &str) {
        let is_first = self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            if is_first {
                *failed = Some(reason.to_owned());
            }
            is_first
        });
        if is_first {
            metrics::counter!("mimamori_journal_failures_total").increment(1);
            tracing::error!(
                error = reason,
                "the journal failed: it takes nothing more, the process must end and read again"
            );
        }
    }

    /// The batch without what must not be seen any more; it reaches as far.
    pub(super) fn without_hidden(&self, mut batch: Batch) -> Batch {
        if let Some(hidden) = self.hidden.get().filter(|hidden| hidden.is_anybody()) {
            batch.entries.retain(|entry| !hidden.hides(entry));
        }
        batch
    }

    /// Why the journal takes nothing, if it does not.
    pub(super) fn refusal(&self) -> Option<AppendError> {
        if let Some(reason) = self.failed.borrow().as_ref() {
            return Some(AppendError::Failed(reason.clone()));
        }
        self.is_closing
            .load(Ordering::Acquire)
            .then_some(AppendError::Closed)
    }
}
