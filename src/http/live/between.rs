//! What the two halves of a connection tell each other, besides what is in the outbox.
//!
//! A note of each kind at most, so nothing here can grow: a channel each would
//! cost a console more memory than its socket does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mimamori_actors::domain::ClassroomId;
use tokio::sync::Notify;

/// Shared by the reader and the writer of one connection.
#[derive(Debug, Default)]
pub(super) struct Between {
    controls: Mutex<Controls>,
    asked: Notify,
    /// Each classroom is lost at most once until it begins anew.
    lost: Mutex<Vec<ClassroomId>>,
    lost_one: Notify,
}

/// What the reader asks of the writer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Controls {
    /// A ping is due.
    pub(super) ping: bool,
    /// The console's last ping wants this back; earlier ones need no answer (RFC 6455, 5.5.3).
    pub(super) pong: Option<Bytes>,
    /// The console closed: answer it, with its own code.
    pub(super) close: Option<Option<u16>>,
}

impl Between {
    /// Asks the writer for something.
    pub(super) fn ask(&self, change: impl FnOnce(&mut Controls)) {
        change(&mut lock(&self.controls));
        self.asked.notify_one();
    }

    /// What the reader asks for; waits for it. Loses nothing if it is cancelled.
    pub(super) async fn asked(&self) -> Controls {
        loop {
            let controls = std::mem::take(&mut *lock(&self.controls));
            if controls != Controls::default() {
                return controls;
            }
            self.asked.notified().await;
        }
    }

    /// Tells the reader that a classroom must begin anew.
    pub(super) fn lose(&self, classroom: ClassroomId) {
        let mut lost = lock(&self.lost);
        if !lost.contains(&classroom) {
            lost.push(classroom);
        }
        drop(lost);
        self.lost_one.notify_one();
    }

    /// A classroom that must begin anew; waits for one. Loses nothing if it is cancelled.
    pub(super) async fn lost(&self) -> ClassroomId {
        loop {
            if let Some(classroom) = lock(&self.lost).pop() {
                return classroom;
            }
            self.lost_one.notified().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // notes: a panic leaves at worst one that is not written
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_of_each_kind_is_heard_once() {
        let between = Between::default();
        between.ask(|controls| controls.pong = Some("one".into()));
        between.ask(|controls| controls.pong = Some("two".into()));
        between.ask(|controls| controls.ping = true);

        let asked = between.asked().await;

        let expected = Controls {
            ping: true,
            pong: Some("two".into()),
            close: None,
        };
        assert_eq!(asked, expected);
        let again = tokio::time::timeout(std::time::Duration::ZERO, between.asked()).await;
        assert!(again.is_err());
    }

    #[tokio::test]
    async fn every_classroom_that_is_lost_is_told_once() {
        let between = Between::default();
        for id in ["a", "b", "a"] {
            between.lose(ClassroomId::new(id));
        }

        let mut told = [between.lost().await, between.lost().await];

        told.sort();
        assert_eq!(told, ["a", "b"].map(ClassroomId::new));
    }
}
