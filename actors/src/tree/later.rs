//! A message to oneself, later: it dies with the incarnation that planned it.

use std::future::Future;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::mailbox::Own;

/// Something planned; called off when it is dropped.
#[derive(Debug)]
pub(crate) struct Later(AbortHandle);

impl Later {
    /// Sends the message after `wait`.
    pub(crate) fn send<M: Send + 'static>(own: &Own<M>, message: M, wait: Duration) -> Self {
        Self::send_when(own, message, async move {
            tokio::time::sleep(wait).await;
            true
        })
    }

    /// Sends the message when `until` is over, unless that gives `false`.
    pub(crate) fn send_when<M: Send + 'static>(
        own: &Own<M>,
        message: M,
        until: impl Future<Output = bool> + Send + 'static,
    ) -> Self {
        let own = own.clone();
        Self::run(async move {
            if until.await {
                // it comes back only if the actor is gone
                let _ = own.send(message).await;
            }
        })
    }

    /// Runs what serves this incarnation alone.
    pub(crate) fn run(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.0.abort();
    }
}
