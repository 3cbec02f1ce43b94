//! An actor's vital signs: plain atomics, read by the health endpoint and the watchdog while the actor is blocked.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::report::{ActorReport, ActorState};
use crate::domain::Position;

/// No value.
const NONE: u64 = u64::MAX;

/// The vital signs of one actor over all its incarnations.
#[derive(Debug)]
pub(crate) struct Vitals {
    name: String,
    kind: &'static str,
    parent: Option<String>,
    /// With a message in hand for longer than this it counts as frozen.
    patience: Duration,
    born: Instant,
    state: AtomicU8,
    started_ms: AtomicU64,
    /// Of which incarnation the queue below is: places of an earlier one no longer count.
    queue: AtomicU64,
    depth: AtomicUsize,
    waiting_since_ms: AtomicU64,
    in_hand_since_ms: AtomicU64,
    /// It waits for something outside of itself, and so long it may.
    may_wait_ms: AtomicU64,
    last_progress_ms: AtomicU64,
    processed: AtomicU64,
    incarnation: AtomicU64,
    lag_events: AtomicU64,
    /// Of a reader of the journal: everything up to here is handed out.
    read_through: AtomicU64,
    /// Of a classroom: it was told something that its consoles were not told yet.
    has_untold: AtomicBool,
    is_restart_asked_for: AtomicBool,
    last_error: Mutex<Option<String>>,
    /// Written by the watchdog, taken by the parent.
    frozen: Mutex<Option<Frozen>>,
}

/// A message that is in hand, as the watchdog sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InHand {
    /// The same for as long as there is no progress.
    pub(crate) stamp: (u64, u64),
    /// How long there was none, by the clock.
    pub(crate) for_so_long: Duration,
    /// So long there may be none.
    pub(crate) patience: Duration,
    /// It waits for something outside of itself: what it has in hand is not to blame.
    pub(crate) is_waiting: bool,
}

/// Why the watchdog ended an incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frozen {
    pub(crate) reason: String,
    /// It did not wait for anything outside of itself.
    pub(crate) is_to_blame: bool,
}

/// How an incarnation ended, as its parent must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) struct Ended {
    /// The watchdog's, if it was the watchdog that ended it.
    pub(crate) reason: String,
    /// A person wanted it, and it was not frozen: that is no failure.
    pub(crate) is_asked_for: bool,
    /// It failed by itself: not on request, and not waiting for anything outside.
    pub(crate) is_to_blame: bool,
}

impl Vitals {
    pub(crate) fn new(
        name: String,
        kind: &'static str,
        parent: Option<&str>,
        patience: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            kind,
            parent: parent.map(str::to_owned),
            patience,
            born: Instant::now(),
            state: AtomicU8::new(ActorState::Starting as u8),
            started_ms: AtomicU64::new(0),
            queue: AtomicU64::new(0),
            depth: AtomicUsize::new(0),
            waiting_since_ms: AtomicU64::new(0),
            in_hand_since_ms: AtomicU64::new(NONE),
            may_wait_ms: AtomicU64::new(0),
            last_progress_ms: AtomicU64::new(0),
            processed: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            lag_events: AtomicU64::new(NONE),
            read_through: AtomicU64::new(0),
            has_untold: AtomicBool::new(false),
            is_restart_asked_for: AtomicBool::new(false),
            last_error: Mutex::new(None),
            frozen: Mutex::new(None),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(NONE - 1)
    }

