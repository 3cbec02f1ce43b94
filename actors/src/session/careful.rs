//! After an unclean stop: each entry is noted before it is folded, so that one
//! that ends the whole process is found by the next start.
//!
//! With it the next start finds who was folded at the same moment. So an entry
//! that has one attempt left is folded alone among those that are replayed. What
//! came after the start is not noted: should a new entry end the process in that
//! very moment, the other is blamed for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::ActorId;
use tokio::sync::watch;

use crate::domain::{Position, SessionKey};
use crate::ports::Attempt;

/// One try to fold one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Another one for each try in this process.
    pub number: u64,
    /// Whose session.
    pub key: SessionKey,
    /// The entry.
    pub position: Position,
}

/// Where it is noted which entries are being folded, so that it outlives the process.
///
/// Entries of a process that ended are counted by the next start as attempts
/// ([`crate::ports::Snapshots::put_attempts`]) before anything is folded.
pub trait Flights: Send + Sync + 'static {
    /// This entry is about to be folded. Must be readable after the process
    /// ended in whatever way; need not outlive the machine. What is still noted
    /// of an earlier try of the same entry is this one's from now on.
    fn begin(&self, flight: &Flight);

    /// It is folded, or counted. Changes nothing if it is not noted, or if the
    /// note is a later try's.
    fn end(&self, flight: &Flight);
}

/// How careful the replay after an unclean stop is.
#[derive(Clone)]
pub struct Careful(Arc<Inner>);

struct Inner {
    flights: Arc<dyn Flights>,
    through: Position,
    last_number: AtomicU64,
    sky: watch::Sender<Sky>,
}

/// What is being folded, and what waits to be folded alone.
#[derive(Debug, Default)]
struct Sky {
    /// Entries that have one attempt left.
    suspects: HashSet<(Position, SessionKey)>,
    /// Suspects, from when they ask until they are folded: nothing else begins meanwhile.
    alone: HashSet<u64>,
    folding: HashSet<u64>,
    /// What is noted of which incarnation; each folds one entry at a time.
    noted: HashMap<ActorId, Flight>,
}

impl Sky {
    fn may_begin(&self, number: u64) -> bool {
        if self.alone.contains(&number) {
            self.folding.is_empty()
        } else {
            self.alone.is_empty()
        }
    }

    fn leave(&mut self, number: u64) -> bool {
        let was_alone = self.alone.remove(&number);
        self.folding.remove(&number) || was_alone
    }
}

impl std::fmt::Debug for Careful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Careful")
            .field("through", &self.0.through)
            .finish_non_exhaustive()
    }
}

impl Careful {
    /// Notes in `flights` what is folded up to `through`, the journal's end at
    /// the start: what came after it killed nobody yet. `counted` is what is on
    /// disk of earlier attempts.
    pub fn new(flights: Arc<dyn Flights>, through: Position, counted: &[Attempt]) -> Self {
        let careful = Self(Arc::new(Inner {
            flights,
            through,
            last_number: AtomicU64::new(0),
            sky: watch::Sender::default(),
        }));
        for attempt in counted {
            careful.suspect(attempt);
        }
        careful
    }

    /// If it is an entry to be careful with: waits until it may be folded, and
    /// notes it until it has landed or is settled.
    pub(crate) async fn begin(
        &self,
        actor: ActorId,
        key: &SessionKey,
        position: Position,
    ) -> Option<InFlight> {
        if position > self.0.through {
            return None;
        }
        let number = self.0.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let in_flight = InFlight {
            careful: self.clone(),
            actor,
            number,
        };
        let flight = Flight {
            number,
            key: key.clone(),
            position,
        };
        self.ask(&flight);
        let begin = |sky: &mut Sky| {
            let may_begin = sky.may_begin(number);
            if may_begin {
                sky.folding.insert(number);
                sky.noted.insert(actor, flight.clone());
            }
            may_begin
        };
        if !self.0.sky.send_if_modified(begin) {
            let mut changes = self.0.sky.subscribe();
            while !self.0.sky.send_if_modified(begin) {
                changes.changed().await.ok()?;
            }
        }
        // who was woken by that may be next on this very thread, where nobody else
        // finds it: it is to look and wait again before the fold, which may never return
        tokio::task::yield_now().await;
        self.0.flights.begin(&flight);
        Some(in_flight)
    }

    /// One that has one attempt left is to be alone.
    fn ask(&self, flight: &Flight) {
        self.0.sky.send_if_modified(|sky| {
            let is_suspect = !sky.suspects.is_empty()
                && (sky.suspects).contains(&(flight.position, flight.key.clone()));
            is_suspect && sky.alone.insert(flight.number)
        });
    }

    /// The attempt is counted on disk.
    pub(crate) fn suspect(&self, attempt: &Attempt) {
        if attempt.count + 1 >= Attempt::MOST {
            let entry = (attempt.position, attempt.key.clone());
            self.0
                .sky
                .send_if_modified(|sky| sky.suspects.insert(entry));
        }
    }

    /// What this incarnation had in hand is folded, or counted, or not to blame.
    /// It may still be computing: then nobody waits for it any more.
    pub(crate) fn settle(&self, actor: ActorId) {
        let mut settled = None;
        self.0.sky.send_if_modified(|sky| {
            settled = sky.noted.remove(&actor);
            settled.as_ref().is_some_and(|it| sky.leave(it.number))
        });
        if let Some(flight) = settled {
            self.0.flights.end(&flight);
        }
    }

