//! How many sockets are open.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts open live sockets. hyper's graceful stop does not know them, so whoever stops the server waits here.
#[derive(Debug, Clone)]
pub struct OpenSockets {
    count: Arc<watch::Sender<usize>>,
}

/// One open socket, until it is dropped.
pub(super) struct OpenSocket {
    count: Arc<watch::Sender<usize>>,
}

impl OpenSockets {
    /// None are open.
    pub fn new() -> Self {
        Self {
            count: Arc::new(watch::Sender::new(0)),
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until none is open. Each closes by itself soon after the server began to drain.
    pub async fn all_closed(&self) {
        let mut count = self.count.subscribe();
        // an error would mean that the sender is gone, but `self` holds it
        let _ = count.wait_for(|count| *count == 0).await;
    }

    pub(super) fn enter(&self) -> OpenSocket {
        self.count.send_modify(|count| *count += 1);
        OpenSocket {
            count: Arc::clone(&self.count),
        }
    }
}

impl Default for OpenSockets {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}
