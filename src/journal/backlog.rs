//! Identities that are on disk with the journal and not in the index yet: in memory, claimed, and bounded.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::index::{Checkpoint, Indexed};

/// So many make a run of the index worth writing.
pub(super) const RUN_IDENTITIES: usize = 64 << 10;
/// With so many the journal's writer waits.
pub(super) const MAX_IDENTITIES: usize = 4 * RUN_IDENTITIES;
/// How often a writer that waits looks whether it still has to.
const LOOKED_EVERY: Duration = Duration::from_millis(50);

/// What waits, between the writer, which adds, and the keeper, which takes.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    identities: Vec<Indexed>,
    /// Up to where the journal is in the index with them.
    to: Option<Checkpoint>,
    /// With those that were taken and are not in the index yet.
    count: usize,
}

impl Backlog {
    /// Adds those of a group, with the place behind it. Waits while there are
    /// too many, but not if `goes_on` says that nobody will take any.
    /// Returns how many wait now.
    pub(super) fn add(
        &self,
        identities: &[Indexed],
        to: Checkpoint,
        goes_on: impl Fn() -> bool,
    ) -> usize {
        let mut state = self.state();
        while state.count >= MAX_IDENTITIES && goes_on() {
            let waited = self.taken.wait_timeout(state, LOOKED_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.identities.extend_from_slice(identities);
        state.count += identities.len();
        state.to = Some(to);
        state.count
    }

    /// Takes all that wait; nothing if the index is where the journal is.
    pub(super) fn take(&self) -> Option<(Vec<Indexed>, Checkpoint)> {
        let mut state = self.state();
        let to = state.to.take()?;
        let room = Vec::with_capacity(state.identities.len());
        Some((std::mem::replace(&mut state.identities, room), to))
    }

    /// So many of those that were taken are in the index.
    pub(super) fn indexed(&self, count: usize) {
        self.state().count -= count;
        self.taken.notify_all();
    }

    /// Whether all up to this position was handed over and not taken yet.
    #[cfg(test)]
    pub(super) fn reaches(&self, position: mimamori_actors::domain::Position) -> bool {
        let state = self.state();
        state.to.as_ref().is_some_and(|to| to.position >= position)
    }

    /// Whether enough wait for another run, beside those that were taken.
    pub(super) fn has_run(&self) -> bool {
        self.state().identities.len() >= RUN_IDENTITIES
    }

    /// How many wait, with those that were taken.
    pub(super) fn len(&self) -> usize {
        self.state().count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // numbers and values that are whole even if a thread panicked beside them
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use mimamori_actors::domain::{JournalId, Moment, Position, Timestamp};
    use mimamori_actors::ports::Identity;

    use super::*;

    fn many(count: usize) -> Vec<Indexed> {
        let one = Indexed {
            identity: Identity {
                key: [1; 16],
                content: [2; 16],
            },
            position: Position(1),
            received_at: Timestamp::default(),
        };
        vec![one; count]
    }

    fn to(position: u64) -> Checkpoint {
        Checkpoint {
            journal: JournalId::new("jrn_1"),
            position: Position(position),
            accepted: Moment::default(),
            segment: Position(1),
            offset: 0,
        }
    }

    #[test]
    fn what_was_added_is_taken_once_with_the_place_behind_the_last() {
        let backlog = Backlog::default();
        backlog.add(&many(2), to(2), || true);
        let waiting = backlog.add(&[], to(7), || true);

        let (taken, place) = backlog.take().unwrap();

        assert_eq!((waiting, taken.len(), place), (2, 2, to(7)));
        assert!(backlog.take().is_none());
        assert_eq!(backlog.len(), 2, "they are not in the index yet");
        backlog.indexed(2);
        assert_eq!(backlog.len(), 0);
    }

    #[test]
    fn the_writer_waits_while_there_are_too_many_even_if_they_were_taken() {
        let backlog = Backlog::default();
        backlog.add(&many(MAX_IDENTITIES), to(1), || true);
        let (taken, _) = backlog.take().unwrap();
        let (waits, is_waiting) = sync_channel(64);

        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                backlog.add(&many(1), to(2), || {
                    let _ = waits.try_send(());
                    true
                })
            });
            is_waiting.recv().unwrap();
            backlog.indexed(taken.len());

            assert_eq!(writer.join().unwrap(), 1);
        });
    }

    #[test]
    fn the_writer_does_not_wait_if_nobody_will_take_any() {
        let backlog = Backlog::default();
        backlog.add(&many(MAX_IDENTITIES), to(1), || false);

        let waiting = backlog.add(&many(1), to(2), || false);

        assert_eq!(waiting, MAX_IDENTITIES + 1);
    }
}
