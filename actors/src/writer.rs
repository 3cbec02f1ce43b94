//! `records` and `series`: each reads the journal at its own speed into its store.
//!
//! A store that is not there is waited for: the journal holds. A record that a
//! store refuses for good is found by halving the batch, becomes a dead
//! letter, and the rest goes on. A store that the journal went on without is
//! filled again from the records, if it may be.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::{Instant, sleep, sleep_until};

use crate::domain::{DeadLetter, Entry, FactId, Position, Record};
use crate::inside::append_dead_letter;
use crate::ports::{Backfill, Batch, Journal, ReadError, Store, StoreError};
use crate::tree::{ActorState, Address, Envelope, Later, Own, Step, Vitals, Witness};

mod store;

use store::{CHECKED_EVERY, FIRST_WAIT, in_time};

/// How many messages may wait for a writer: it sends them to itself.
pub(crate) const MAILBOX: usize = 8;
/// The journal reads from the disk what is no longer in memory.
const JOURNAL_READS_WITHIN: Duration = Duration::from_secs(30);
/// For what a writer does itself. Each answer of the store or the journal that
/// it waits for has its own time, and comes as progress: there may be any
/// number of them for one batch of which a store refuses a part.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// So many entries are written at a time: few by one who is up to date, so that they can be
/// read soon; …
const SMALLEST_BATCH: usize = 500;
/// … and by one who is behind as many as pay: one fsync for all of them.
const BATCH: usize = 4_000;
/// What comes within this time after a quiet moment is written together: 500 events a second
/// would else be 500 fsyncs, which the journal's own would have to wait behind.
const GATHER: Duration = Duration::from_millis(100);

pub(crate) enum WriterMessage {
    /// Write what there is.
    Pump,
}

#[derive(Clone)]
pub(crate) struct WriterArguments {
    /// The consumer's name: in the journal, in the store, in the tree.
    pub(crate) consumer: &'static str,
    pub(crate) address: Address<WriterMessage>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) store: Arc<dyn Store>,
    /// Holds what this store may have missed.
    pub(crate) backfill: Option<Arc<dyn Backfill>>,
    pub(crate) witness: Arc<dyn Witness>,
}

pub(crate) struct Writer;

pub(crate) struct WriterState {
    arguments: WriterArguments,
    own: Own<WriterMessage>,
    vitals: Arc<Vitals>,
    /// Nothing while the store has not yet said how far it is.
    offset: Option<Position>,
    /// What it misses comes from the records.
    is_cut_off: bool,
    /// When the store last answered as it should.
    heard: Instant,
    wait: Duration,
    /// No batch is larger: half of what the store did not take, doubled by each that it takes
    /// with ease. One that never fits into its time would else be tried again for ever.
    most: usize,
    /// Why the store is away, as it was told last.
    told: Option<String>,
    later: Option<Later>,
}

/// What comes after a turn.
enum Next {
    /// There may be more.
    Again,
    /// Wait for the journal to grow, or until the store is to be asked.
    WhenItGrows,
    /// The store is not there.
    After(Duration),
}

impl Actor for Writer {
    type Msg = Envelope<WriterMessage>;
    type State = WriterState;
    type Arguments = WriterArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        arguments: WriterArguments,
    ) -> Result<WriterState, ActorProcessingErr> {
        let own = arguments.address.attach(myself);
        let vitals = Arc::clone(arguments.address.vitals());
        vitals.started();
        Ok(WriterState {
            arguments,
            own,
            vitals,
            offset: None,
            is_cut_off: false,
            heard: Instant::now(),
            wait: FIRST_WAIT,
            most: BATCH,
            told: None,
            later: None,
        })
    }

    async fn post_start(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut WriterState,
    ) -> Result<(), ActorProcessingErr> {
        state.come_back(Next::Again);
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut WriterState,
    ) -> Result<(), ActorProcessingErr> {
        state.vitals.set_state(ActorState::Stopped);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        envelope: Envelope<WriterMessage>,
        state: &mut WriterState,
    ) -> Result<(), ActorProcessingErr> {
        let vitals = Arc::clone(&state.vitals);
        let _working = vitals.working();
        match envelope.open() {
            WriterMessage::Pump => {
                let next = state.pump_once().await?;
                state.come_back(next);
            }
        }
        Ok(())
    }
}

