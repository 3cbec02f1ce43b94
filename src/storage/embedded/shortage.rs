//! Whether the disk was short of room lately: seen by the journal, which looks
//! four times a second, asked by the databases beside it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is known of the room on the disk, and how often it became short.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    is_short: AtomicBool,
    times: AtomicU64,
}

impl Shortage {
    /// What the disk says now.
    pub(crate) fn note(&self, is_short: bool) {
        let was_short = self.is_short.swap(is_short, Ordering::AcqRel);
        if is_short && !was_short {
            self.times.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How often it became short until now.
    pub(crate) fn times(&self) -> u64 {
        self.times.load(Ordering::Acquire)
    }

    /// Whether it is short, or was since it had been so often.
    pub(crate) fn was_since(&self, times: u64) -> bool {
        self.is_short.load(Ordering::Acquire) || self.times() > times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_known_while_it_lasts_and_to_who_has_seen_fewer() {
        let shortage = Shortage::default();
        let before = shortage.times();
        assert!(!shortage.was_since(before));

        shortage.note(true);
        let meanwhile = shortage.times();
        assert!(shortage.was_since(before) && shortage.was_since(meanwhile));

        shortage.note(false);
        assert!(shortage.was_since(before));
        assert!(!shortage.was_since(shortage.times()));
    }
}