    /// All sessions are over, and nobody counts what they had in hand: it stays
    /// noted until its next try takes the note over.
    pub(crate) fn all_are_over(&self) {
        self.0.sky.send_modify(|sky| {
            sky.alone.clear();
            sky.folding.clear();
            sky.noted.clear();
        });
    }
}

/// An entry that is being folded, or waits for it. Dropped before it has landed
/// it stays noted: its fold failed, and the note goes when the attempt is counted.
pub(crate) struct InFlight {
    careful: Careful,
    actor: ActorId,
    number: u64,
}

impl InFlight {
    /// It is folded.
    pub(crate) fn landed(self) {
        self.careful.settle(self.actor);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let number = self.number;
        self.careful.0.sky.send_if_modified(|sky| sky.leave(number));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::domain::{ClassroomId, StudentId};

    #[derive(Default)]
    struct Noted(Mutex<Vec<u64>>);

    impl Flights for Noted {
        fn begin(&self, flight: &Flight) {
            self.0.lock().unwrap().push(flight.position.0);
        }

        fn end(&self, flight: &Flight) {
            self.0.lock().unwrap().retain(|at| *at != flight.position.0);
        }
    }

    fn key() -> SessionKey {
        SessionKey {
            classroom: ClassroomId::new("c"),
            student: StudentId::new("s"),
        }
    }

    /// The entry at 5 has one attempt left, that at 4 has two.
    fn careful() -> (Careful, Arc<Noted>) {
        let noted = Arc::new(Noted::default());
        let counted = [(4, 1), (5, 2)].map(|(position, count)| Attempt {
            key: key(),
            position: Position(position),
            count,
        });
        let careful = Careful::new(noted.clone(), Position(9), &counted);
        (careful, noted)
    }

    /// What an actor of the entry's number gets at once.
    async fn begin(careful: &Careful, position: u64) -> Option<InFlight> {
        let (actor, key) = (ActorId::Local(position), key());
        let begin = careful.begin(actor, &key, Position(position));
        timeout(Duration::from_secs(1), begin).await.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_with_one_attempt_left_waits_for_those_in_flight_and_is_waited_for() {
        let (careful, noted) = careful();
        let first = begin(&careful, 1).await.unwrap();
        let second = begin(&careful, 4).await.unwrap();
        let suspect = tokio::spawn({
            let careful = careful.clone();
            async move { begin(&careful, 5).await }
        });
        tokio::task::yield_now().await;
        assert!(begin(&careful, 3).await.is_none(), "it has asked first");
        assert!(suspect.await.unwrap().is_none(), "it is not alone yet");
        first.landed();
        second.landed();

        let alone = begin(&careful, 5).await.unwrap();

        assert_eq!(*noted.0.lock().unwrap(), [5]);
        assert!(begin(&careful, 3).await.is_none());
        alone.landed();
        assert!(begin(&careful, 3).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_fold_that_was_written_off() {
        let (careful, noted) = careful();
        let _never_dropped = begin(&careful, 5).await.unwrap();
        assert!(begin(&careful, 1).await.is_none());

        careful.settle(ActorId::Local(5));

        assert!(noted.0.lock().unwrap().is_empty());
        let _nor_this_one = begin(&careful, 1).await.unwrap();
        careful.all_are_over();
        assert!(begin(&careful, 5).await.is_some());
    }

    #[tokio::test]
    async fn who_begins_leaves_nobody_behind_who_was_woken_and_did_not_look() {
        let (careful, _noted) = careful();
        let first = begin(&careful, 1).await.unwrap();
        let looks = Arc::new(AtomicU64::new(0));
        let suspect = tokio::spawn({
            let (careful, looks) = (careful.clone(), Arc::clone(&looks));
            async move {
                let flight = begin(&careful, 5).await;
                // from here on it may hold the thread for ever
                (flight, looks.load(Ordering::Relaxed))
            }
        });
        while careful.0.sky.borrow().alone.is_empty() {
            tokio::task::yield_now().await;
        }
        let waits = tokio::spawn({
            let (careful, looks) = (careful.clone(), Arc::clone(&looks));
            async move {
                let key = key();
                let mut begin = pin!(careful.begin(ActorId::Local(3), &key, Position(3)));
                poll_fn(|context| {
                    looks.fetch_add(1, Ordering::Relaxed);
                    begin.as_mut().poll(context)
                })
                .await
            }
        });
        while looks.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }

        first.landed();
        let (flight, looked) = suspect.await.unwrap();

        assert!(flight.is_some());
        tokio::task::yield_now().await;
        assert_eq!(looks.load(Ordering::Relaxed), looked);
        waits.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_fold_that_did_not_land_stays_noted_but_is_in_nobodys_way() {
        let (careful, noted) = careful();

        drop(begin(&careful, 5).await.unwrap());

        assert_eq!(*noted.0.lock().unwrap(), [5]);
        assert!(begin(&careful, 1).await.is_some());
        careful.settle(ActorId::Local(5));
        assert!(!noted.0.lock().unwrap().contains(&5));
    }
}
