//! The graceful stop: the first signal drains, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// So long after the signal connections are still taken and told 503, so that a proxy moves on.
const NOTICE: Duration = Duration::from_millis(700);
/// What the shell reports of a process that a second signal ended.
const ENDED_BY_SIGNAL: i32 = 130;

/// Whether, and since when, the server stops.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    draining: watch::Receiver<bool>,
}

impl Stop {
    /// Listens for SIGTERM and SIGINT.
    pub(super) fn listen() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (drain, draining) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping: requests in hand are finished, a second signal ends at once");
            drain.send_replace(true);
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(ENDED_BY_SIGNAL);
        });
        Ok(Self { draining })
    }

    /// Turns true with the first signal.
    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.clone()
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Returns when no further connection is to be taken.
    pub(super) async fn after_notice(&self) {
        let mut draining = self.draining.clone();
        // the sender lives as long as the process
        let _ = draining.wait_for(|is_draining| *is_draining).await;
        tokio::time::sleep(NOTICE).await;
    }
}
