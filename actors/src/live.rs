//! The seam between a console's connection and the tree.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{ClassroomId, Cursor};
use crate::outbox::Outbox;

/// As many consoles as may be are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many consoles")]
pub struct TooManyConsoles;

/// Why a console can't watch a classroom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// No such classroom, or not for this console.
    #[error("no such classroom")]
    NotFound,
    /// The classroom is starting anew; try again in a moment.
    #[error("the classroom is not ready")]
    Unavailable,
}

/// Takes consoles in.
pub trait Consoles: Send + Sync + 'static {
    /// A console connected; what is for it goes into `outbox`.
    fn connect(&self, outbox: Arc<Outbox>) -> Result<Box<dyn Console>, TooManyConsoles>;
}

/// One console's line into the tree; dropped when it disconnects.
#[async_trait]
pub trait Console: Send + Sync {
    /// Puts the snapshot, or what was missed since `since`, into the outbox, and every delta after it.
    async fn subscribe(
        &self,
        classroom: &ClassroomId,
        since: Option<Cursor>,
    ) -> Result<(), SubscribeError>;

    /// No more deltas of this classroom.
    fn unsubscribe(&self, classroom: &ClassroomId);
}