impl WriterState {
    async fn pump_once(&mut self) -> Result<Next, ActorProcessingErr> {
        let journal = Arc::clone(&self.arguments.journal);
        let Some(offset) = self.offset else {
            return self.ask_for_offset().await;
        };
        let end = *journal.end().borrow();
        self.vitals.set_lag(end.0.saturating_sub(offset.0));
        let waiting = self.vitals.waiting(JOURNAL_READS_WITHIN);
        let limit = batch_for(end.0.saturating_sub(offset.0)).min(self.most);
        let read = journal.read(offset, limit).await;
        drop(waiting);
        let batch = match read {
            Ok(batch) => batch,
            Err(ReadError::Trimmed { oldest }) => return self.refill(offset, oldest).await,
            Err(error @ ReadError::Failed(_)) => return Err(error.into()),
        };
        if self.is_cut_off {
            self.is_cut_off = false;
            self.vitals.set_state(ActorState::Running);
            tracing::info!(
                actor.name = self.arguments.consumer,
                journal.offset = offset.0,
                "the store has from the records what it had missed"
            );
        }
        if batch.through <= offset {
            return Ok(self.look_after_store().await);
        }
        self.write_batch(batch).await
    }

    /// The journal went on without this store: what is missing comes from the records.
    async fn refill(
        &mut self,
        offset: Position,
        oldest: Position,
    ) -> Result<Next, ActorProcessingErr> {
        let through = Position(oldest.0.saturating_sub(1));
        self.tell_of_gap(oldest);
        let Some(backfill) = self.arguments.backfill.clone() else {
            self.offset = Some(through);
            return Ok(Next::Again);
        };
        let read = backfill.read(offset, through, self.most);
        match in_time(&self.vitals, read).await {
            Ok(batch) => {
                metrics::counter!("mimamori_writers_refilled_entries_total", "consumer" => self.arguments.consumer)
                    .increment(batch.entries.len() as u64);
                self.write_batch(batch).await
            }
            Err(error) => Ok(self.store_is_away(&format!("cut off, and the records are {error}"))),
        }
    }

    /// Once for each time that it was cut off.
    fn tell_of_gap(&mut self, oldest: Position) {
        if self.is_cut_off {
            return;
        }
        let consumer = self.arguments.consumer;
        self.is_cut_off = self.arguments.backfill.is_some();
        metrics::counter!("mimamori_writers_gaps_total", "consumer" => consumer).increment(1);
        if self.is_cut_off {
            let told = format!("cut off before position {oldest}: being filled from the records");
            self.vitals.degraded(&told);
            tracing::warn!(
                actor.name = consumer,
                oldest = oldest.0,
                "the journal went on without this store, it is filled from the records"
            );
        } else {
            tracing::error!(
                actor.name = consumer,
                oldest = oldest.0,
                "entries that this store had not taken are gone from the journal"
            );
        }
    }

