//! Whether the records can be asked yet.
//!
//! A server that is away when the program starts is waited for behind this: until
//! its tables are up to date and its offset was compared with the journal,
//! nobody reads or writes.

use tokio::sync::watch;

use super::RecordsError;

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Open,
    /// Why not yet.
    Shut(String),
    /// Why never: the program must end.
    Lost(String),
}

#[derive(Debug)]
pub(super) struct Gate(watch::Sender<State>);

impl Gate {
    pub(super) fn open() -> Self {
        Self(watch::Sender::new(State::Open))
    }

    pub(super) fn shut(reason: &RecordsError) -> Self {
        Self(watch::Sender::new(State::Shut(reason.to_string())))
    }

    pub(super) fn is_open(&self) -> bool {
        *self.0.borrow() == State::Open
    }

    /// Returns once it is open.
    pub(super) fn opened(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.0.subscribe();
        async move {
            if state.wait_for(|state| *state == State::Open).await.is_err() {
                // nobody is left who could open it
                std::future::pending().await
            }
        }
    }

    /// # Errors
    /// Unless it is open.
    pub(super) fn pass(&self) -> Result<(), RecordsError> {
        match &*self.0.borrow() {
            State::Open => Ok(()),
            State::Shut(reason) | State::Lost(reason) => Err(RecordsError::NotYet(reason.clone())),
        }
    }

    pub(super) fn swing_open(&self) {
        self.0.send_replace(State::Open);
    }

    /// Whether the reason is another one than before.
    pub(super) fn stays_shut(&self, reason: &RecordsError) -> bool {
        let reason = State::Shut(reason.to_string());
        self.0.send_if_modified(|state| {
            let is_new = *state != reason;
            *state = reason;
            is_new
        })
    }

    pub(super) fn lose(&self, reason: String) {
        self.0.send_replace(State::Lost(reason));
    }

    /// Returns when the program must end, with the reason.
    pub(super) async fn lost(&self) -> String {
        let mut state = self.0.subscribe();
        let is_lost = |state: &State| matches!(state, State::Lost(_));
        match state.wait_for(is_lost).await.as_deref() {
            Ok(State::Lost(reason)) => reason.clone(),
            // the sender is ours
            Ok(State::Open | State::Shut(_)) | Err(_) => std::future::pending().await,
        }
    }
}
