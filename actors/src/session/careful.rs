//! After an unclean stop: each entry is noted before it is folded, so that one
//! that ends the whole process is found by the next start.

use std::sync::Arc;

use crate::domain::{Position, SessionKey};

/// Where it is noted which entries are being folded, so that it outlives the process.
///
/// Entries of a process that ended are counted by the next start as attempts
/// ([`crate::ports::Snapshots::put_attempts`]) before anything is folded.
pub trait Flights: Send + Sync + 'static {
    /// This entry is about to be folded. Must be readable after the process
    /// ended in whatever way; need not outlive the machine.
    fn begin(&self, key: &SessionKey, position: Position);

    /// It is folded, or counted. Harmless if it is not noted.
    fn end(&self, key: &SessionKey, position: Position);
}

/// How careful the replay after an unclean stop is.
#[derive(Clone)]
pub struct Careful {
    /// Where it is noted.
    pub flights: Arc<dyn Flights>,
    /// The journal's end at the start: what came after it killed nobody yet.
    pub through: Position,
}

impl std::fmt::Debug for Careful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Careful")
            .field("through", &self.through)
            .finish_non_exhaustive()
    }
}

impl Careful {
    /// Notes the entry until the guard is dropped, if it is one to be careful with.
    pub(crate) fn begin(&self, key: &SessionKey, position: Position) -> Option<InFlight> {
        if position > self.through {
            return None;
        }
        self.flights.begin(key, position);
        Some(InFlight {
            flights: Arc::clone(&self.flights),
            key: key.clone(),
            position,
        })
    }
}

/// An entry that is being folded.
pub(crate) struct InFlight {
    flights: Arc<dyn Flights>,
    key: SessionKey,
    position: Position,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.flights.end(&self.key, self.position);
    }
}
