//! Looks whether something is missing on the consoles of a node that folds its classrooms itself.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::classroom::Directory;
use crate::domain::{ClassroomId, Position};
use crate::feed::stale_frame;
use crate::hub::Hub;
use crate::ports::{Bus, Clock};
use crate::silence::{Sight, Silence};
use crate::tree::{ActorState, Census};

/// What is looked at, and who is told.
pub(crate) struct Lookout {
    pub(crate) census: Arc<Census>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) classrooms: Arc<Directory>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The end of the journal.
    pub(crate) end: watch::Receiver<Position>,
}

/// One look at all classrooms.
pub(super) struct Look<'a> {
    post: &'a Lookout,
    now: Instant,
    /// The end of the journal.
    end: Position,
    /// Up to where the router has handed it out.
    handed_out: Position,
    /// How long anything waits for sessions, by the name above theirs; all of
    /// them are looked at, so that is done when it first matters, and once.
    sessions_wait: OnceCell<HashMap<String, Duration>>,
}

impl<'a> Look<'a> {
    pub(super) fn of(post: &'a Lookout) -> Self {
        Self {
            post,
            now: Instant::now(),
            end: *post.end.borrow(),
            handed_out: post.census.read_through_of("router").unwrap_or_default(),
            sessions_wait: OnceCell::new(),
        }
    }

    /// Tells the consoles of a classroom if nothing comes where something should.
    pub(super) fn at(&self, classroom: &ClassroomId, silence: &mut Silence) {
        let post = self.post;
        let Some(address) = post.classrooms.get(classroom) else {
            return;
        };
        let actor = address.vitals().report();
        let sight = Sight {
            now: self.now,
            told_at: post.hub.told_at(classroom),
            // one that is frozen is judged by what it has in hand
            is_running: matches!(actor.state, ActorState::Running | ActorState::Frozen),
            oldest_message: Duration::from_millis(actor.oldest_message_ms),
            end: self.end,
            handed_out: self.handed_out,
        };
        if let Some(silent) = silence.look(&sight, || self.sessions_wait(classroom)) {
            let since = post.clock.now().minus(silent);
            post.hub
                .tell_stale(classroom, &stale_frame(classroom, since));
            post.bus.tell_stale(classroom, since);
        }
    }

    fn sessions_wait(&self, classroom: &ClassroomId) -> Duration {
        let all = self
            .sessions_wait
            .get_or_init(|| self.post.census.longest_waits_of("session"));
        let above = format!("session/{classroom}");
        all.get(&above).copied().unwrap_or_default()
    }
}
