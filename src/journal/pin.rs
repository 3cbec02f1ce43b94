//! Holds the journal's beginning while somebody copies it.
//!
//! One copy at a time. It is given up when the journal needs the room: a copy
//! that was not finished is tried again, an event that was refused is not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Who holds the journal's beginning, if somebody does.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<Weak<Held>>);

#[derive(Debug, Default)]
struct Held {
    is_lost: AtomicBool,
}

/// As long as it is kept nothing of the journal is trimmed, unless the room is needed.
#[derive(Debug)]
pub struct Pin(Arc<Held>);

impl Pin {
    /// Whether the journal needed the room and went on without it.
    pub fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Acquire)
    }
}

impl Pins {
    /// Nothing if somebody else has it.
    pub(super) fn take(&self) -> Option<Pin> {
        let mut kept = self.kept();
        if kept.upgrade().is_some() {
            return None;
        }
        let held = Arc::new(Held::default());
        *kept = Arc::downgrade(&held);
        Some(Pin(held))
    }

    /// Whether nothing may be trimmed; `is_room_needed` ends that.
    pub(super) fn hold(&self, is_room_needed: bool) -> bool {
        let Some(held) = self.kept().upgrade() else {
            return false;
        };
        if is_room_needed && !held.is_lost.swap(true, Ordering::AcqRel) {
            metrics::counter!("mimamori_backup_lost_pins_total").increment(1);
            tracing::warn!(
                "the journal needs the room: it is trimmed though a backup is under way"
            );
        }
        !held.is_lost.load(Ordering::Acquire)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Weak<Held>> {
        // a pointer is whole even if a thread panicked beside it
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_at_a_time_and_until_the_room_is_needed() {
        let pins = Pins::default();
        assert!(!pins.hold(false));

        let pin = pins.take().unwrap();
        assert!(pins.take().is_none());
        assert!(pins.hold(false));
        assert!(!pin.is_lost());

        assert!(!pins.hold(true));
        assert!(pin.is_lost());
        assert!(!pins.hold(false), "what is lost stays lost");

        drop(pin);
        assert!(pins.take().is_some());
    }
}
