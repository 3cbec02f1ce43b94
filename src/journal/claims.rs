//! Identities that are on their way to the disk, so that a twin waits for the same fsync.

use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use mimamori_actors::domain::Position;
use mimamori_actors::ports::{AppendError, Identity};
use tokio::sync::Notify;

/// What a request's way to the disk came to: the position of its first entry, or why there is none.
pub(super) type Landing = Result<Position, AppendError>;

/// One request on its way to the disk. Those who wait for it may be several.
#[derive(Debug, Default)]
pub(super) struct Flight {
    landing: OnceLock<Landing>,
    landed: Notify,
}

impl Flight {
    /// Tells everybody what it came to; only the first telling counts.
    pub(super) fn land(&self, landing: Landing) {
        if self.landing.set(landing).is_ok() {
            self.landed.notify_waiters();
        }
    }

    /// Waits until it is known.
    pub(super) async fn landed(&self) -> Landing {
        let landed = self.landed.notified();
        tokio::pin!(landed);
        // from here on no notification is missed, so looking comes after
        landed.as_mut().enable();
        if let Some(landing) = self.landing.get() {
            return landing.clone();
        }
        landed.await;
        match self.landing.get() {
            Some(landing) => landing.clone(),
            None => Err(AppendError::Closed),
        }
    }
}

/// A claimed identity.
#[derive(Debug)]
pub(super) struct Claim {
    /// The request that claimed it.
    pub(super) flight: Arc<Flight>,
    content: OnceLock<[u8; 16]>,
}

impl Claim {
    /// The content that stands (or will stand) in the journal under this
    /// identity; known at the latest when the flight has landed.
    pub(super) fn content(&self) -> Option<&[u8; 16]> {
        self.content.get()
    }

    /// Says which content it is.
    pub(super) fn settle(&self, content: [u8; 16]) {
        // set twice only by the one who claimed, and then to the same
        let _ = self.content.set(content);
    }
}

/// All identities in flight. Bounded by what may wait for the writer and the keeper.
#[derive(Debug, Default)]
pub(super) struct Claims(DashMap<[u8; 16], Arc<Claim>>);

impl Claims {
    /// Claims an identity for this flight, or gives the claim that there is.
    pub(super) fn claim(
        &self,
        identity: &Identity,
        flight: &Arc<Flight>,
    ) -> Result<Arc<Claim>, Arc<Claim>> {
        match self.0.entry(identity.key) {
            Entry::Occupied(claim) => Err(Arc::clone(claim.get())),
            Entry::Vacant(place) => {
                let claim = Arc::new(Claim {
                    flight: Arc::clone(flight),
                    content: OnceLock::new(),
                });
                place.insert(Arc::clone(&claim));
                Ok(claim)
            }
        }
    }

    /// Gives a claim back: the identity is in the index now, or will not be.
    pub(super) fn release(&self, key: &[u8; 16]) {
        self.0.remove(key);
    }
}

/// The claims of one request. Dropped before it landed, they are given back and
/// those who wait are told that the journal closed.
#[derive(Debug)]
pub(super) struct Claimed {
    claims: Arc<Claims>,
    /// The request.
    pub(super) flight: Arc<Flight>,
    keys: Vec<[u8; 16]>,
}

impl Claimed {
    pub(super) fn new(claims: Arc<Claims>) -> Self {
        Self {
            claims,
            flight: Arc::default(),
            keys: Vec::new(),
        }
    }

    /// Claims an identity, or gives the claim that there is.
    pub(super) fn claim(&mut self, identity: &Identity) -> Result<Arc<Claim>, Arc<Claim>> {
        let claim = self.claims.claim(identity, &self.flight)?;
        self.keys.push(identity.key);
        Ok(claim)
    }

    /// The identity claimed last is known already.
    pub(super) fn give_back_last(&mut self) {
        if let Some(key) = self.keys.pop() {
            self.claims.release(&key);
        }
    }

    /// It did not get to the disk.
    pub(super) fn refuse(mut self, error: AppendError) {
        self.give_back_all();
        self.flight.land(Err(error));
    }

    /// It is on disk. The claims are kept until the index knows the identities:
    /// whoever indexes them releases them.
    pub(super) fn land(mut self, first: Position) {
        self.keys.clear();
        self.flight.land(Ok(first));
    }

    fn give_back_all(&mut self) {
        for key in self.keys.drain(..) {
            self.claims.release(&key);
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.give_back_all();
        self.flight.land(Err(AppendError::Closed));
    }
}

#[cfg(test)]
mod tests;
