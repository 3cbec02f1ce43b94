//! Which consoles watch which classroom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dashmap::DashMap;
use tokio::time::Instant;

use crate::domain::ClassroomId;
use crate::feed::Delta;
use crate::outbox::Outbox;

/// A console's number, given when it connects.
pub(crate) type ConsoleId = u64;

/// Every console's outbox, by classroom. Bounded by the cap on consoles.
#[derive(Debug, Default)]
pub struct Hub {
    audiences: DashMap<ClassroomId, Audience>,
}

/// The consoles of one classroom.
#[derive(Debug, Default)]
struct Audience {
    watching: BTreeMap<ConsoleId, Arc<Outbox>>,
    /// Those that asked for a classroom that was not there; and whether they were told that nothing comes.
    waiting: BTreeMap<ConsoleId, (Arc<Outbox>, bool)>,
    /// When something was last told to all. With a lock of its own, so that to
    /// tell needs none that keeps others from looking who watches.
    told_at: Mutex<Option<Instant>>,
}

impl Hub {
    /// Puts the delta into the outbox of every console that watches its classroom. Waits for none.
    pub fn deliver(&self, delta: &Arc<Delta>) {
        if let Some(audience) = self.audiences.get(&delta.classroom) {
            audience.note_told();
            for outbox in audience.watching.values() {
                outbox.deliver(delta);
            }
        }
    }

    pub(crate) fn watch(&self, classroom: &ClassroomId, console: ConsoleId, outbox: Arc<Outbox>) {
        let mut audience = self.audiences.entry(classroom.clone()).or_default();
        audience.waiting.remove(&console);
        audience.watching.insert(console, outbox);
    }

    /// The classroom was not there: the console is told so when it stays away.
    pub(crate) fn wait(&self, classroom: &ClassroomId, console: ConsoleId, outbox: &Arc<Outbox>) {
        let mut audience = self.audiences.entry(classroom.clone()).or_default();
        if !audience.watching.contains_key(&console) {
            let waiting = || (Arc::clone(outbox), false);
            audience.waiting.entry(console).or_insert_with(waiting);
        }
    }

    pub(crate) fn unwatch(&self, classroom: &ClassroomId, console: ConsoleId) {
        if let Some(mut audience) = self.audiences.get_mut(classroom) {
            audience.forget(console);
        }
    }

    /// The console left.
    pub(crate) fn forget(&self, console: ConsoleId) {
        for mut audience in self.audiences.iter_mut() {
            audience.forget(console);
        }
    }

    pub(crate) fn watchers(&self, classroom: &ClassroomId) -> Vec<Arc<Outbox>> {
        self.audiences
            .get(classroom)
            .map(|audience| audience.watching.values().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn count(&self, classroom: &ClassroomId) -> usize {
        self.audiences
            .get(classroom)
            .map_or(0, |audience| audience.watching.len())
    }

    /// Every console has just been told something that is no delta.
    pub(crate) fn note_told(&self, classroom: &ClassroomId) {
        if let Some(audience) = self.audiences.get(classroom) {
            audience.note_told();
        }
    }

    /// When all consoles of the classroom were last told something.
    pub(crate) fn told_at(&self, classroom: &ClassroomId) -> Option<Instant> {
        let audience = self.audiences.get(classroom)?;
        let told_at = audience.told_at.lock();
        *told_at.unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those that were not told since they last got something that nothing comes.
    pub(crate) fn tell_stale(&self, classroom: &ClassroomId, frame: &Bytes) {
        let Some(mut audience) = self.audiences.get_mut(classroom) else {
            return;
        };
        for outbox in audience.watching.values() {
            outbox.tell_stale(classroom, frame);
        }
        for (outbox, is_told) in audience.waiting.values_mut() {
            if !std::mem::replace(is_told, true) {
                outbox.push(frame.clone());
            }
        }
    }
}

impl Audience {
    fn note_told(&self) {
        let told_at = self.told_at.lock();
        *told_at.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn forget(&mut self, console: ConsoleId) {
        self.watching.remove(&console);
        self.waiting.remove(&console);
    }
}
