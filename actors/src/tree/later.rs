//! A message to oneself, later: it dies with the incarnation that planned it.

use std::future::Future;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::mailbox::Address;

/// Something planned; called off when it is dropped.
#[derive(Debug)]
pub(crate) struct Later(AbortHandle);

impl Later {
    /// Sends the message after `wait`.
    pub(crate) fn send<M: Send + 'static>(
        address: &Address<M>,
        message: M,
        wait: Duration,
    ) -> Self {
        Self::send_when(address, message, async move {
            tokio::time::sleep(wait).await;
            true
        })
    }

    /// Sends the message when `until` is over, unless that gives `false`.
    pub(crate) fn send_when<M: Send + 'static>(
        address: &Address<M>,
        message: M,
        until: impl Future<Output = bool> + Send + 'static,
    ) -> Self {
        let address = address.clone();
        let task = tokio::spawn(async move {
            if until.await {
                // it comes back only if the actor is gone
                let _ = address.send(message).await;
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.0.abort();
    }
}
