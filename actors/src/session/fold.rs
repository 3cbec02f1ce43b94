//! The fold `(state, entry) -> (state, changes)`: what a student's entries mean.
//!
//! No clock: people see the entry's `received_at`, and silences are measured by
//! its `heard_at`. An entry at or below the state's position changes nothing, so replay is harmless. What the fold
//! concludes has an id computed from the entry that caused it, so a replay
//! concludes the same. The rules are those of the contract, section 4.
//!
//! # Where a student is
//!
//! An instructor reads notebook and cell as "there I would find them now":
//!
//! - A run (ok, error, interrupted) moves to its cell, and so does a cell with
//!   nothing to run (markdown, empty): the student is there. Skipped and unknown
//!   ones don't move the cell: with Run All the student stays at the one that failed.
//! - Opening another notebook moves there, to no cell yet; opening the same one
//!   again (a reload) keeps the cell. The same holds for a request for help, and
//!   for skipped and unknown cells, that name another notebook.
//! - Saving and closing don't move: JupyterLab saves every changed notebook by
//!   itself, also those behind the one the student works in, and of a student who
//!   closed everything the instructor wants to know the last place. They only
//!   tell the notebook while none is known.
//!
//! # The present
//!
//! What the order of events decides is what it would be had the last 3 s arrived
//! in the order of `eventTime`. An event is applied when it comes, never held
//! back: the *base* is what is in its place for good, `recent` the events of the
//! last 3 s, and the *present* is these folded on the base. The newest event is
//! folded on the present, an older one makes it be folded again. One that
//! belongs before what is in the base is *late*: it is counted and listed, a
//! sign of life also of an open request, and moves nothing. The 3 s are heard ones, so that they don't
//! pass while the server is away.
//!
//! `Counters` are sums: the order of arrival does not matter to them. Sessions
//! and lessons begin and end by what was heard when, in the order of arrival.

mod alerts;
mod brief;
mod format;
mod help;
mod kernels;
mod order;
mod people;
mod place;
mod present;
mod rows;
mod stuck;
mod told;
mod view;
mod window;
mod work;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::domain::{
    AcceptedEvent, Alert, AlertId, Entry, Event, EventBrief, EventKind, ExecutionStatus, Fact,
    FactId, FactKind, Heard, HelpId, LessonId, Moment, Position, Record, SessionKey, Timer,
    TimerCause, Timestamp,
};

use brief::{Brief, Label};
use order::Clocks;
use present::{Over, Present};
use rows::{Changed, Overlay};
use told::{Episode, Told};
use window::{Base, Recent};
use work::OpenSession;

pub use format::FORMAT;
pub use help::HELP_SILENCE;
pub use kernels::MAX_NOTEBOOKS;
pub use people::MAX_SOURCES;
pub use rows::MAX_CELLS;
pub use window::{MAX_RECENT, WINDOW};
pub use work::SESSION_SILENCE;

/// Why kept bytes are not a state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A later version wrote them: fold the student again from the journal.
    #[error("session state of unknown format {0}")]
    UnknownFormat(u8),
    /// They are damaged: fold the student again from the journal.
    #[error("damaged session state")]
    Damaged(#[source] Option<serde_json::Error>),
}

/// Everything known of one student in one classroom.
///
/// Bounded: texts are limited at the door; of cells with errors at most
/// [`MAX_CELLS`] are remembered, of events to be put in order [`MAX_RECENT`], of
/// notebooks whose kernels are followed [`MAX_NOTEBOOKS`], of people under one
/// address [`MAX_SOURCES`], and of requests and of alerts that were just told as
/// ended [`MAX_RECENT`] each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    key: SessionKey,
    position: Position,
    /// Whether the address is the one that a client has before a student sets an own one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_default_address: bool,
    /// When the last event was received; never falls, even if the journal's clock did.
    last_activity: Option<Moment>,
    /// Whose counters these are; nothing before the first lesson and after one has ended.
    lesson: Option<LessonId>,
    counters: Counters,
    session: Option<OpenSession>,
    clocks: Clocks,
    base: Base,
    #[serde(default, skip_serializing_if = "Recent::is_empty")]
    recent: Recent,
    #[serde(default, skip_serializing_if = "Told::is_empty")]
    told_calls: Told<HelpId>,
    #[serde(default, skip_serializing_if = "Told::is_empty")]
    told_stuck: Told<AlertId>,
    /// The base with `recent` folded on it.
    #[serde(skip)]
    present: Present,
    #[serde(skip)]
    changed: Changed,
}

/// What is only counted, in the current lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Counters {
    /// Runs: ok, error and interrupted.
    executions: u64,
    /// Runs that failed.
    errors: u64,
}

/// What an entry changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Whether there is anything to tell: the student is seen as another than
    /// before, or there is a line or an alert.
    pub changed: bool,
    /// The line for the consoles' feed, if the entry was a client's event.
    pub event: Option<EventBrief>,
    /// Alerts that opened, closed, or have another reason.
    pub alerts: Vec<Alert>,
    /// What was concluded and belongs into the journal, in this order.
    pub facts: Vec<Fact>,
}