    /// Writes the batch. What the store refuses for good is found by halving,
    /// and nothing is taken for refused that was not refused alone.
    async fn write_batch(&mut self, batch: Batch) -> Result<Next, ActorProcessingErr> {
        // what is still to be written, and where the offset goes with it; the next one last
        let mut open = vec![(&*batch.entries, batch.through)];
        while let Some((part, through)) = open.pop() {
            match (self.write(part, through).await, part) {
                (Ok(()), _) => {}
                // or an offset alone was refused
                (Err(StoreError::Unavailable(reason)), _)
                | (Err(StoreError::Refused(reason)), []) => {
                    self.most = (part.len() / 2).max(1);
                    return Ok(self.store_is_away(&reason));
                }
                (Err(StoreError::Forgot(reason)), _) => {
                    self.offset = None;
                    return Ok(self.store_is_away(&reason));
                }
                (Err(StoreError::Refused(reason)), [only]) => {
                    self.bury(only, &reason).await?;
                    open.push((&[], through));
                }
                (Err(StoreError::Refused(_)), _) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    open.extend([(second, through), (first, last_position(first))]);
                }
            }
        }
        Ok(Next::Again)
    }

    async fn write(&mut self, entries: &[Arc<Entry>], through: Position) -> Result<(), StoreError> {
        let WriterArguments {
            consumer,
            journal,
            store,
            ..
        } = &self.arguments;
        let step = Step::Write { consumer, entries };
        if let Some(wait) = self.arguments.witness.before(step) {
            wait.await;
        }
        let begun = tokio::time::Instant::now();
        let journal = journal.id();
        in_time(&self.vitals, store.write(&journal, entries, through)).await?;
        let took = begun.elapsed();
        metrics::histogram!("mimamori_writers_batch_seconds", "consumer" => *consumer).record(took);
        metrics::counter!("mimamori_writers_entries_total", "consumer" => *consumer)
            .increment(entries.len() as u64);
        // one that lags behind what the journal still has is not yet itself
        if !self.is_cut_off {
            self.vitals.set_state(ActorState::Running);
        }
        self.is_taken(took);
        self.moved(through);
        Ok(())
    }

    async fn bury(&self, entry: &Entry, reason: &str) -> Result<(), ActorProcessingErr> {
        let consumer = self.arguments.consumer;
        let letter = DeadLetter {
            id: FactId::computed(&[consumer, &entry.position.to_string()]),
            classroom: entry.record.classroom().cloned(),
            consumer: consumer.to_owned(),
            position: entry.position,
            reason: reason.to_owned(),
        };
        metrics::counter!("mimamori_dead_letters_total", "consumer" => consumer).increment(1);
        tracing::error!(
            actor.name = consumer,
            journal.offset = entry.position.0,
            error = reason,
            "a store refused an entry, it is kept as a dead letter"
        );
        // a dead letter that is refused itself is only logged: it must not breed others
        if matches!(entry.record, Record::DeadLetter(_)) {
            return Ok(());
        }
        append_dead_letter(&*self.arguments.journal, &self.vitals, letter).await?;
        Ok(())
    }

    fn moved(&mut self, offset: Position) {
        self.offset = Some(offset);
        self.arguments
            .journal
            .committed(self.arguments.consumer, offset);
        self.heard = Instant::now();
        let end = *self.arguments.journal.end().borrow();
        self.vitals.set_lag(end.0.saturating_sub(offset.0));
    }

    fn come_back(&mut self, next: Next) {
        let own = &self.own;
        self.later = match next {
            Next::Again => Some(Later::send(own, WriterMessage::Pump, Duration::ZERO)),
            Next::After(wait) => Some(Later::send(own, WriterMessage::Pump, wait)),
            Next::WhenItGrows => {
                let mut end = self.arguments.journal.end();
                let offset = self.offset.unwrap_or(Position::ZERO);
                let check = self.heard + CHECKED_EVERY;
                let is_due = async move {
                    let has_grown = tokio::select! {
                        grown = end.wait_for(|end| *end > offset) => grown.is_ok(),
                        () = sleep_until(check) => return true,
                    };
                    sleep(GATHER).await;
                    has_grown
                };
                Some(Later::send_when(own, WriterMessage::Pump, is_due))
            }
        };
    }
}

/// How many entries are read at a time by one who is so many behind.
fn batch_for(lag: u64) -> usize {
    usize::try_from(lag)
        .unwrap_or(BATCH)
        .clamp(SMALLEST_BATCH, BATCH)
}

fn last_position(entries: &[Arc<Entry>]) -> Position {
    entries
        .last()
        .map_or(Position::ZERO, |entry| entry.position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_is_up_to_date_writes_little_at_a_time() {
        assert_eq!(batch_for(0), SMALLEST_BATCH);
        assert_eq!(batch_for(1_700), 1_700);
        assert_eq!(batch_for(1_000_000), BATCH);
    }
}
