//! Leaves alone for a while what did not answer some times in a row.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row, and it is left alone …
const PATIENCE: u32 = 3;
/// … for so long; then one may try.
const REST: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    left_alone_until: Option<Instant>,
}

impl Breaker {
    /// Whether to ask now. After a rest one is told yes, and the others once that one was answered.
    pub(super) fn allows(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        if state.left_alone_until.is_some_and(|until| now < until) {
            return false;
        }
        if state.failures >= PATIENCE {
            state.left_alone_until = Some(now + REST);
        }
        true
    }

    pub(super) fn succeeded(&self) {
        *self.state() = State::default();
        tell(true);
    }

    pub(super) fn failed(&self) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= PATIENCE {
            state.left_alone_until = Some(Instant::now() + REST);
            tell(false);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // two plain assignments: nothing can be left half done
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(is_used: bool) {
    metrics::gauge!("mimamori_cache_redis_used_bool").set(f64::from(u8::from(is_used)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_three_failures_in_a_row_one_tries_every_five_seconds() {
        let breaker = Breaker::default();
        for _ in 0..PATIENCE {
            assert!(breaker.allows());
            breaker.failed();
        }
        assert!(!breaker.allows());

        tokio::time::advance(REST).await;
        let (first, second) = (breaker.allows(), breaker.allows());
        breaker.failed();
        let after_a_failure = breaker.allows();
        tokio::time::advance(REST).await;
        let again = breaker.allows();
        breaker.succeeded();

        assert!(first && !second && !after_a_failure && again);
        assert!(breaker.allows() && breaker.allows());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_with_an_answer_between_them_are_not_in_a_row() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed();
            breaker.failed();
            breaker.succeeded();
        }

        assert!(breaker.allows());
    }
}