    /// A new incarnation runs.
    pub(crate) fn started(&self) {
        let now = self.now_ms();
        self.started_ms.store(now, Ordering::Relaxed);
        self.last_progress_ms.store(now, Ordering::Relaxed);
        self.put_down();
        self.set_state(ActorState::Running);
        self.incarnation.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_state(&self, state: ActorState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> ActorState {
        ActorState::from_u8(self.state.load(Ordering::Relaxed))
    }

    /// An incarnation ended, or did not start: counts and shows it, and takes
    /// what the watchdog and whoever asked for a restart left for its parent.
    pub(crate) fn ended(&self, reason: &str) -> Ended {
        let frozen = self.take_frozen();
        let is_asked_for = self.take_restart_asked_for() && frozen.is_none();
        let is_to_blame = !is_asked_for && frozen.as_ref().is_none_or(|it| it.is_to_blame);
        let reason = frozen.map_or_else(|| reason.to_owned(), |frozen| frozen.reason);
        self.put_down();
        self.degraded(&reason);
        metrics::counter!("mimamori_actors_restarts_total", "kind" => self.kind).increment(1);
        Ended {
            reason,
            is_asked_for,
            is_to_blame,
        }
    }

    /// It does not do what it is there for, and tries again; what it has in hand, it has.
    pub(crate) fn degraded(&self, reason: &str) {
        self.note_error(reason);
        self.set_state(ActorState::Backoff);
    }

    fn put_down(&self) {
        self.in_hand_since_ms.store(NONE, Ordering::Relaxed);
        self.may_wait_ms.store(0, Ordering::Relaxed);
    }

    /// An error that the actor handles itself.
    pub(crate) fn note_error(&self, error: &str) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }

    /// A new incarnation has an empty queue; gives the queue's number.
    pub(crate) fn new_queue(&self) -> u64 {
        let queue = self.queue.fetch_add(1, Ordering::Relaxed) + 1;
        self.depth.store(0, Ordering::Relaxed);
        queue
    }

    pub(crate) fn queued(&self, queue: u64) {
        if self.queue.load(Ordering::Relaxed) == queue
            && self.depth.fetch_add(1, Ordering::Relaxed) == 0
        {
            self.waiting_since_ms
                .store(self.now_ms(), Ordering::Relaxed);
        }
    }

    pub(crate) fn unqueued(&self, queue: u64) {
        if self.queue.load(Ordering::Relaxed) != queue {
            return;
        }
        let less = |depth: usize| depth.checked_sub(1);
        let _ = self
            .depth
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        // what still waits came later than what was just taken
        self.waiting_since_ms
            .store(self.now_ms(), Ordering::Relaxed);
    }

    /// A message is in hand until the guard is dropped.
    pub(crate) fn working(self: &Arc<Self>) -> Working {
        self.may_wait_ms.store(0, Ordering::Relaxed);
        self.in_hand_since_ms
            .store(self.now_ms(), Ordering::Relaxed);
        Working {
            vitals: Arc::clone(self),
            queue: self.queue.load(Ordering::Relaxed),
        }
    }

    /// With its message in hand it waits for something outside of itself (a
    /// store, the journal, another actor's room), until the guard is dropped:
    /// for so long that is no standstill.
    pub(crate) fn waiting(&self, at_most: Duration) -> Waiting<'_> {
        let ms = u64::try_from(at_most.as_millis()).unwrap_or(NONE);
        self.may_wait_ms.store(ms, Ordering::Relaxed);
        Waiting(self)
    }

    /// What is in hand now, if anything is.
    pub(crate) fn in_hand(&self) -> Option<InHand> {
        let since = self.in_hand_since_ms.load(Ordering::Relaxed);
        if since == NONE {
            return None;
        }
        let may_wait = Duration::from_millis(self.may_wait_ms.load(Ordering::Relaxed));
        Some(InHand {
            stamp: (self.queue.load(Ordering::Relaxed), since),
            for_so_long: Duration::from_millis(self.now_ms().saturating_sub(since)),
            patience: self.patience.max(may_wait),
            is_waiting: !may_wait.is_zero(),
        })
    }

    /// The watchdog ends this incarnation.
    pub(crate) fn found_frozen(&self, frozen: Frozen) {
        self.note_error(&frozen.reason);
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = Some(frozen);
    }

