//! What router and session share of one session: it outlives the incarnations.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::Position;

/// How far a session is, and which of its incarnations may say so.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The state up to here is in the snapshots.
    saved: AtomicU64,
    /// The entry being applied, 0 if none: after a failure this one is to blame.
    in_hand: AtomicU64,
    /// It is in the computation that only its own end can end.
    is_folding: AtomicBool,
    /// Its snapshot could not be read: it needs everything that the journal still has.
    is_anew: AtomicBool,
    /// The number of the last incarnation, and whether that is still to be heard.
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    number: u64,
    is_open: bool,
}

impl Progress {
    pub(crate) fn at(position: Position) -> Arc<Self> {
        Arc::new(Self {
            saved: AtomicU64::new(position.0),
            in_hand: AtomicU64::new(0),
            is_folding: AtomicBool::new(false),
            is_anew: AtomicBool::new(false),
            current: Mutex::default(),
        })
    }

    /// Gives the next incarnation its number: from now on only that one is heard.
    pub(crate) fn next_incarnation(&self) -> u64 {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.number += 1;
        current.is_open = true;
        self.in_hand.store(0, Ordering::Release);
        self.is_folding.store(false, Ordering::Release);
        current.number
    }

    /// The last incarnation is over: should it come back, it is not heard. Waits
    /// for what it does under [`Progress::as_current`].
    pub(crate) fn close(&self) {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_open = false;
    }

    /// Does what an incarnation does for all to see, unless it was replaced;
    /// until it is done it cannot be.
    pub(crate) fn as_current<T>(&self, incarnation: u64, act: impl FnOnce() -> T) -> Option<T> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (current.is_open && current.number == incarnation).then(act)
    }

    pub(crate) fn saved(&self) -> Position {
        Position(self.saved.load(Ordering::Acquire))
    }

    pub(crate) fn set_saved(&self, position: Position) {
        self.saved.store(position.0, Ordering::Release);
    }

    pub(crate) fn set_is_anew(&self) {
        self.is_anew.store(true, Ordering::Release);
    }

    /// Whether the incarnation that was just started has lost its snapshot.
    pub(crate) fn take_is_anew(&self) -> bool {
        self.is_anew.swap(false, Ordering::AcqRel)
    }

    /// The session took this entry into its hand.
    pub(crate) fn took(&self, position: Position) {
        self.in_hand.store(position.0, Ordering::Release);
    }

    /// The entry is applied.
    pub(crate) fn put_down(&self, incarnation: u64) {
        self.as_current(incarnation, || self.in_hand.store(0, Ordering::Release));
    }

    /// The entry that was in hand when the session failed.
    pub(crate) fn take_in_hand(&self) -> Option<Position> {
        Some(Position(self.in_hand.swap(0, Ordering::AcqRel)))
            .filter(|position| *position != Position::ZERO)
    }

    /// It folds until the guard is dropped.
    pub(crate) fn folding(&self) -> Folding<'_> {
        self.is_folding.store(true, Ordering::Release);
        Folding(self)
    }

    pub(crate) fn is_folding(&self) -> bool {
        self.is_folding.load(Ordering::Acquire)
    }
}

/// Marks a fold.
pub(crate) struct Folding<'a>(&'a Progress);

impl Drop for Folding<'_> {
    fn drop(&mut self) {
        self.0.is_folding.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_incarnation_is_heard() {
        let progress = Progress::at(Position::ZERO);
        let first = progress.next_incarnation();
        assert_eq!(progress.as_current(first, || 1), Some(1));

        progress.close();
        assert_eq!(progress.as_current(first, || 1), None);
        let second = progress.next_incarnation();

        assert_eq!(progress.as_current(first, || 1), None);
        assert_eq!(progress.as_current(second, || 2), Some(2));
    }

    #[test]
    fn one_that_was_replaced_does_not_put_down_what_its_successor_has_in_hand() {
        let progress = Progress::at(Position::ZERO);
        let first = progress.next_incarnation();
        progress.next_incarnation();
        progress.took(Position(7));

        progress.put_down(first);

        assert_eq!(progress.take_in_hand(), Some(Position(7)));
    }
}
