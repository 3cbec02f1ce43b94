//! A bound for every mailbox: ractor has none.
//!
//! An [`Address`] outlives the incarnations of its actor. A message travels in
//! an [`Envelope`] with its place in the queue; the place is free again when
//! the envelope is opened or lost with the actor.

use std::sync::{Arc, PoisonError, RwLock};

use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::vitals::Vitals;

/// A message and its place in the queue.
pub(crate) struct Envelope<M> {
    message: M,
    place: Place,
}

struct Place {
    vitals: Arc<Vitals>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.vitals.unqueued();
    }
}

impl<M> Envelope<M> {
    /// The message; its place is free from now on.
    pub(crate) fn open(self) -> M {
        drop(self.place);
        self.message
    }
}

/// Why a message was not queued; it comes back.
#[derive(Debug)]
pub(crate) enum SendError<M> {
    /// The mailbox is full.
    Full(M),
    /// No incarnation runs.
    Gone(M),
}

/// Where to send to an actor, over all its incarnations.
pub(crate) struct Address<M: Send + 'static> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Send + 'static> {
    actor: RwLock<Option<ActorRef<Envelope<M>>>>,
    places: Arc<Semaphore>,
    vitals: Arc<Vitals>,
}

impl<M: Send + 'static> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<M: Send + 'static> Address<M> {
    /// An address with room for `capacity` messages.
    pub(crate) fn new(vitals: Arc<Vitals>, capacity: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                actor: RwLock::new(None),
                places: Arc::new(Semaphore::new(capacity)),
                vitals,
            }),
        }
    }

    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        &self.inner.vitals
    }

    /// From now on messages go to this incarnation.
    pub(crate) fn attach(&self, actor: ActorRef<Envelope<M>>) {
        *self
            .inner
            .actor
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    /// Queues the message if there is room now.
    pub(crate) fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        match Arc::clone(&self.inner.places).try_acquire_owned() {
            Ok(permit) => self.put(message, permit).map_err(SendError::Gone),
            Err(_) => Err(SendError::Full(message)),
        }
    }

    /// Waits for room and queues the message; it comes back if no incarnation runs.
    pub(crate) async fn send(&self, message: M) -> Result<(), M> {
        match Arc::clone(&self.inner.places).acquire_owned().await {
            Ok(permit) => self.put(message, permit),
            Err(_) => Err(message),
        }
    }

    fn put(&self, message: M, permit: OwnedSemaphorePermit) -> Result<(), M> {
        let actor = self
            .inner
            .actor
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(actor) = actor else {
            return Err(message);
        };
        self.inner.vitals.queued();
        let place = Place {
            vitals: Arc::clone(&self.inner.vitals),
            _permit: permit,
        };
        actor
            .send_message(Envelope { message, place })
            .map_err(|error| match error {
                ractor::MessagingErr::SendErr(envelope) => envelope.open(),
                ractor::MessagingErr::ChannelClosed | ractor::MessagingErr::InvalidActorType => {
                    unreachable!(
                        "a send through a typed reference fails only by giving the message back"
                    )
                }
            })
    }
}
