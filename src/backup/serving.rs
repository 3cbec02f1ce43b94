//! The server's part in a backup: it tells the states of its sessions and holds
//! its journal for as long as the other side listens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mimamori_actors::ports::Journal as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::states::{self, Item};
use crate::journal::{FileJournal, Pin};
use crate::storage::snapshots::FjallSnapshots;

/// Items on their way; one is a session's state.
const WAITING_ITEMS: usize = 64;
/// Who takes nothing for so long is gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// How often it is said that the journal is still held.
const SAID_EVERY: Duration = Duration::from_secs(1);
/// A backup that takes longer hangs.
const HELD_FOR: Duration = Duration::from_secs(12 * 60 * 60);

/// Another backup is being made.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("another backup is under way")]
pub struct AnotherRuns;

/// What a server needs for it.
#[derive(Clone)]
pub struct Serving {
    /// Whose beginning is held.
    pub journal: Arc<FileJournal>,
    /// Where the states are.
    pub snapshots: Arc<FjallSnapshots>,
    /// Turns true when the server stops.
    pub draining: watch::Receiver<bool>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

impl Serving {
    /// Holds the journal and begins to tell; ends when what is returned is dropped.
    ///
    /// # Errors
    /// While another backup is being made.
    pub fn begin(&self) -> Result<mpsc::Receiver<Bytes>, AnotherRuns> {
        let pin = self.journal.pin().ok_or(AnotherRuns)?;
        let (send, receive) = mpsc::channel(WAITING_ITEMS);
        tokio::spawn(self.clone().tell(pin, send));
        Ok(receive)
    }

    async fn tell(self, pin: Pin, send: mpsc::Sender<Bytes>) {
        metrics::counter!("mimamori_backup_begun_total").increment(1);
        tracing::info!("a backup is being made: the journal is not trimmed meanwhile");
        let began = Instant::now();
        let ended = match self.tell_states(send.clone()).await {
            Ok(()) => self.hold(&pin, &send).await,
            Err(reason) => Some(reason),
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match ended {
            None => tracing::info!(duration_ms, "the backup let go of the journal"),
            Some(reason) => {
                metrics::counter!("mimamori_backup_broken_off_total").increment(1);
                tracing::warn!(duration_ms, reason, "the backup was broken off");
                let ended = Item::Ended { reason }.encode(&[]);
                // whoever does not listen knows already
                let _ = timeout(SAID_EVERY, send.send(ended.into())).await;
            }
        }
    }

    /// The library waits for the disk: on a thread of its own.
    async fn tell_states(&self, send: mpsc::Sender<Bytes>) -> Result<(), String> {
        let (journal, snapshots) = (self.journal.id(), Arc::clone(&self.snapshots));
        let runtime = Handle::current();
        let told = tokio::task::spawn_blocking(move || {
            states::tell(&journal, &*snapshots, &mut |item| {
                let sent = runtime.block_on(timeout(TAKEN_WITHIN, send.send(item.into())));
                matches!(sent, Ok(Ok(())))
            })
        });
        match told.await {
            Ok(told) => told.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Until nobody listens any more; or why it is given up before.
    async fn hold(mut self, pin: &Pin, send: &mpsc::Sender<Bytes>) -> Option<String> {
        let until = Instant::now() + HELD_FOR;
        loop {
            if pin.is_lost() {
                return Some("the journal needed the room".to_owned());
            }
            if Instant::now() >= until {
                return Some(format!("it took longer than {HELD_FOR:?}"));
            }
            let held = Item::Held.encode(&[]);
            match timeout(TAKEN_WITHIN, send.send(held.into())).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some("nobody took what was sent".to_owned()),
            }
            tokio::select! {
                () = sleep(SAID_EVERY) => {}
                () = send.closed() => return None,
                _ = self.draining.wait_for(|is_draining| *is_draining) => {
                    return Some("the server is stopping".to_owned());
                }
            }
        }
    }
}
