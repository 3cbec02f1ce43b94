//! What a connection is doing, and until when it may.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by a connection's socket, its requests and its timer.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    header_timeout: Duration,
    idle_timeout: Duration,
    detached: AtomicBool,
}

#[derive(Debug)]
struct State {
    doing: Doing,
    /// Since when, or when it last made progress.
    since: Instant,
    /// The client takes nothing of what is to be written.
    write_waits: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Headers are due.
    Headers,
    /// A request is in hand.
    Request,
    /// Nothing is due, but the next request is welcome.
    Idle,
}

impl Pulse {
    /// A fresh connection: headers are due.
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                doing: Doing::Headers,
                since: Instant::now(),
                write_waits: false,
            }),
            header_timeout,
            idle_timeout,
            detached: AtomicBool::new(false),
        }
    }

    /// When the connection is to be closed, as things are.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        match state.doing {
            Doing::Headers => Some(state.since + self.header_timeout),
            Doing::Idle => Some(state.since + self.idle_timeout),
            Doing::Request => state.write_waits.then(|| state.since + self.idle_timeout),
        }
    }

    /// The headers of a request are there.
    pub(super) fn request_began(&self) {
        self.enter(Doing::Request);
    }

    /// The answer has been handed over to be written.
    pub(super) fn answered(&self) {
        self.enter(Doing::Idle);
    }

    /// Bytes came in.
    pub(super) fn bytes_read(&self) {
        if self.is_detached() {
            return;
        }
        let mut state = self.state();
        if state.doing == Doing::Idle {
            state.doing = Doing::Headers;
            state.since = Instant::now();
        }
    }

    /// Bytes went out.
    pub(super) fn bytes_written(&self) {
        if self.is_detached() {
            return;
        }
        let mut state = self.state();
        state.write_waits = false;
        if state.doing != Doing::Headers {
            state.since = Instant::now();
        }
    }

    /// The system takes no more bytes for now.
    pub(super) fn write_waits(&self) {
        if self.is_detached() {
            return;
        }
        let mut state = self.state();
        if !state.write_waits {
            state.write_waits = true;
            if state.doing == Doing::Request {
                state.since = Instant::now();
            }
        }
    }

    /// The socket has a new owner: nothing is watched any more, at no cost.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    fn enter(&self, doing: Doing) {
        let mut state = self.state();
        state.doing = doing;
        state.since = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
