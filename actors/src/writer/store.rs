//! What a writer knows of its store: whether it is there, and how far it is.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use ractor::ActorProcessingErr;
use tokio::time::{Instant, timeout};

#[cfg(doc)]
use super::GATHER;
use super::{BATCH, Next, WriterArguments, WriterState};
use crate::domain::Position;
use crate::ports::StoreError;
use crate::tree::{ActorState, Vitals};

/// A store that takes longer than this for an answer is not there.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(25);
/// Whoever looks is told of a store that hangs well before that. With [`CHECKED_EVERY`] and
/// [`GATHER`] it is less than the 5 s within which health names the culprit.
const TOLD_AFTER: Duration = Duration::from_millis(2_500);
const NO_ANSWER: &str = "no answer in time";
/// A store of which nothing was heard for so long is asked whether it is there.
pub(super) const CHECKED_EVERY: Duration = Duration::from_secs(2);
/// Between two tries of a store that is not there: doubled from the first to the last.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl WriterState {
    pub(super) async fn ask_for_offset(&mut self) -> Result<Next, ActorProcessingErr> {
        let WriterArguments {
            journal,
            store,
            backfill,
            ..
        } = &self.arguments;
        match in_time(&self.vitals, store.offset(&journal.id())).await {
            Ok(known) => {
                // a store that does not know this journal begins at its oldest position,
                // or with all that there ever was
                let offset = known.unwrap_or(match backfill {
                    Some(_) => Position::ZERO,
                    None => Position(journal.oldest().0.saturating_sub(1)),
                });
                // one that was not there when we started could not stop the start
                let end = *journal.end().borrow();
                if offset > end {
                    return Ok(self.store_is_away(&format!(
                        "it is at position {offset} of a journal that ends at {end}: see to it, and start again"
                    )));
                }
                self.vitals.set_state(ActorState::Running);
                self.moved(offset);
                Ok(Next::Again)
            }
            Err(error) => Ok(self.store_is_away(&error.to_string())),
        }
    }

    /// Nothing is to be written: that the store went away would be seen by nobody.
    pub(super) async fn look_after_store(&mut self) -> Next {
        if self.heard.elapsed() < CHECKED_EVERY {
            return Next::WhenItGrows;
        }
        let waiting = self.vitals.waiting(TOLD_AFTER);
        let checked = timeout(TOLD_AFTER, self.arguments.store.check()).await;
        drop(waiting);
        match checked.unwrap_or_else(|_| Err(StoreError::Unavailable(NO_ANSWER.to_owned()))) {
            Ok(()) => {
                self.heard = Instant::now();
                self.answers();
                self.vitals.set_state(ActorState::Running);
                Next::WhenItGrows
            }
            Err(StoreError::Unavailable(reason)) => self.store_is_away(&reason),
            Err(error) => self.store_is_away(&error.to_string()),
        }
    }

    fn answers(&mut self) {
        self.wait = FIRST_WAIT;
        if self.told.take().is_some() {
            let consumer = self.arguments.consumer;
            tracing::info!(actor.name = consumer, "the store takes again what comes");
        }
    }

    pub(super) fn is_taken(&mut self, took: Duration) {
        self.answers();
        if took < STORE_ANSWERS_WITHIN / 8 {
            self.most = self.most.saturating_mul(2).min(BATCH);
        }
    }

    pub(super) fn store_is_away(&mut self, reason: &str) -> Next {
        let consumer = self.arguments.consumer;
        metrics::counter!("mimamori_writers_unavailable_total", "consumer" => consumer)
            .increment(1);
        // once a reason: it is asked again every 2 s for as long as it is away
        if self.told.as_deref() != Some(reason) {
            self.told = Some(reason.to_owned());
            tracing::warn!(
                actor.name = consumer,
                error = reason,
                "the store is not there, the journal holds"
            );
        }
        self.vitals.degraded(reason);
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        Next::After(scattered(wait))
    }
}

/// Waits for a store, which is no standstill. One that hangs is told of before it is given up.
pub(super) async fn in_time<T>(
    vitals: &Vitals,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let _waiting = vitals.waiting(STORE_ANSWERS_WITHIN);
    let mut answer = pin!(tokio::time::timeout(STORE_ANSWERS_WITHIN, answer));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        () = tokio::time::sleep(TOLD_AFTER) => {
            vitals.degraded("no answer yet, it is waited for");
            answer.await
        }
    };
    answer.unwrap_or_else(|_| Err(StoreError::Unavailable(NO_ANSWER.to_owned())))
}

/// Three to five quarters of it: those who lost the same store do not come back to it in step.
fn scattered(wait: Duration) -> Duration {
    let mut random = [0];
    // without randomness it is only as long as it is
    let quarter = match getrandom::fill(&mut random) {
        Ok(()) => f64::from(random[0]) / 255.0 / 2.0,
        Err(_) => 0.25,
    };
    wait.mul_f64(0.75 + quarter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_scattered_by_a_quarter_to_either_side() {
        let waits: Vec<_> = (0..100).map(|_| scattered(LONGEST_WAIT)).collect();

        assert!(waits.iter().all(|wait| *wait >= LONGEST_WAIT * 3 / 4));
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT * 5 / 4));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
