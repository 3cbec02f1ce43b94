//! Threads that a fold holds and never gives back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ractor::{ActorCell, ActorId};
use tokio::sync::watch;

use super::progress::Progress;
use crate::domain::SessionKey;
use crate::router::RouterMessage;
use crate::tree::{Address, Threads, Undertaker};

/// A session's running incarnation.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) key: SessionKey,
    pub(crate) progress: Arc<Progress>,
    pub(crate) cell: ActorCell,
}

/// Which session an actor is; written by the router, read when one ends.
pub(crate) type Roster = DashMap<ActorId, Member>;

/// Why the tree must end, once it must.
pub(crate) type Verdict = watch::Sender<Option<String>>;

/// The incarnations that were written off, and whether what they did is on disk.
#[derive(Debug)]
pub(crate) struct LostThreads {
    of: Mutex<HashMap<ActorId, bool>>,
    verdict: Arc<Verdict>,
}

impl LostThreads {
    pub(crate) fn new(verdict: Arc<Verdict>) -> Self {
        Self {
            of: Mutex::default(),
            verdict,
        }
    }

    /// This incarnation holds a thread. The process does not end because of it
    /// before [`LostThreads::counted`] was said of it.
    pub(crate) fn add(&self, actor: ActorId) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.entry(actor).or_insert(false);
        metrics::counter!("mimamori_sessions_written_off_total").increment(1);
        metrics::gauge!("mimamori_sessions_lost_threads").set(of.len() as f64);
    }

    /// What there was to count of it is on disk, as far as the disk takes it.
    /// Says nothing of who was not added, or came back. With too many threads
    /// lost, and all of them counted, the process ends.
    pub(crate) fn counted(&self, actor: ActorId) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(is_counted) = of.get_mut(&actor) {
            *is_counted = true;
        }
        self.judge(&of);
    }

    /// A new router counts anew what those before it no longer can.
    pub(crate) fn all_are_counted(&self) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.values_mut().for_each(|is_counted| *is_counted = true);
        self.judge(&of);
    }

    fn judge(&self, of: &HashMap<ActorId, bool>) {
        if of.len() >= Threads::MAY_BE_LOST && of.values().all(|is_counted| *is_counted) {
            let reason = format!("{} threads are lost to folds that do not return", of.len());
            self.verdict.send_replace(Some(reason));
        }
    }

    /// The fold returned after all.
    pub(crate) fn came_back(&self, actor: ActorId) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.remove(&actor).is_some() {
            metrics::gauge!("mimamori_sessions_lost_threads").set(of.len() as f64);
        }
    }
}

/// Has sessions replaced that a kill does not end; ends the tree for anything else.
pub(crate) struct SessionsUndertaker {
    pub(crate) roster: Arc<Roster>,
    pub(crate) router: Address<RouterMessage>,
    pub(crate) lost: Arc<LostThreads>,
    pub(crate) verdict: Arc<Verdict>,
}

impl Undertaker for SessionsUndertaker {
    fn write_off(&self, actor: ActorId, reason: &str) -> bool {
        // who is not there has ended meanwhile; who ends now is found here as long as
        // nobody is told that it was written off
        let Entry::Occupied(member) = self.roster.entry(actor) else {
            return true;
        };
        self.lost.add(actor);
        // first: what the fold does should it come back now is nobody's business any
        // more, and the next incarnation opens it again. It was killed, so if the
        // router has no room now, its end or the next look replaces it.
        member.get().progress.close();
        let message = RouterMessage::SessionFailed {
            key: member.get().key.clone(),
            actor,
            reason: reason.to_owned(),
        };
        if self.router.try_send(message).is_ok() {
            member.remove();
            return true;
        }
        self.lost.came_back(actor);
        false
    }

    fn give_up(&self, reason: String) {
        tracing::error!(error = reason, "nobody can replace it, the process ends");
        self.verdict.send_replace(Some(reason));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr, ActorRef};

    use super::*;
    use crate::domain::{ClassroomId, Position, StudentId};
    use crate::tree::{Envelope, Vitals};

    fn lost() -> (LostThreads, watch::Receiver<Option<String>>) {
        let verdict = Arc::new(Verdict::new(None));
        let said = verdict.subscribe();
        (LostThreads::new(verdict), said)
    }

    #[test]
    fn four_lost_threads_end_the_process_but_not_before_all_four_attempts_are_on_disk() {
        let (lost, said) = lost();
        for number in 0..4 {
            lost.add(ActorId::Local(number));
        }
        for number in 0..3 {
            lost.counted(ActorId::Local(number));
        }
        assert!(said.borrow().is_none());

        lost.counted(ActorId::Local(3));

        assert!(said.borrow().is_some());
    }

    /// The router, as far as its mailbox.
    struct Busy;

    impl Actor for Busy {
        type Msg = Envelope<RouterMessage>;
        type State = ();
        type Arguments = ();

        async fn pre_start(
            &self,
            _: ActorRef<Self::Msg>,
            (): (),
        ) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_written_off_is_not_heard_from_the_same_moment_on() {
        for room in [1, 0] {
            let vitals = Vitals::new("router".to_owned(), "router", None, Duration::from_secs(1));
            let router = Address::new(vitals, room);
            let (busy, _) = Actor::spawn(None, Busy, ()).await.unwrap();
            router.attach(busy.clone());
            let (threads, _) = lost();
            let undertaker = SessionsUndertaker {
                roster: Arc::default(),
                router,
                verdict: Arc::clone(&threads.verdict),
                lost: Arc::new(threads),
            };
            let progress = Progress::at(Position::ZERO);
            let incarnation = progress.next_incarnation();
            progress.took(Position(7));
            let member = Member {
                key: SessionKey {
                    classroom: ClassroomId::new("c"),
                    student: StudentId::new("s"),
                },
                progress: Arc::clone(&progress),
                cell: busy.get_cell(),
            };
            let actor = ActorId::Local(7);
            undertaker.roster.insert(actor, member);

            let is_said = undertaker.write_off(actor, "frozen");

            // the router has not got to it yet, and the fold comes back
            assert_eq!(is_said, room > 0);
            assert_eq!(progress.as_current(incarnation, || ()), None);
            progress.put_down(incarnation);
            assert_eq!(
                progress.take_in_hand(),
                Some(Position(7)),
                "it stays to blame"
            );
        }
    }

    #[test]
    fn a_fold_that_returned_after_all_no_longer_counts() {
        let (lost, said) = lost();
        for number in 0..3 {
            lost.add(ActorId::Local(number));
        }
        lost.came_back(ActorId::Local(0));

        lost.add(ActorId::Local(3));
        lost.all_are_counted();

        assert!(said.borrow().is_none());
    }
}
