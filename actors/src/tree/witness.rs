//! Who is told of each step before an actor takes it: nobody, but in tests of faults.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{ClassroomId, Cursor, Entry, SessionKey, SessionUpdate};

/// A step that an actor is about to take.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A session folds an entry.
    Fold {
        /// Whose session.
        key: &'a SessionKey,
        /// The entry.
        entry: &'a Entry,
    },
    /// The router hands out what it has read.
    Route(&'a [Arc<Entry>]),
    /// A classroom takes in what happened to a student.
    Update(&'a SessionUpdate),
    /// A writer writes a batch.
    Write {
        /// Its name.
        consumer: &'a str,
        /// The batch.
        entries: &'a [Arc<Entry>],
    },
    /// A subscriber begins to watch a classroom.
    Subscribe {
        /// Which one.
        classroom: &'a ClassroomId,
        /// Where the console says it stands.
        since: Option<&'a Cursor>,
    },
    /// Housekeeping does a round.
    Round,
}

/// What an actor waits for before it takes the step.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Is told of each step before it is taken.
///
/// The program that is shipped has [`Nobody`] there. Tests of faults panic here,
/// never return, or give back a wait that never ends.
pub trait Witness: Send + Sync + 'static {
    /// The step is about to be taken, after the wait if there is one.
    fn before(&self, step: Step<'_>) -> Option<Wait> {
        let _ = step;
        None
    }

    /// How long an actor may be without progress, or its threads without a turn, that
    /// may be `usual`: who tests faults need not wait as long as for a disk.
    fn patience(&self, usual: Duration) -> Duration {
        usual
    }
}

/// Nobody looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Witness for Nobody {}
