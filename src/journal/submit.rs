//! The way of a request to the writer: serialised and claimed by its own task, then waiting in a bounded queue.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use mimamori_actors::domain::Position;
use mimamori_actors::ports::{AppendError, Identity, NewRecord, Origin, Verdict};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::claims::{Claimed, Flight, Met};
use super::frame::{Draft, MAX_PAYLOAD_BYTES};
use super::shared::Shared;
use super::writer::{Request, Work};

/// So many requests may wait for the disk.
pub(super) const MAX_WAITING_REQUESTS: usize = 4096;
/// So many bytes of them; a larger one waits for all others.
const MAX_WAITING_BYTES: u32 = 64 << 20;
/// Above this, looking identities up would hold a worker of the runtime for too long.
const LOOKED_UP_IN_PLACE: usize = 32;

/// What is known of a record before its request is on disk.
enum Fate {
    /// It goes into the frame.
    Written,
    /// It is in the index.
    Known(Verdict),
    /// Another request claimed its identity: so it is, if that one gets to the disk.
    Awaits(Arc<Flight>, Verdict),
}

impl Fate {
    /// Of a record with this identity.
    fn of(met: Met, identity: &Identity) -> Self {
        match met {
            Met::Nobody => Self::Written,
            Met::Known(content) => Self::Known(known(&content, identity)),
            Met::Twin(flight, content) => Self::Awaits(flight, known(&content, identity)),
        }
    }
}

/// A request that was handed over.
struct Submitted {
    fates: Vec<Fate>,
    flight: Arc<Flight>,
}

/// Hands requests to the writer.
pub(super) struct Submitter {
    shared: Arc<Shared>,
    writer: SyncSender<Work>,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Submitter {
    pub(super) fn new(shared: Arc<Shared>, writer: SyncSender<Work>) -> Self {
        Self {
            shared,
            writer,
            requests: Arc::new(Semaphore::new(MAX_WAITING_REQUESTS)),
            bytes: Arc::new(Semaphore::new(MAX_WAITING_BYTES as usize)),
        }
    }

    /// Those who wait for a place get none.
    pub(super) fn close(&self) {
        self.requests.close();
        self.bytes.close();
    }

    /// As if as many requests waited as may.
    #[cfg(test)]
    pub(super) fn hold_all_places(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(MAX_WAITING_REQUESTS).expect("a few thousand");
        Arc::clone(&self.requests)
            .try_acquire_many_owned(all)
            .expect("nothing waits in this test")
    }

    /// [`mimamori_actors::ports::Journal::append`]. Dropped while it waits, the
    /// records may be on disk all the same.
    pub(super) async fn append(
        self: Arc<Self>,
        batch: Vec<NewRecord>,
        origin: Origin,
    ) -> Result<Vec<Verdict>, AppendError> {
        let shared = Arc::clone(&self.shared);
        let appended = self.append_batch(batch, origin).await;
        // a request that was thrown away because the writer died says only that it is closed
        let verdicts = appended.map_err(|error| match (error, shared.refusal()) {
            (AppendError::Closed, Some(failed @ AppendError::Failed(_))) => failed,
            (error, _) => error,
        });
        count(verdicts.as_ref());
        verdicts
    }

    async fn append_batch(
        self: Arc<Self>,
        batch: Vec<NewRecord>,
        origin: Origin,
    ) -> Result<Vec<Verdict>, AppendError> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        if let Some(reason) = self.shared.room.refusal(origin) {
            return Err(AppendError::NoRoom(reason));
        }
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let draft = Draft::new(batch);
        if draft.max_frame_bytes() > MAX_PAYLOAD_BYTES {
            return Err(AppendError::NoRoom(
                "one batch is larger than a frame may be".to_owned(),
            ));
        }
        let place = self.place(draft.max_frame_bytes(), origin).await?;
        let submitted = if draft.identities.len() > LOOKED_UP_IN_PLACE {
            tokio::task::spawn_blocking(move || self.submit(draft, origin, place))
                .await
                .map_err(|error| AppendError::Failed(error.to_string()))??
        } else {
            self.submit(draft, origin, place)?
        };
        submitted.verdicts().await
    }

