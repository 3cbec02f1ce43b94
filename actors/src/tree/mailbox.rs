//! A bound for every mailbox: ractor has none.
//!
//! An [`Address`] outlives the incarnations of its actor: who stands beside an
//! actor holds one. An [`Own`] is one incarnation's line to itself: timers and
//! tasks that it began hold that, so that what they say can never be taken for
//! the business of the next incarnation. A message travels in an [`Envelope`]
//! with its place in the queue; the place is free again when the envelope is
//! opened or lost with the actor. Each incarnation has places of its own: one
//! that never lets go of its queue keeps no sender waiting once it is replaced.

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
    queue: u64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.vitals.unqueued(self.queue);
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
    current: RwLock<Option<Own<M>>>,
    capacity: usize,
    vitals: Arc<Vitals>,
}

impl<M: Send + 'static> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

/// Where one incarnation sends to itself; what comes after its end comes back.
pub(crate) struct Own<M: Send + 'static> {
    incarnation: Arc<Incarnation<M>>,
}

struct Incarnation<M: Send + 'static> {
    actor: ActorRef<Envelope<M>>,
    places: Arc<Semaphore>,
    vitals: Arc<Vitals>,
    /// Of which incarnation this queue is.
    queue: u64,
}

impl<M: Send + 'static> Clone for Own<M> {
    fn clone(&self) -> Self {
        Self {
            incarnation: Arc::clone(&self.incarnation),
        }
    }
}

impl<M: Send + 'static> Address<M> {
    /// An address with room for `capacity` messages.
    pub(crate) fn new(vitals: Arc<Vitals>, capacity: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                current: RwLock::new(None),
                capacity,
                vitals,
            }),
        }
    }

    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        &self.inner.vitals
    }

    /// From now on messages go to this incarnation; who waits for room in the
    /// queue of the one before is sent here.
    pub(crate) fn attach(&self, actor: ActorRef<Envelope<M>>) -> Own<M> {
        let own = Own {
            incarnation: Arc::new(Incarnation {
                actor,
                places: Arc::new(Semaphore::new(self.inner.capacity)),
                vitals: Arc::clone(&self.inner.vitals),
                queue: self.inner.vitals.new_queue(),
            }),
        };
        let before = self
            .inner
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(own.clone());
        if let Some(before) = before {
            before.incarnation.places.close();
        }
        own
    }

    fn current(&self) -> Option<Own<M>> {
        self.inner
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn is_current(&self, own: &Own<M>) -> bool {
        self.inner
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(&current.incarnation, &own.incarnation))
    }

    /// Whether a message would be queued now.
    pub(crate) fn has_room(&self) -> bool {
        self.current()
            .is_some_and(|own| own.incarnation.places.available_permits() > 0)
    }

    /// Queues the message if there is room now.
    pub(crate) fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        match self.current() {
            Some(own) => own.try_send(message),
            None => Err(SendError::Gone(message)),
        }
    }

    /// Waits for room and queues the message; it comes back if no incarnation runs.
    pub(crate) async fn send(&self, mut message: M) -> Result<(), M> {
        loop {
            let Some(own) = self.current() else {
                return Err(message);
            };
            match own.send(message).await {
                Ok(()) => return Ok(()),
                // it was replaced while we waited for room
                Err(returned) if !self.is_current(&own) => message = returned,
                Err(returned) => return Err(returned),
            }
        }
    }
}

impl<M: Send + 'static> Own<M> {
    /// Queues the message if there is room now.
    pub(crate) fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        use tokio::sync::TryAcquireError;
        match Arc::clone(&self.incarnation.places).try_acquire_owned() {
            Ok(permit) => self.put(message, permit).map_err(SendError::Gone),
            Err(TryAcquireError::NoPermits) => Err(SendError::Full(message)),
            Err(TryAcquireError::Closed) => Err(SendError::Gone(message)),
        }
    }

    /// Waits for room and queues the message; it comes back if this incarnation is over.
    pub(crate) async fn send(&self, message: M) -> Result<(), M> {
        match Arc::clone(&self.incarnation.places).acquire_owned().await {
            Ok(permit) => self.put(message, permit),
            Err(_) => Err(message),
        }
    }

    fn put(&self, message: M, permit: OwnedSemaphorePermit) -> Result<(), M> {
        let Incarnation {
            actor,
            vitals,
            queue,
            ..
        } = &*self.incarnation;
        vitals.queued(*queue);
        let place = Place {
            vitals: Arc::clone(vitals),
            queue: *queue,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr};

    use super::*;

    /// Takes no message out of its hand.
    struct Stuck;

    impl Actor for Stuck {
        type Msg = Envelope<u32>;
        type State = ();
        type Arguments = ();

        async fn pre_start(
            &self,
            _: ActorRef<Self::Msg>,
            (): (),
        ) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            _in_hand: Self::Msg,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            std::future::pending().await
        }
    }

    async fn stuck() -> ActorRef<Envelope<u32>> {
        Actor::spawn(None, Stuck, ()).await.unwrap().0
    }

    fn address() -> Address<u32> {
        let vitals = Vitals::new("a".to_owned(), "test", None, Duration::from_secs(1));
        Address::new(vitals, 1)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_room_is_sent_on_to_the_next_incarnation() {
        let address = address();
        address.attach(stuck().await);
        address.try_send(1).unwrap();
        let waiting = tokio::spawn({
            let address = address.clone();
            async move { address.send(2).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());

        // the one before still holds its queue
        address.attach(stuck().await);

        let sent = tokio::time::timeout(Duration::from_secs(1), waiting).await;
        assert_eq!(sent.expect("it is sent on").unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_incarnation_says_to_itself_never_reaches_the_next() {
        let address = address();
        let first = stuck().await;
        let own = address.attach(first.clone());
        first.kill();
        first.get_cell().wait(None).await.unwrap();
        address.attach(stuck().await);

        assert!(matches!(own.try_send(1), Err(SendError::Gone(1))));
        assert_eq!(own.send(1).await, Err(1));
        assert_eq!(address.vitals().report().mailbox_depth, 0);
    }
}
