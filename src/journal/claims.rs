//! Identities that the index does not have yet: a twin waits for the same fsync, or meets what has just landed.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use mimamori_actors::domain::Position;
use mimamori_actors::ports::{AppendError, Identity};
use tokio::sync::Notify;

/// Parts with a lock each: one may be held while the index is asked, which may be a read of a file.
const SHARDS: usize = 64;

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
        if let Some(landing) = self.landing.get() {
            return landing.clone();
        }
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

/// What somebody who claims an identity meets.
#[derive(Debug)]
pub(super) enum Met {
    /// Nobody has had it: it is claimed now.
    Nobody,
    /// It is on disk with this content.
    Known([u8; 16]),
    /// A request claimed it before, with this content; whether it got to the
    /// disk is known when it has landed.
    Twin(Arc<Flight>, [u8; 16]),
}

#[derive(Debug)]
struct Claim {
    flight: Arc<Flight>,
    content: [u8; 16],
}

/// All identities in flight and those that landed and are not in the index yet.
/// Bounded by what may wait for the writer and for the index.
#[derive(Debug)]
pub(super) struct Claims(DashMap<[u8; 16], Claim, BuildHasherDefault<KeyHasher>>);

impl Default for Claims {
    fn default() -> Self {
        let hasher = BuildHasherDefault::default();
        Self(DashMap::with_hasher_and_shard_amount(hasher, SHARDS))
    }
}

impl Claims {
    /// Gives a claim back: the identity is in the index now, or will not be.
    pub(super) fn release(&self, key: &[u8; 16]) {
        self.0.remove(key);
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Keys are hashes already: their last bytes are as good as any hash of them.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
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
    pub(super) fn new(claims: Arc<Claims>, at_most: usize) -> Self {
        Self {
            claims,
            flight: Arc::default(),
            keys: Vec::with_capacity(at_most),
        }
    }

    /// Claims an identity unless somebody has had it. `find` asks the index,
    /// which has to be asked only when nobody claims it: what is released was
    /// put into the index before. Nobody else can claim it meanwhile.
    pub(super) fn claim<E>(
        &mut self,
        identity: &Identity,
        find: impl FnOnce(&[u8; 16]) -> Result<Option<[u8; 16]>, E>,
    ) -> Result<Met, E> {
        match self.claims.0.entry(identity.key) {
            Entry::Occupied(claim) => {
                let claim = claim.get();
                Ok(Met::Twin(Arc::clone(&claim.flight), claim.content))
            }
            Entry::Vacant(place) => {
                if let Some(content) = find(&identity.key)? {
                    return Ok(Met::Known(content));
                }
                place.insert(Claim {
                    flight: Arc::clone(&self.flight),
                    content: identity.content,
                });
                self.keys.push(identity.key);
                Ok(Met::Nobody)
            }
        }
    }

    /// It did not get to the disk.
    pub(super) fn refuse(mut self, error: AppendError) {
        self.give_back_all();
        self.flight.land(Err(error));
    }

    /// It is on disk. The claims are kept until the index has the identities:
    /// whoever puts them there releases them.
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
