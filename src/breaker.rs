//! Leaves alone for a while what did not answer some times in a row.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row, and it is left alone …
const PATIENCE: u32 = 3;
/// … for so long; then one may try.
const REST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    /// Is 0 while it is left alone, else 1.
    gauge: Option<&'static str>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    left_alone_until: Option<Instant>,
}

impl Breaker {
    /// One that tells by this metric whether it lets anybody ask.
    pub(crate) const fn telling(gauge: &'static str) -> Self {
        Self::new(Some(gauge))
    }

    /// One that tells nobody but who asks it.
    pub(crate) const fn silent() -> Self {
        Self::new(None)
    }

    const fn new(gauge: Option<&'static str>) -> Self {
        let state = State {
            failures: 0,
            left_alone_until: None,
        };
        Self {
            state: Mutex::new(state),
            gauge,
        }
    }

    /// Whether to ask now. After a rest one is told yes, and the others once that one was answered.
    pub(crate) fn allows(&self) -> bool {
        let mut state = self.state();
        if state.is_resting() {
            return false;
        }
        if state.failures >= PATIENCE {
            state.left_alone_until = Some(Instant::now() + REST);
        }
        true
    }

    /// Whether nobody may ask now. Whoever only wants to know this does not become the one that tries.
    pub(crate) fn is_resting(&self) -> bool {
        self.state().is_resting()
    }

    pub(crate) fn succeeded(&self) {
        *self.state() = State::default();
        self.tell(true);
    }

    pub(crate) fn failed(&self) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= PATIENCE {
            state.left_alone_until = Some(Instant::now() + REST);
            self.tell(false);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // two plain assignments: nothing can be left half done
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, is_used: bool) {
        if let Some(gauge) = self.gauge {
            metrics::gauge!(gauge).set(f64::from(u8::from(is_used)));
        }
    }
}

impl State {
    fn is_resting(&self) -> bool {
        let now = Instant::now();
        self.left_alone_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_three_failures_in_a_row_one_tries_every_five_seconds() {
        let breaker = Breaker::telling("test_used_bool");
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
    async fn what_is_left_alone_is_told_until_it_answers() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let told = recorder.handle();
        let _counting = metrics::set_default_local_recorder(&recorder);
        let breaker = Breaker::telling("test_used_bool");

        breaker.succeeded();
        assert!(told.render().contains("test_used_bool 1"));
        for _ in 0..PATIENCE {
            breaker.failed();
        }
        assert!(told.render().contains("test_used_bool 0"));
        tokio::time::advance(REST).await;
        assert!(breaker.allows() && told.render().contains("test_used_bool 0"));
        breaker.succeeded();
        assert!(told.render().contains("test_used_bool 1"));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_with_an_answer_between_them_are_not_in_a_row() {
        let breaker = Breaker::telling("test_used_bool");
        for _ in 0..10 {
            breaker.failed();
            breaker.failed();
            breaker.succeeded();
        }

        assert!(breaker.allows());
    }
}
