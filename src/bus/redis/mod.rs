//! The bus over Redis ([ADR 15](../../../docs/adr/0015-a-bus-over-redis.md)).
//!
//! One node folds the classrooms and publishes ([`RedisBus`], [`publisher`]);
//! any number mirror them for consoles of their own ([`reader`]). Of each
//! classroom there is a stream of deltas and beside it a snapshot from which
//! the stream goes on. Nobody waits for Redis: what can't be handed over in
//! time is thrown away, and a new snapshot makes it right. Every second the
//! publisher beats: who reads knows from that whether it has everything.

mod beat;
mod hand_over;
mod names;
mod publisher;
mod reader;
mod sightings;
mod sign_outs;

use std::fmt;
use std::sync::Arc;

use mimamori_actors::domain::{ClassroomId, JournalId, Timestamp};
use mimamori_actors::feed::{Delta, Opening};
use mimamori_actors::hub::Hub;
use mimamori_actors::ports::{Bus, Clock};
use mimamori_actors::tree::{Census, Part};
use tokio::task::JoinHandle;

use crate::redis::Redis;
use hand_over::HandOver;
use publisher::Publisher;

pub use reader::read;
pub use sign_outs::{SignOuts, carry};

/// The bus's place in the tree.
pub fn part(census: &Census) -> Part {
    census.part("bus", "bus", Some("root"))
}

/// The place of what carries sign-outs; named as degraded only while it is refused, since that Redis is away is said by the bus.
pub fn sign_outs_part(census: &Census) -> Part {
    census.part("sign-outs", "bus", Some("bus"))
}

/// To the consoles of this process, and by way of Redis to those of others.
pub struct RedisBus {
    hub: Arc<Hub>,
    hand_over: Arc<HandOver>,
}

impl RedisBus {
    /// A bus to the consoles of this hub; for others it only keeps what is new until [`RedisBus::publish_to`].
    pub fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            hand_over: Arc::new(HandOver::default()),
        }
    }

    /// Publishes in this runtime until the task is ended, as soon as the tree of
    /// this census has caught up. The part shows how it goes.
    pub fn publish_to(&self, ground: &Ground, journal: &JournalId, census: &Arc<Census>) -> Task {
        let publisher = Publisher::new(ground, Arc::clone(&self.hand_over), journal, census);
        Task::spawn("publisher", move || publisher.clone().run())
    }
}

impl Bus for RedisBus {
    fn publish(&self, delta: &Arc<Delta>) {
        self.hub.deliver(delta);
        self.hand_over.put(delta);
    }

    fn begin(&self, opening: Opening) {
        self.hand_over.begin(opening);
    }

    fn tell_stale(&self, classroom: &ClassroomId, since: Timestamp) {
        self.hand_over.tell_stale(classroom, since);
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus").finish_non_exhaustive()
    }
}

/// What the tasks of the bus share with nobody and need of the outside.
#[derive(Clone)]
pub struct Ground {
    /// The server.
    pub redis: Redis,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The fingerprint of the key that signs links and cookies at this node.
    pub signs: String,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground")
            .field("redis", &self.redis)
            .finish_non_exhaustive()
    }
}

/// A task that ends when this is dropped, and begins again should it panic.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    fn spawn<F, R>(name: &'static str, run: F) -> Self
    where
        F: Fn() -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self(tokio::spawn(async move {
            loop {
                let running = AbortOnDrop(tokio::spawn(run()));
                let Err(_panic) = running.await else {
                    return;
                };
                metrics::counter!("mimamori_bus_failures_total").increment(1);
                tracing::error!(task = name, "a task of the bus failed and begins again");
                tokio::time::sleep(crate::redis::Backoff::default().next_wait()).await;
            }
        }))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Future for AbortOnDrop {
    type Output = Result<(), tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
