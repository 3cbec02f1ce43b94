//! When a child that failed is started again: one type for all parents.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How often, and how soon, a child is started again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RestartPolicy {
    /// So many restarts …
    pub(crate) restarts: usize,
    /// … within this time; one more, and …
    pub(crate) within: Duration,
    /// … this is done.
    pub(crate) then: WhenUsedUp,
    /// The wait before the first restart; doubled with each further one.
    pub(crate) first_wait: Duration,
    /// The longest wait.
    pub(crate) longest_wait: Duration,
}

/// What comes of a child that fails more often than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenUsedUp {
    /// The parent fails too, and the next one decides.
    Escalate,
    /// It is started again all the same, after the longest wait.
    KeepTrying,
}

impl RestartPolicy {
    /// 5 restarts in 30 s, from 10 ms to 1 s apart (design, section 2).
    pub(crate) const DEFAULT: Self = Self {
        restarts: 5,
        within: Duration::from_secs(30),
        then: WhenUsedUp::Escalate,
        first_wait: Duration::from_millis(10),
        longest_wait: Duration::from_secs(1),
    };

    /// A session's failures are its own: they end no parent, and it is never given up.
    /// What an entry may do to it is bounded by the attempts that the entry has.
    pub(crate) const SESSION: Self = Self {
        restarts: 6,
        within: Duration::from_secs(30),
        then: WhenUsedUp::KeepTrying,
        first_wait: Duration::from_millis(100),
        longest_wait: Duration::from_secs(5),
    };
}

/// What to do with a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Start it again after this wait.
    RestartAfter(Duration),
    /// It fails too often: fail too, and let the next parent decide.
    Escalate,
}

/// What of a policy has been used.
#[derive(Debug)]
pub(crate) struct Budget {
    policy: RestartPolicy,
    /// At most as many as there are restarts.
    failures: VecDeque<Instant>,
}

impl Budget {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            failures: VecDeque::new(),
        }
    }

    /// A child ended; that a person asked for it costs nothing.
    pub(crate) fn spend(&mut self, is_asked_for: bool) -> Decision {
        if is_asked_for {
            return Decision::RestartAfter(self.policy.first_wait);
        }
        self.failed()
    }

    fn failed(&mut self) -> Decision {
        let now = Instant::now();
        while self
            .failures
            .front()
            .is_some_and(|at| now.duration_since(*at) > self.policy.within)
        {
            self.failures.pop_front();
        }
        if self.failures.len() >= self.policy.restarts {
            return match self.policy.then {
                WhenUsedUp::Escalate => Decision::Escalate,
                WhenUsedUp::KeepTrying => Decision::RestartAfter(self.policy.longest_wait),
            };
        }
        let doublings = u32::try_from(self.failures.len())
            .unwrap_or(u32::MAX)
            .min(16);
        self.failures.push_back(now);
        let wait = self.policy.first_wait.saturating_mul(1 << doublings);
        Decision::RestartAfter(wait.min(self.policy.longest_wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(ms: &[u64]) -> Vec<Decision> {
        ms.iter()
            .map(|ms| Decision::RestartAfter(Duration::from_millis(*ms)))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_is_restarted_ever_later_and_the_sixth_failure_in_30_s_escalates() {
        let mut budget = Budget::new(RestartPolicy::DEFAULT);

        let decisions: Vec<_> = (0..6).map(|_| budget.failed()).collect();

        assert_eq!(decisions[..5], waits(&[10, 20, 40, 80, 160]));
        assert_eq!(decisions[5], Decision::Escalate);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_older_than_the_window_are_forgotten() {
        let mut budget = Budget::new(RestartPolicy::DEFAULT);
        for _ in 0..5 {
            budget.failed();
        }

        tokio::time::advance(Duration::from_secs(31)).await;

        assert_eq!(
            budget.failed(),
            Decision::RestartAfter(Duration::from_millis(10))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_person_asks_for_costs_nothing() {
        let mut budget = Budget::new(RestartPolicy::DEFAULT);

        for _ in 0..100 {
            assert_eq!(
                budget.spend(true),
                Decision::RestartAfter(Duration::from_millis(10))
            );
        }

        assert_eq!(budget.spend(false), waits(&[10])[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_never_given_up() {
        let mut session = Budget::new(RestartPolicy::SESSION);

        let decisions: Vec<_> = (0..8).map(|_| session.failed()).collect();

        assert_eq!(
            decisions,
            waits(&[100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000])
        );
    }
}