    /// Whether the incarnation that just ended was ended by the watchdog.
    pub(super) fn take_frozen(&self) -> Option<Frozen> {
        self.frozen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Waiting for a store within its time-out is progress.
    pub(crate) fn progressed(&self) {
        let now = self.now_ms();
        self.last_progress_ms.store(now, Ordering::Relaxed);
        if self.in_hand_since_ms.load(Ordering::Relaxed) != NONE {
            self.in_hand_since_ms.store(now, Ordering::Relaxed);
        }
    }

    /// A person wants it started anew: that is no failure.
    pub(crate) fn ask_for_restart(&self) {
        self.is_restart_asked_for.store(true, Ordering::Relaxed);
    }

    fn take_restart_asked_for(&self) -> bool {
        self.is_restart_asked_for.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn set_lag(&self, events: u64) {
        self.lag_events.store(events, Ordering::Relaxed);
    }

    pub(crate) fn set_read_through(&self, position: Position) {
        self.read_through.store(position.0, Ordering::Relaxed);
    }

    pub(crate) fn read_through(&self) -> Position {
        Position(self.read_through.load(Ordering::Relaxed))
    }

    /// Before the message that it rests on counts as done.
    pub(crate) fn set_untold(&self, has_untold: bool) {
        self.has_untold.store(has_untold, Ordering::Relaxed);
    }

    /// Whether no message waits or is in hand, and nothing that came with one is still to be told.
    pub(crate) fn is_done(&self) -> bool {
        self.depth.load(Ordering::Relaxed) == 0
            && self.in_hand_since_ms.load(Ordering::Relaxed) == NONE
            && !self.has_untold.load(Ordering::Relaxed)
    }

    /// How long the oldest message, or the one in hand, has waited.
    pub(crate) fn oldest_message_ms(&self) -> u64 {
        let now = self.now_ms();
        let since = |begun: u64| now.saturating_sub(begun);
        let in_hand = self.in_hand_since_ms.load(Ordering::Relaxed);
        let busy_ms = if in_hand == NONE { 0 } else { since(in_hand) };
        if self.depth.load(Ordering::Relaxed) == 0 {
            return busy_ms;
        }
        busy_ms.max(since(self.waiting_since_ms.load(Ordering::Relaxed)))
    }

    pub(crate) fn lag(&self) -> Option<u64> {
        Some(self.lag_events.load(Ordering::Relaxed)).filter(|lag| *lag != NONE)
    }

    pub(crate) fn report(&self) -> ActorReport {
        let now = self.now_ms();
        let in_hand = self.in_hand();
        let busy = in_hand.map_or(Duration::ZERO, |in_hand| in_hand.for_so_long);
        let busy_ms = u64::try_from(busy.as_millis()).unwrap_or(NONE);
        let mut state = ActorState::from_u8(self.state.load(Ordering::Relaxed));
        if state == ActorState::Running && in_hand.is_some_and(|it| it.for_so_long > it.patience) {
            state = ActorState::Frozen;
        }
        let depth = self.depth.load(Ordering::Relaxed);
        let oldest = if depth == 0 {
            0
        } else {
            now.saturating_sub(self.waiting_since_ms.load(Ordering::Relaxed))
        };
        ActorReport {
            name: self.name.clone(),
            kind: self.kind,
            state,
            uptime_ms: now.saturating_sub(self.started_ms.load(Ordering::Relaxed)),
            mailbox_depth: depth,
            oldest_message_ms: oldest.max(busy_ms),
            processed: self.processed.load(Ordering::Relaxed),
            restarts: self.incarnation.load(Ordering::Relaxed).saturating_sub(1),
            last_error: self
                .last_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            last_progress_ms: now.saturating_sub(self.last_progress_ms.load(Ordering::Relaxed)),
            lag_events: self.lag(),
            children: Vec::new(),
            child_count: 0,
        }
    }
}

/// Marks a message in hand.
#[derive(Debug)]
pub(crate) struct Working {
    vitals: Arc<Vitals>,
    queue: u64,
}

impl Drop for Working {
    fn drop(&mut self) {
        let vitals = &self.vitals;
        vitals.processed.fetch_add(1, Ordering::Relaxed);
        // one that was written off and comes back has nothing to say of its successor
        if vitals.queue.load(Ordering::Relaxed) == self.queue {
            vitals.put_down();
            vitals
                .last_progress_ms
                .store(vitals.now_ms(), Ordering::Relaxed);
        }
    }
}

/// Marks a wait for something outside; its end is progress.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Vitals);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.progressed();
        self.0.may_wait_ms.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals() -> Arc<Vitals> {
        Vitals::new("a".to_owned(), "test", None, Duration::from_secs(1))
    }

    #[test]
    fn an_end_that_a_person_asked_for_is_no_failure_and_counts_for_one_end() {
        let vitals = vitals();
        vitals.ask_for_restart();

        let ended = vitals.ended("killed");

        assert!(ended.is_asked_for && !ended.is_to_blame);
        let next = vitals.ended("a panic");
        assert!(!next.is_asked_for && next.is_to_blame);
        assert_eq!(next.reason, "a panic");
    }

    #[test]
    fn who_was_frozen_when_a_person_asked_has_failed_and_its_message_is_to_blame() {
        for is_to_blame in [true, false] {
            let vitals = vitals();
            vitals.ask_for_restart();
            let reason = "frozen".to_owned();
            vitals.found_frozen(Frozen {
                reason: reason.clone(),
                is_to_blame,
            });

            let ended = vitals.ended("killed");

            let is_asked_for = false;
            assert_eq!(
                ended,
                Ended {
                    reason,
                    is_asked_for,
                    is_to_blame
                }
            );
        }
    }
}