/// One entry on its way through the fold: its place and time, and what came of it so far.
struct Step<'a> {
    key: &'a SessionKey,
    position: Position,
    /// What people see.
    at: Timestamp,
    /// What silences are measured by.
    heard: Heard,
    outcome: Outcome,
}

impl Step<'_> {
    fn moment(&self) -> Moment {
        Moment {
            at: self.at,
            heard: self.heard,
        }
    }

    /// Concludes `kind`. `name` and `about` are the cause: the same two give the same id.
    fn conclude(&mut self, name: &str, about: &str, kind: FactKind) {
        self.outcome.facts.push(Fact {
            id: FactId::computed(&[name, about]),
            classroom: self.key.classroom.clone(),
            cause: self.position,
            kind,
        });
    }
}

impl SessionState {
    /// A student of whom nothing is known yet.
    pub fn new(key: SessionKey) -> Self {
        Self {
            key,
            position: Position::ZERO,
            is_default_address: false,
            last_activity: None,
            lesson: None,
            counters: Counters::default(),
            session: None,
            clocks: Clocks::default(),
            base: Base::default(),
            recent: Recent::default(),
            told_calls: Told::default(),
            told_stuck: Told::default(),
            present: Present::default(),
            changed: Changed::default(),
        }
    }

    /// Whose state it is.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }

    /// The last position that is in it.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The lesson that the counters are of.
    pub fn lesson(&self) -> Option<&LessonId> {
        self.lesson.as_ref()
    }

    /// Folds one entry in. `lesson` is the one that a client's event belongs
    /// to; for other records it means nothing.
    ///
    /// An entry at or below [`SessionState::position`] changes nothing. Of the
    /// facts only the end of the lesson counts (then live counters and alerts
    /// are of no lesson): the session's own are in its state already.
    pub fn apply(&mut self, entry: &Entry, lesson: Option<&LessonId>) -> Outcome {
        if entry.position <= self.position {
            return Outcome::default();
        }
        self.position = entry.position;
        let key = self.key.clone();
        let moment = entry.moment().max(self.last_activity.unwrap_or_default());
        let mut step = Step {
            key: &key,
            position: entry.position,
            at: moment.at,
            heard: moment.heard,
            outcome: Outcome::default(),
        };
        // a client's event has a line, whatever else it does
        let is_event = matches!(entry.record, Record::Event(_));
        let before = (!is_event).then(|| self.view());
        match &entry.record {
            Record::Event(accepted) => self.apply_event(accepted, lesson, &mut step),
            Record::Timer(timer) => self.apply_timer(timer, &mut step),
            Record::Fact(fact) => self.apply_fact(fact, &mut step),
            Record::Rejection(_) | Record::DeadLetter(_) => {}
        }
        let is_seen = before.is_some_and(|before| self.view() != before);
        let outcome = &mut step.outcome;
        outcome.changed = is_seen || outcome.event.is_some() || !outcome.alerts.is_empty();
        step.outcome
    }

    fn apply_event(
        &mut self,
        accepted: &AcceptedEvent,
        lesson: Option<&LessonId>,
        step: &mut Step<'_>,
    ) {
        if accepted.student != self.key.student || accepted.classroom != self.key.classroom {
            return;
        }
        let event = &accepted.event;
        step.outcome.event = Some(EventBrief::of(&self.key.student, event));
        self.settle(step);
        // what should have ended before this event ends first: no timer may have come
        self.end_call_if_silent(step);
        work::continue_or_begin(&mut self.session, step);
        if let Some(lesson) = lesson
            && self.lesson.as_ref() != Some(lesson)
        {
            self.reset_lesson(Some(lesson.clone()), step);
        }
        self.last_activity = Some(step.moment());
        self.is_default_address |= event.has_default_address();
        self.count(event);
        self.put_in_order(event, step);
    }

    fn count(&mut self, event: &Event) {
        if let Some(status) = event.execution_status().filter(|status| status.is_run()) {
            self.counters.executions += 1;
            self.counters.errors += u64::from(status == ExecutionStatus::Error);
        }
    }

    fn put_in_order(&mut self, event: &Event, step: &mut Step<'_>) {
        let order = self.clocks.order(event.time, step.moment());
        if self.base.is_late(order) {
            self.find_missing(event, step);
            self.hear_late_beat(event, step);
            return;
        }
        let brief = Brief::of(event, order, step.position, step.moment(), &self.present);
        let call = self.present.help.clone();
        let stuck = self.present.trouble.stuck.clone();
        let over = if self.recent.insert(brief) {
            self.fold_newest()
        } else {
            self.fold_recent_again()
        };
        if let Some(oldest) = self.recent.beyond_bound() {
            self.base.fold(&oldest, step);
            self.changed.settle(&oldest);
        }
        let after = &self.present;
        self.told_calls
            .tell(call.as_ref(), &over.calls, after.help.as_ref(), step);
        let standing = after.trouble.stuck.as_ref();
        self.told_stuck
            .tell(stuck.as_ref(), &over.stuck, standing, step);
    }

