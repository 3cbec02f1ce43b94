//! An actor's vital signs: plain atomics, read by the health endpoint while the actor is blocked.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::report::{ActorReport, ActorState};

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
    depth: AtomicUsize,
    waiting_since_ms: AtomicU64,
    in_hand_since_ms: AtomicU64,
    last_progress_ms: AtomicU64,
    processed: AtomicU64,
    incarnation: AtomicU64,
    lag_events: AtomicU64,
    is_restart_asked_for: AtomicBool,
    last_error: Mutex<Option<String>>,
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
            depth: AtomicUsize::new(0),
            waiting_since_ms: AtomicU64::new(0),
            in_hand_since_ms: AtomicU64::new(NONE),
            last_progress_ms: AtomicU64::new(0),
            processed: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            lag_events: AtomicU64::new(NONE),
            is_restart_asked_for: AtomicBool::new(false),
            last_error: Mutex::new(None),
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

    /// A new incarnation runs; gives its number, from 1 on.
    pub(crate) fn started(&self) -> u64 {
        let now = self.now_ms();
        self.started_ms.store(now, Ordering::Relaxed);
        self.last_progress_ms.store(now, Ordering::Relaxed);
        self.in_hand_since_ms.store(NONE, Ordering::Relaxed);
        self.set_state(ActorState::Running);
        self.incarnation.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn set_state(&self, state: ActorState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, error: &str) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
        self.in_hand_since_ms.store(NONE, Ordering::Relaxed);
        self.set_state(ActorState::Backoff);
    }

    /// An error that the actor handles itself.
    pub(crate) fn note_error(&self, error: &str) {
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }

    pub(crate) fn queued(&self) {
        if self.depth.fetch_add(1, Ordering::Relaxed) == 0 {
            self.waiting_since_ms
                .store(self.now_ms(), Ordering::Relaxed);
        }
    }

    pub(crate) fn unqueued(&self) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
        // what still waits came later than what was just taken
        self.waiting_since_ms
            .store(self.now_ms(), Ordering::Relaxed);
    }

    /// A message is in hand until the guard is dropped.
    pub(crate) fn working(self: &Arc<Self>) -> Working {
        self.in_hand_since_ms
            .store(self.now_ms(), Ordering::Relaxed);
        Working(Arc::clone(self))
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

    pub(crate) fn take_restart_asked_for(&self) -> bool {
        self.is_restart_asked_for.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn set_lag(&self, events: u64) {
        self.lag_events.store(events, Ordering::Relaxed);
    }

    pub(crate) fn lag(&self) -> Option<u64> {
        Some(self.lag_events.load(Ordering::Relaxed)).filter(|lag| *lag != NONE)
    }

    pub(crate) fn report(&self) -> ActorReport {
        let now = self.now_ms();
        let in_hand = self.in_hand_since_ms.load(Ordering::Relaxed);
        let busy_ms = if in_hand == NONE {
            0
        } else {
            now.saturating_sub(in_hand)
        };
        let mut state = ActorState::from_u8(self.state.load(Ordering::Relaxed));
        if state == ActorState::Running && Duration::from_millis(busy_ms) > self.patience {
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
pub(crate) struct Working(Arc<Vitals>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.in_hand_since_ms.store(NONE, Ordering::Relaxed);
        self.0
            .last_progress_ms
            .store(self.0.now_ms(), Ordering::Relaxed);
        self.0.processed.fetch_add(1, Ordering::Relaxed);
    }
}
