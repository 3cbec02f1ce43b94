//! Which consoles watch which classroom.

use std::collections::BTreeMap;
use std::sync::Arc;

use dashmap::DashMap;

use crate::domain::ClassroomId;
use crate::feed::Delta;
use crate::outbox::Outbox;

/// A console's number, given when it connects.
pub(crate) type ConsoleId = u64;

/// Every console's outbox, by classroom. Bounded by the cap on consoles.
#[derive(Debug, Default)]
pub struct Hub {
    watchers: DashMap<ClassroomId, BTreeMap<ConsoleId, Arc<Outbox>>>,
}

impl Hub {
    /// Puts the delta into the outbox of every console that watches its classroom. Waits for none.
    pub fn deliver(&self, delta: &Arc<Delta>) {
        if let Some(watchers) = self.watchers.get(&delta.classroom) {
            for outbox in watchers.values() {
                outbox.deliver(delta);
            }
        }
    }

    pub(crate) fn watch(&self, classroom: &ClassroomId, console: ConsoleId, outbox: Arc<Outbox>) {
        self.watchers
            .entry(classroom.clone())
            .or_default()
            .insert(console, outbox);
    }

    pub(crate) fn unwatch(&self, classroom: &ClassroomId, console: ConsoleId) {
        if let Some(mut watchers) = self.watchers.get_mut(classroom) {
            watchers.remove(&console);
        }
    }

    /// The console left.
    pub(crate) fn forget(&self, console: ConsoleId) {
        for mut watchers in self.watchers.iter_mut() {
            watchers.remove(&console);
        }
    }

    pub(crate) fn watchers(&self, classroom: &ClassroomId) -> Vec<Arc<Outbox>> {
        self.watchers
            .get(classroom)
            .map(|watchers| watchers.values().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn count(&self, classroom: &ClassroomId) -> usize {
        self.watchers
            .get(classroom)
            .map_or(0, |watchers| watchers.len())
    }
}