    /// The common case: the newest event that has come is the newest that happened.
    fn fold_newest(&mut self) -> Over {
        let mut over = Over::default();
        let mut rows = Overlay {
            base: &self.base.rows,
            changed: &mut self.changed,
        };
        if let Some(brief) = self.recent.newest() {
            self.present.fold(brief, &mut rows, &self.key, &mut over);
        }
        over
    }

    fn fold_recent_again(&mut self) -> Over {
        let mut over = Over::default();
        self.present = self.base.present.clone();
        self.changed.clear();
        let mut rows = Overlay {
            base: &self.base.rows,
            changed: &mut self.changed,
        };
        for brief in self.recent.iter() {
            self.present.fold(brief, &mut rows, &self.key, &mut over);
        }
        over
    }

    /// What is older than 3 s is in its place for good. The present stays as it is.
    fn settle(&mut self, step: &mut Step<'_>) {
        for brief in self.recent.settled(step.heard) {
            self.base.fold(&brief, step);
            self.changed.settle(&brief);
        }
    }

    /// What has come is in its place for good: something happens now that is no event.
    fn settle_all(&mut self, step: &mut Step<'_>) {
        for brief in self.recent.take() {
            self.base.fold(&brief, step);
        }
        self.changed.clear();
    }

    /// An event came too late to be in its place; a run of it that was missing is no longer missing.
    fn find_missing(&mut self, event: &Event, step: &mut Step<'_>) {
        let Some(count) = brief::count_of(event) else {
            return;
        };
        let notebook = event.notebook.as_deref().map(Label::new);
        let notebook = notebook.as_ref().or(self.present.place.notebook.as_ref());
        let session = brief::session_of(event);
        self.base.kernels.find(count, session, notebook, step);
    }

    /// Silence is measured by what is heard: also a beat that came late says that the student still asks.
    ///
    /// A request that opened in the last 3 s has been heard just now.
    fn hear_late_beat(&mut self, event: &Event, step: &Step<'_>) {
        if event.kind == EventKind::Help
            && let Some(call) = &mut self.base.present.help
        {
            call.hear(step.moment());
            // nothing opens or ends by that: what is over was told
            self.fold_recent_again();
        }
    }

    fn end_call_if_silent(&mut self, step: &mut Step<'_>) {
        // so old, all its beats are in the base
        if let Some(call) = self.present.help.take_if(|call| call.is_silent(step.heard)) {
            self.base.present.help = None;
            call.tell_silent(step);
            self.told_calls.note(call.id(), step.heard);
        }
    }

    fn end_call_by_timer(&mut self, help: &HelpId, last_beat: Heard, step: &mut Step<'_>) {
        let call = self.present.help.as_ref();
        if !call.is_some_and(|call| call.is_meant(help, last_beat)) {
            return;
        }
        if self.base.present.help != self.present.help {
            self.settle_all(step);
        }
        self.base.present.help = None;
        if let Some(call) = self.present.help.take() {
            call.tell_silent(step);
            self.told_calls.note(call.id(), step.heard);
        }
    }

    fn apply_timer(&mut self, timer: &Timer, step: &mut Step<'_>) {
        if timer.classroom != self.key.classroom || timer.cause.student() != Some(&self.key.student)
        {
            return;
        }
        self.settle(step);
        match &timer.cause {
            TimerCause::HelpSilent {
                help, last_beat, ..
            } => self.end_call_by_timer(help, *last_beat, step),
            TimerCause::SessionSilent {
                session,
                last_event,
                ..
            } => work::end_by_timer(&mut self.session, session, *last_event, step),
            // that the time has passed is all it says
            TimerCause::OrderSettled { .. } | TimerCause::LessonSilent { .. } => {}
        }
    }

    fn apply_fact(&mut self, fact: &Fact, step: &mut Step<'_>) {
        if let FactKind::LessonEnded { lesson, .. } = &fact.kind
            && self.lesson.as_ref() == Some(lesson)
        {
            self.settle(step);
            self.reset_lesson(None, step);
        }
    }

    /// Live counters, errors in a row, the last run and alerts are of one lesson; place, help and session are not.
    fn reset_lesson(&mut self, lesson: Option<LessonId>, step: &mut Step<'_>) {
        self.lesson = lesson;
        self.counters = Counters::default();
        self.settle_all(step);
        let stuck = self.present.trouble.stuck.take();
        self.base.forget_lesson(step);
        self.present.forget_runs();
        if let Some(stuck) = stuck {
            stuck.tell_ended(step.at, step);
            self.told_stuck.note(stuck.id(), step.heard);
        }
    }
}
