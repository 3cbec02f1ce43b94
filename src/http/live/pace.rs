//! How long a console has been behind.
//!
//! Counted in looks, none of which counts for more than twice the time between
//! two: while the whole process stood still (stopped, or its machine asleep) no
//! console could have read anything.

use std::time::Duration;

use mimamori_actors::outbox::Outbox;
use tokio::time::Instant;

/// What one console's reader knows of its pace.
pub(super) struct Pace {
    every: Duration,
    last_look: Instant,
    /// Since when the outbox has not been empty, and how much of that counts.
    behind: Option<(Instant, Duration)>,
}

impl Pace {
    /// To be looked at every `every`, from now on.
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            last_look: Instant::now(),
            behind: None,
        }
    }

    /// Looks once: for how long something has been waiting without a break.
    pub(super) fn behind_for(&mut self, outbox: &Outbox) -> Duration {
        let now = Instant::now();
        let last_look = std::mem::replace(&mut self.last_look, now);
        self.behind = outbox.behind_since().map(|since| {
            let before = self
                .behind
                .filter(|(known, _)| *known == since)
                .map_or(Duration::ZERO, |(_, counted)| counted);
            let of_this_look = now.duration_since(last_look.max(since));
            (since, before + of_this_look.min(self.every * 2))
        });
        self.behind.map_or(Duration::ZERO, |(_, counted)| counted)
    }
}

#[cfg(test)]
mod tests {
    use mimamori_actors::outbox::OutboxLimits;
    use tokio::time::advance;

    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    fn with_something_in_it() -> Outbox {
        let outbox = Outbox::new(OutboxLimits::default());
        outbox.push("{}".into());
        outbox
    }

    #[tokio::test(start_paused = true)]
    async fn a_console_is_behind_from_what_came_first_until_nothing_waits() {
        let outbox = Outbox::new(OutboxLimits::default());
        let mut pace = Pace::new(EVERY);
        advance(EVERY).await;
        assert_eq!(pace.behind_for(&outbox), Duration::ZERO);

        advance(Duration::from_secs(2)).await;
        outbox.push("{}".into());
        for look in 0..6 {
            advance(Duration::from_secs(3)).await;
            let behind_for = pace.behind_for(&outbox);
            assert_eq!(behind_for, Duration::from_secs(3 + 5 * look));
            advance(Duration::from_secs(2)).await;
        }

        outbox.try_next();
        assert_eq!(pace.behind_for(&outbox), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_behind_twice_is_not_behind_for_both() {
        let outbox = with_something_in_it();
        let mut pace = Pace::new(EVERY);
        advance(EVERY).await;
        assert_eq!(pace.behind_for(&outbox), EVERY);

        outbox.try_next();
        advance(EVERY / 5).await;
        outbox.push("{}".into());
        advance(EVERY / 5 * 4).await;

        assert_eq!(pace.behind_for(&outbox), EVERY / 5 * 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_standstill_of_the_process_counts_for_two_looks_then_and_later() {
        let outbox = with_something_in_it();
        let mut pace = Pace::new(EVERY);

        advance(Duration::from_secs(3_600)).await;

        assert_eq!(pace.behind_for(&outbox), EVERY * 2);
        advance(EVERY).await;
        assert_eq!(pace.behind_for(&outbox), EVERY * 3);
    }
}
