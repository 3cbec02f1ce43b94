//! What the journal was told of the present, so that folding it again tells nothing twice.
//!
//! A request for help, or an alert, is an *episode*: it opens, and it ends.
//! When an older event comes, the last 3 s are folded again and may show other
//! episodes than before. An episode is named by the first of its events that
//! was *received*, so an older one that comes later does not make it another.
//! What was never told is told now, both ends of what opened and ended within
//! the fold; what was told as open and is no longer there is told as ended.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Step;
use super::window::{MAX_RECENT, WINDOW};
use crate::domain::{Heard, Timestamp};

/// Something that opens and ends.
pub(super) trait Episode: Clone {
    /// Its name.
    type Id: PartialEq + Clone;

    fn id(&self) -> &Self::Id;
    fn tell_opened(&self, step: &mut Step<'_>);
    fn tell_ended(&self, at: Timestamp, step: &mut Step<'_>);
}

/// An episode that ended within a fold.
#[derive(Debug, Clone)]
pub(super) struct Ended<E> {
    pub(super) episode: E,
    pub(super) at: Timestamp,
}

/// The episodes that were told as ended in the last 3 s: older ones don't come back.
///
/// At most [`MAX_RECENT`], for each needs an event of the window. Were an older one
/// told once more, the journal would know the fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Told<Id>(VecDeque<(Id, Heard)>);

impl<Id> Default for Told<Id> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<Id: PartialEq + Clone> Told<Id> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn note(&mut self, id: &Id, now: Heard) {
        if self.0.len() >= MAX_RECENT {
            self.0.pop_front();
        }
        self.0.push_back((id.clone(), now));
    }

    fn has(&self, id: &Id) -> bool {
        self.0.iter().any(|(known, _)| known == id)
    }

    /// Tells what the journal does not know yet: `before` was open and told, `ended`
    /// came and went in the fold, `after` is open now.
    pub(super) fn tell<E: Episode<Id = Id>>(
        &mut self,
        before: Option<&E>,
        ended: &[Ended<E>],
        after: Option<&E>,
        step: &mut Step<'_>,
    ) {
        let now = step.heard;
        self.0.retain(|(_, at)| now.since(*at) <= WINDOW);
        let was_open = |id: &Id| before.is_some_and(|before| before.id() == id);
        for Ended { episode, at } in ended {
            if self.has(episode.id()) {
                continue;
            }
            if !was_open(episode.id()) {
                episode.tell_opened(step);
            }
            episode.tell_ended(*at, step);
            self.note(episode.id(), now);
        }
        if let Some(before) = before
            && after.is_none_or(|after| after.id() != before.id())
            && !self.has(before.id())
        {
            before.tell_ended(step.at, step);
            self.note(before.id(), now);
        }
        if let Some(after) = after
            && !was_open(after.id())
        {
            after.tell_opened(step);
        }
    }
}
