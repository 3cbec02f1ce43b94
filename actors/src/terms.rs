//! Has what is past its term deleted, a turn at a time, beside everything else.
//!
//! A turn is a task of its own: a store that hangs keeps housekeeping from nothing
//! but the next turn. It ends with the incarnation that began it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::domain::Timestamp;
use crate::ports::{Retention, StoreError};

/// Between two looks when nothing was left.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is past its term, and how far its deletion is.
pub(crate) struct Terms {
    retention: Arc<dyn Retention>,
    under_way: Option<Turn>,
    next: Instant,
}

/// A turn; dropped, it ends.
struct Turn(JoinHandle<Result<bool, StoreError>>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Terms {
    pub(crate) fn new(retention: Arc<dyn Retention>) -> Self {
        Self {
            retention,
            under_way: None,
            next: Instant::now(),
        }
    }

    /// Begins a turn when the last one is over and it is time for another. Never waits.
    pub(crate) async fn round(&mut self, now: Timestamp) {
        if self
            .under_way
            .as_ref()
            .is_some_and(|turn| !turn.0.is_finished())
        {
            return;
        }
        if let Some(mut turn) = self.under_way.take() {
            let has_more = told(&mut turn).await;
            let wait = if has_more { Duration::ZERO } else { LOOK_EVERY };
            self.next = Instant::now() + wait;
        }
        if Instant::now() >= self.next {
            let retention = Arc::clone(&self.retention);
            let turn = tokio::spawn(async move { retention.turn(now).await });
            self.under_way = Some(Turn(turn));
        }
    }
}

/// Whether a turn that is over left something.
async fn told(turn: &mut Turn) -> bool {
    let error = match (&mut turn.0).await {
        Ok(Ok(has_more)) => return has_more,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    metrics::counter!("mimamori_retention_failed_turns_total").increment(1);
    tracing::warn!(
        actor.name = "housekeeping",
        error,
        "what is past its term could not all be deleted, it is tried again"
    );
    false
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;

    /// Has so much more to do; waits for nothing, or for ever.
    struct Work {
        turns: AtomicUsize,
        most: usize,
        hangs: bool,
    }

    #[async_trait]
    impl Retention for Work {
        async fn turn(&self, _: Timestamp) -> Result<bool, StoreError> {
            let turn = self.turns.fetch_add(1, Ordering::SeqCst) + 1;
            if self.hangs {
                std::future::pending::<()>().await;
            }
            if turn == 1 {
                return Err(StoreError::Unavailable("away".to_owned()));
            }
            Ok(turn < self.most)
        }
    }

    async fn rounds(most: usize, hangs: bool, seconds: u64) -> usize {
        let work = Arc::new(Work {
            turns: AtomicUsize::new(0),
            most,
            hangs,
        });
        let mut terms = Terms::new(Arc::clone(&work) as Arc<dyn Retention>);
        for _ in 0..seconds {
            terms.round(Timestamp::default()).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        work.turns.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_goes_at_once_and_then_it_is_looked_for_again_every_minute() {
        // the first one fails, and is tried again after a minute
        assert_eq!(rounds(10, false, 60).await, 1);
        assert_eq!(rounds(10, false, 75).await, 10);
        assert_eq!(rounds(10, false, 140).await, 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_hangs_is_the_only_one() {
        assert_eq!(rounds(10, true, 200).await, 1);
    }
}
