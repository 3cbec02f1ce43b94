//! How long to wait before a thing is tried again.

use std::time::Duration;

/// The first wait, about.
const FIRST: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that double from about 100 ms up to 2 s, each between half of that and
/// all of it by chance: nodes that lost Redis together do not come back together.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// It worked: the next wait is the first again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// How long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * chance())
    }
}

/// From 0 to 1; 1 where the system has no random bytes.
fn chance() -> f64 {
    let mut byte = [u8::MAX];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / f64::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_two_seconds_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();

        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        backoff.reset();
        let after = backoff.next_wait();

        for (wait, full) in waits.iter().zip([100, 200, 400, 800, 1600, 2000, 2000]) {
            let full = Duration::from_millis(full);
            assert!((full / 2..=full).contains(wait), "{wait:?} of {full:?}");
        }
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(after <= FIRST);
    }
}