    /// A place in the queue: from outside at once or not at all.
    async fn place(
        &self,
        bytes: usize,
        origin: Origin,
    ) -> Result<[OwnedSemaphorePermit; 2], AppendError> {
        let bytes = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(MAX_WAITING_BYTES);
        let requests = Arc::clone(&self.requests);
        let waiting_bytes = Arc::clone(&self.bytes);
        let place = match origin {
            Origin::Outside => [
                requests.try_acquire_owned().map_err(at_once)?,
                waiting_bytes
                    .try_acquire_many_owned(bytes)
                    .map_err(at_once)?,
            ],
            Origin::Inside => {
                let closed = |_| AppendError::Closed;
                [
                    requests.acquire_owned().await.map_err(closed)?,
                    waiting_bytes
                        .acquire_many_owned(bytes)
                        .await
                        .map_err(closed)?,
                ]
            }
        };
        let waiting = MAX_WAITING_REQUESTS - self.requests.available_permits();
        metrics::gauge!("mimamori_journal_waiting_requests").set(waiting as f64);
        Ok(place)
    }

    /// Claims the identities and hands the rest to the writer. Nothing is
    /// awaited in here, so that a caller who goes away leaves no claim behind.
    fn submit(
        &self,
        draft: Draft,
        origin: Origin,
        place: [OwnedSemaphorePermit; 2],
    ) -> Result<Submitted, AppendError> {
        let mut claimed = Claimed::new(Arc::clone(&self.shared.claims), draft.identities.len());
        let mut fates = Vec::with_capacity(draft.identities.len());
        for identity in &draft.identities {
            fates.push(match identity {
                Some(identity) => self.fate(identity, &mut claimed)?,
                None => Fate::Written,
            });
        }
        let is_kept: Vec<_> = fates
            .iter()
            .map(|fate| matches!(fate, Fate::Written))
            .collect();
        let flight = Arc::clone(&claimed.flight);
        match draft.keep(&is_kept) {
            Some(sealed) => {
                let request = Request {
                    sealed,
                    claimed,
                    origin,
                    _place: place,
                };
                // there is a place, so it fails only if the writer has ended
                self.writer
                    .try_send(Work::Request(request))
                    .map_err(|_| AppendError::Closed)?;
            }
            None => claimed.land(Position::ZERO),
        }
        Ok(Submitted { fates, flight })
    }

    fn fate(&self, identity: &Identity, claimed: &mut Claimed) -> Result<Fate, AppendError> {
        match claimed.claim(identity, |key| self.shared.index.find(key)) {
            Ok(met) => Ok(Fate::of(met, identity)),
            Err(error) => {
                let reason = format!("the identity index: {error}");
                self.shared.index.judge(&error);
                self.shared.fail(&reason);
                Err(AppendError::Failed(reason))
            }
        }
    }
}

impl Submitted {
    /// Waits until everything it depends on is on disk.
    async fn verdicts(self) -> Result<Vec<Verdict>, AppendError> {
        let mut next = self.flight.landed().await?;
        let mut verdicts = Vec::with_capacity(self.fates.len());
        for fate in self.fates {
            verdicts.push(match fate {
                Fate::Written => {
                    let position = next;
                    next = next.next();
                    Verdict::Accepted(position)
                }
                Fate::Known(verdict) => verdict,
                Fate::Awaits(flight, verdict) => {
                    // its refusal is ours, also one for want of room that we were not asked about:
                    // both are 503 and come again, and nothing of us is said to be on disk that is
                    // not. The key of an event is never that of a fact, so the inside, which is
                    // refused only by a full disk, does not wait for a request from outside.
                    flight.landed().await?;
                    verdict
                }
            });
        }
        Ok(verdicts)
    }
}

/// The verdict on a record whose identity stands in the journal with this content.
fn known(stands: &[u8; 16], identity: &Identity) -> Verdict {
    if *stands == identity.content {
        Verdict::Duplicate
    } else {
        Verdict::Conflict
    }
}

fn at_once(error: tokio::sync::TryAcquireError) -> AppendError {
    match error {
        tokio::sync::TryAcquireError::Closed => AppendError::Closed,
        tokio::sync::TryAcquireError::NoPermits => AppendError::Overloaded,
    }
}

fn count(verdicts: Result<&Vec<Verdict>, &AppendError>) {
    match verdicts {
        Ok(verdicts) => {
            let of = |verdict| verdicts.iter().filter(|other| **other == verdict).count() as u64;
            metrics::counter!("mimamori_journal_duplicate_entries_total")
                .increment(of(Verdict::Duplicate));
            metrics::counter!("mimamori_journal_conflict_entries_total")
                .increment(of(Verdict::Conflict));
        }
        Err(error) => {
            let reason = match error {
                AppendError::Overloaded => "overloaded",
                AppendError::NoRoom(_) => "no_room",
                AppendError::Closed => "closed",
                AppendError::Failed(_) => "failed",
            };
            metrics::counter!("mimamori_journal_refused_requests_total", "reason" => reason)
                .increment(1);
        }
    }
}
