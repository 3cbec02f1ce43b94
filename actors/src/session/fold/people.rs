//! Several people under one address.
//!
//! A *source* is what a client says of itself: its session and the student's
//! name. An event belongs to the source that nothing in it speaks against;
//! what an event does not say is no difference. When a source is heard again
//! after another one, within [`TOGETHER`] of its own last event, both are at
//! work at the same time: two people, or one with two browsers. A page that was
//! loaded again is not: its old session is silent.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Step;
use super::alerts::{self, Cause};
use super::brief::{Brief, By};
use super::format::is_default;
use super::order::Order;
use super::place::Place;
use crate::domain::{Alert, AlertKind, Heard, IDLE_FOR, Moment, Person, Position};

/// So many sources are told apart; of more, the one that was silent longest is forgotten.
pub const MAX_SOURCES: usize = 8;
/// A source that comes back within this time, with another between, was there all the time.
const TOGETHER: Duration = Duration::from_secs(2 * 60);

/// The sources of one student's events, who was heard last at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct People {
    sources: Vec<Source>,
    /// The event that last showed two at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) evidence: Option<Position>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    by: By,
    #[serde(rename = "f")]
    first: Order,
    #[serde(rename = "l")]
    last: Order,
    /// When the last one was received.
    #[serde(rename = "m", with = "super::format::moment")]
    received: Moment,
    /// Kept as soon as there are two.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    place: Option<Box<Place>>,
}

impl People {
    /// Takes note of who this event is of, and where they are.
    pub(super) fn fold(&mut self, brief: &Brief) {
        let known = self
            .sources
            .iter()
            .rposition(|source| !source.by.differs_from(&brief.by));
        let mut source = match known {
            Some(index) => {
                let was_another_between = index + 1 < self.sources.len();
                let source = self.sources.remove(index);
                let silence = brief.received.heard.since(source.received.heard);
                if was_another_between && silence <= TOGETHER {
                    self.evidence = Some(brief.position);
                }
                source
            }
            None => Source {
                by: By::default(),
                first: brief.order,
                last: brief.order,
                received: brief.received,
                place: None,
            },
        };
        source.by.add(&brief.by);
        source.last = brief.order;
        source.received = source.received.max(brief.received);
        if !self.sources.is_empty() {
            source.place.get_or_insert_default().move_by(brief);
        }
        if self.sources.len() >= MAX_SOURCES {
            self.sources.remove(0);
        }
        // at most addresses there is one
        self.sources.reserve_exact(1);
        self.sources.push(source);
    }

    /// Those at work, by name; without the sessions that a later one of the same person replaced.
    pub(super) fn shown(&self) -> Vec<Person> {
        let Some(now) = self.sources.iter().map(|it| it.received.heard).max() else {
            return Vec::new();
        };
        let mut shown: Vec<Person> = self
            .sources
            .iter()
            .filter(|source| now.since(source.received.heard) < IDLE_FOR)
            .filter(|source| !self.sources.iter().any(|other| other.replaced(source)))
            .map(Source::shown)
            .collect();
        shown.sort_by(|a, b| (&a.name, &a.notebook).cmp(&(&b.name, &b.notebook)));
        shown
    }
}

impl Source {
    /// Whether it began after `other` had ended, under the same name or in the same session.
    fn replaced(&self, other: &Self) -> bool {
        let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
        self.first > other.last
            && (same(self.by.name_key(), other.by.name_key())
                || same(self.by.session, other.by.session))
    }

    fn shown(&self) -> Person {
        let name = self.by.name.as_ref();
        let place = self.place.as_deref().cloned().unwrap_or_default();
        Person {
            name: name.map(|name| Arc::clone(&name.text)).unwrap_or_default(),
            team: self.by.team.clone(),
            notebook: place.notebook_path(),
            cell_id: place.cell_id,
            cell_index: place.cell_index,
            last_activity: self.received.at,
        }
    }
}

impl By {
    fn name_key(&self) -> Option<u64> {
        self.name.as_ref().map(|name| name.key)
    }

    /// Whether both say it, and say another thing.
    fn differs_from(&self, other: &Self) -> bool {
        let differ = |a: Option<u64>, b: Option<u64>| a.is_some() && b.is_some() && a != b;
        differ(self.session, other.session) || differ(self.name_key(), other.name_key())
    }

    fn add(&mut self, said: &Self) {
        if said.session.is_some() {
            self.session = said.session;
        }
        if said.name.is_some() {
            self.name.clone_from(&said.name);
        }
        if said.team.is_some() {
            self.team.clone_from(&said.team);
        }
    }
}

/// The alert that two are at work under one address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Sharing {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) alert: Option<Alert>,
    /// When it last showed.
    #[serde(default, skip_serializing_if = "is_default")]
    last: Heard,
}

impl Sharing {
    /// `brief` was folded into `people`, whose evidence before it was `before`.
    pub(super) fn fold(
        &mut self,
        brief: &Brief,
        people: &People,
        before: Option<Position>,
        step: &mut Step<'_>,
    ) {
        if people.evidence != before {
            self.last = brief.received.heard;
            if self.alert.is_none() {
                let cause = Cause::of(AlertKind::SharedIdentity, brief);
                let reason = "two people, or two browsers, work under this address".to_owned();
                self.alert = Some(alerts::open(&cause, None, reason, step));
            }
        } else if brief.received.heard.since(self.last) >= IDLE_FOR {
            self.close(step);
        }
    }

    pub(super) fn close(&mut self, step: &mut Step<'_>) {
        alerts::close(&mut self.alert, step);
    }
}
