//! Admission without a journal: identities are claimed, looked up and indexed as
//! in [`super::FileJournal`], but nothing is serialised, written or synced.
//! It is what the benchmarks compare the journal with, and of no other use.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use async_trait::async_trait;
use mimamori_actors::domain::{JournalId, Moment, Position};
use mimamori_actors::ports::{
    AppendError, Batch, Clock, Journal, NewRecord, Origin, ReadError, Verdict,
};
use tokio::sync::watch;

use super::backlog::{Backlog, RUN_IDENTITIES};
use super::claims::{Claimed, Claims, Met};
use super::index::{Checkpoint, Index, IndexError, Indexed};
use super::submit::{Fate, Submitted};

/// Takes everything and keeps identities only.
pub struct UnwrittenJournal {
    id: JournalId,
    identities: Arc<Identities>,
    clock: Arc<dyn Clock>,
    positions: AtomicU64,
    filled: SyncSender<()>,
}

struct Identities {
    claims: Arc<Claims>,
    backlog: Backlog,
    index: Index,
}

impl UnwrittenJournal {
    /// Begins with an empty index under this directory.
    ///
    /// # Errors
    /// When the index cannot be begun, for a person to read.
    pub fn begin(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let (index, _) = Index::open(&dir.join("index")).map_err(|error| error.to_string())?;
        let identities = Arc::new(Identities {
            claims: Arc::default(),
            backlog: Backlog::default(),
            index,
        });
        let (filled, waiting) = sync_channel(1);
        let (merges, added) = sync_channel(1);
        let (kept, merged) = (Arc::clone(&identities), Arc::clone(&identities));
        spawn("index", move || keep(&kept, &waiting, &merges))?;
        spawn("merger", move || merge(&merged.index, &added))?;
        Ok(Self {
            id: JournalId::new("unwritten"),
            identities,
            clock,
            positions: AtomicU64::new(0),
            filled,
        })
    }

    fn admit(&self, batch: &[NewRecord]) -> Result<Submitted, IndexError> {
        let all = &self.identities;
        let mut claimed = Claimed::new(Arc::clone(&all.claims), batch.len());
        let mut fates = Vec::with_capacity(batch.len());
        let mut fresh = Vec::with_capacity(batch.len());
        let received_at = self.clock.now();
        for identity in batch.iter().map(|record| record.identity) {
            let Some(identity) = identity else {
                fates.push(Fate::Written);
                continue;
            };
            let met = claimed.claim(&identity, |key| all.index.find(key))?;
            if matches!(met, Met::Nobody) {
                fresh.push(identity);
            }
            fates.push(Fate::of(met, &identity));
        }
        let count = batch.len() as u64;
        let first = Position(self.positions.fetch_add(count, Ordering::Relaxed) + 1);
        let flight = Arc::clone(&claimed.flight);
        claimed.land(first);
        let indexed: Vec<_> = (first.0..)
            .zip(fresh)
            .map(|(position, identity)| Indexed {
                identity,
                position: Position(position),
                received_at,
            })
            .collect();
        let to = Checkpoint {
            journal: self.id.clone(),
            position: Position(first.0 + count - 1),
            accepted: Moment::of_wall(received_at),
            segment: Position(1),
            offset: 0,
        };
        let waiting = all.backlog.add(&indexed, to, || true);
        if waiting >= RUN_IDENTITIES && waiting - indexed.len() < RUN_IDENTITIES {
            let _ = self.filled.try_send(());
        }
        Ok(Submitted { fates, flight })
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map(drop).map_err(|error| error.to_string())
}

fn keep(identities: &Identities, filled: &Receiver<()>, merges: &SyncSender<()>) {
    while filled.recv().is_ok() {
        while let Some((taken, to)) = identities.backlog.take() {
            if let Err(error) = identities.index.insert(&taken, &to) {
                tracing::error!(error = %error, "the index of a benchmark failed");
                return;
            }
            for indexed in &taken {
                identities.claims.release(&indexed.identity.key);
            }
            identities.backlog.indexed(taken.len());
            let _ = merges.try_send(());
            if !identities.backlog.has_run() {
                break;
            }
        }
    }
}

fn merge(index: &Index, added: &Receiver<()>) {
    while added.recv().is_ok() {
        while let Ok(true) = index.merge_once() {}
    }
}

#[async_trait]
impl Journal for UnwrittenJournal {
    fn id(&self) -> JournalId {
        self.id.clone()
    }

    async fn append(&self, batch: Vec<NewRecord>, _: Origin) -> Result<Vec<Verdict>, AppendError> {
        let submitted = self
            .admit(&batch)
            .map_err(|error| AppendError::Failed(error.to_string()))?;
        submitted.verdicts().await
    }

    async fn read(&self, after: Position, _: usize) -> Result<Batch, ReadError> {
        Ok(Batch {
            entries: Vec::new(),
            through: after,
        })
    }

    fn end(&self) -> watch::Receiver<Position> {
        watch::channel(Position::ZERO).1
    }

    fn oldest(&self) -> Position {
        Position(1)
    }

    fn committed(&self, _: &'static str, _: Position) {}
}
