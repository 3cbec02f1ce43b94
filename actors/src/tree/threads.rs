//! Which threads an actor runs on.
//!
//! A fold that never returns holds its thread for good. So sessions have
//! threads of their own, more of them than may be lost; the rest of the tree
//! has others, and whoever serves requests has neither.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// The runtimes of a tree.
#[derive(Debug, Clone)]
pub struct Threads {
    /// Of every actor but the sessions.
    pub tree: Handle,
    /// Of the sessions; needs more workers than [`Threads::MAY_BE_LOST`].
    pub sessions: Handle,
}

impl Threads {
    /// With so many of the sessions' threads lost to folds that never return the
    /// process ends, to be started again.
    pub const MAY_BE_LOST: usize = 4;

    /// Everything on the runtime of the caller.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn current() -> Self {
        Self {
            tree: Handle::current(),
            sessions: Handle::current(),
        }
    }
}

/// Starts what `start` spawns on the runtime behind `handle`, while it is itself
/// driven by the caller: who starts an actor does not wait for a thread there.
pub(crate) fn on<F: Future>(handle: &Handle, start: F) -> On<F> {
    On {
        handle: handle.clone(),
        start: Box::pin(start),
    }
}

/// See [`on`].
pub(crate) struct On<F> {
    handle: Handle,
    start: Pin<Box<F>>,
}

impl<F: Future> Future for On<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let handle = self.handle.clone();
        let _entered = handle.enter();
        self.start.as_mut().poll(context)
    }
}
