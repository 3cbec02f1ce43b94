//! Has the tree forget a person: their session ends, consoles are told that they are gone.
//!
//! Whoever erases hides the person from the journal's readers first, so that no
//! actor meets them again, and rewrites what stands of them afterwards. What
//! comes of the same person behind that is met as of a stranger.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::classroom::{ClassroomMessage, Directory};
use crate::domain::SessionKey;
use crate::housekeeping::HousekeepingMessage;
use crate::router::RouterMessage;
use crate::tree::{Address, Census};

/// An actor that is replaced meanwhile is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// An actor that does not answer by then is frozen, or its journal hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(40);

/// An actor did not answer in time: nothing is known of what it has in hand.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} did not answer in time")]
pub struct NotForgotten(&'static str);

/// Where the tree is asked to forget.
#[derive(Clone)]
pub struct Forgetting {
    pub(crate) router: Address<RouterMessage>,
    pub(crate) housekeeping: Address<HousekeepingMessage>,
    pub(crate) classrooms: Arc<Directory>,
    pub(crate) census: Arc<Census>,
}

impl Forgetting {
    /// Ends the person's session. When it returns, nothing about them will be
    /// appended any more but what they send: what was in hand is in the journal's queue.
    ///
    /// # Errors
    /// When an actor does not answer in time.
    pub async fn end_session(&self, key: &SessionKey) -> Result<(), NotForgotten> {
        ask("router", &self.router, |told| RouterMessage::Forget {
            key: key.clone(),
            told,
        })
        .await?;
        // timers that it took out before are written when it comes to this
        ask(
            "housekeeping",
            &self.housekeeping,
            HousekeepingMessage::Settle,
        )
        .await
    }

    /// Takes the person out of what consoles see; they are told so.
    ///
    /// # Errors
    /// When the classroom does not answer in time.
    pub async fn tell_consoles(&self, key: &SessionKey) -> Result<(), NotForgotten> {
        let Some(classroom) = self.classrooms.get(&key.classroom) else {
            return Ok(());
        };
        ask("the classroom", classroom, |told| {
            ClassroomMessage::Forget {
                student: key.student.clone(),
                told,
            }
        })
        .await
    }

    /// What the bus keeps for other nodes begins anew. It keeps what stood since
    /// the snapshot before: what was, is gone when this was done twice and taken over.
    ///
    /// # Errors
    /// When the classroom does not answer in time.
    pub async fn renew_bus(&self, key: &SessionKey) -> Result<(), NotForgotten> {
        match self.classrooms.get(&key.classroom) {
            Some(classroom) => ask("the classroom", classroom, ClassroomMessage::Renew).await,
            None => Ok(()),
        }
    }

    /// The person was not erased after all: the sessions begin again where the snapshots end.
    pub fn undo(&self) {
        // it is there as long as the tree is
        let _ = self.census.restart("router");
    }
}

async fn ask<M: Send + 'static>(
    who: &'static str,
    address: &Address<M>,
    question: impl Fn(oneshot::Sender<()>) -> M,
) -> Result<(), NotForgotten> {
    let asking = async {
        loop {
            let (told, answer) = oneshot::channel();
            // lost with an actor that ends: the next one is asked again
            if address.send(question(told)).await.is_ok() && answer.await.is_ok() {
                return;
            }
            sleep(ASK_AGAIN_AFTER).await;
        }
    };
    timeout(ANSWERS_WITHIN, asking)
        .await
        .map_err(|_| NotForgotten(who))
}
