//! The graceful stop: the first signal drains, the second ends at once, and so does a stop that takes too long.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// So long after the signal connections are still taken and told 503, so that a proxy moves on; nobody takes them after us.
const NOTICE: Duration = Duration::from_millis(700);
/// So long after the signal the process ends whatever still hangs: 5 s are
/// promised. What every part may take is less, unless the disk hangs too.
const ENDS_WITHIN: Duration = Duration::from_millis(4_700);
/// What a process ends with that could not do all it should.
const ENDED_UNFINISHED: i32 = 1;
/// What the shell reports of a process that a second signal ended.
const ENDED_BY_SIGNAL: i32 = 130;

/// Whether, and since when, the server stops.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    draining: watch::Receiver<bool>,
    is_followed: bool,
}

impl Stop {
    /// Listens for SIGTERM and SIGINT. `is_followed`: who connects from then on
    /// waits in a socket that somebody else holds, for the server that takes it next.
    pub(super) fn listen(is_followed: bool) -> std::io::Result<Self> {
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
                () = tokio::time::sleep(ENDS_WITHIN) => {
                    tracing::error!("stopping took too long: ending at once");
                    std::process::exit(ENDED_UNFINISHED);
                }
            }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(ENDED_BY_SIGNAL);
        });
        Ok(Self {
            draining,
            is_followed,
        })
    }

    /// Turns true with the first signal.
    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.clone()
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Whether those who connect after the stop are served by the next server.
    pub(super) fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Returns when no further connection is to be taken.
    pub(super) async fn after_notice(&self) {
        let mut draining = self.draining.clone();
        // the sender lives as long as the process
        let _ = draining.wait_for(|is_draining| *is_draining).await;
        if !self.is_followed {
            tokio::time::sleep(NOTICE).await;
        }
    }
}
