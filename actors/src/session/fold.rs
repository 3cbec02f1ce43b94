//! The fold `(state, entry) -> (state, changes)`: what a student's entries mean.
//!
//! No clock: time is the entry's, `received_at` for people and `heard_at` for silences. An entry at or below the
//! state's position changes nothing, so replay is harmless. What the fold
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
//! # Parts of the state
//!
//! `Counters` are sums: the order of arrival does not matter to them. `Present`
//! is where it does (place, errors in a row, last run): it is a value of its
//! own, so that it can be kept for a moment and folded again in another order.

mod alerts;
mod help;
mod present;
mod work;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::domain::{
    AcceptedEvent, Alert, Entry, Event, EventBrief, EventKind, ExecutionStatus, Fact, FactId,
    FactKind, Heard, LessonId, Moment, OpenHelp, Position, Record, SessionKey, StudentView, Timer,
    TimerCause, Timestamp,
};

use alerts::OpenAlert;
use present::Present;
use work::OpenSession;

pub use help::HELP_SILENCE;
pub use present::MAX_CELLS;
pub use work::SESSION_SILENCE;

/// The version that [`SessionState::encode`] writes, as the first byte.
pub const FORMAT: u8 = 1;

/// Why kept bytes are not a state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another version wrote them: fold the student again from the journal.
    #[error("session state of unknown format {0}")]
    UnknownFormat(u8),
    /// They are damaged: fold the student again from the journal.
    #[error("damaged session state")]
    Damaged(#[source] Option<serde_json::Error>),
}

/// Everything known of one student in one classroom.
///
/// Bounded: texts are limited at the door, and at most [`MAX_CELLS`] cells with
/// errors are remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionState {
    key: SessionKey,
    position: Position,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    /// When the last event was received; never falls, even if the journal's clock did.
    last_activity: Option<Moment>,
    /// Whose counters these are; nothing before the first lesson and after one has ended.
    lesson: Option<LessonId>,
    counters: Counters,
    present: Present,
    session: Option<OpenSession>,
    help: Option<OpenHelp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    alerts: Vec<OpenAlert>,
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
    /// Whether the student is to be published again.
    pub changed: bool,
    /// The line for the consoles' feed, if the entry was a client's event.
    pub event: Option<EventBrief>,
    /// Alerts that opened or closed.
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

    /// The parts that name this cause for an id of its own: `kind` at this place in the journal.
    fn cause<T>(&self, kind: &str, id: impl Fn(&[&str]) -> T) -> T {
        let position = self.position.to_string();
        id(&[
            kind,
            self.key.classroom.as_str(),
            self.key.student.as_str(),
            &position,
        ])
    }
}

impl SessionState {
    /// A student of whom nothing is known yet.
    pub fn new(key: SessionKey) -> Self {
        Self {
            key,
            position: Position::ZERO,
            name: String::new(),
            team: None,
            last_activity: None,
            lesson: None,
            counters: Counters::default(),
            present: Present::default(),
            session: None,
            help: None,
            alerts: Vec::new(),
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
        match &entry.record {
            Record::Event(accepted) => self.apply_event(accepted, lesson, &mut step),
            Record::Timer(timer) => self.apply_timer(timer, &mut step),
            Record::Fact(fact) => self.apply_fact(fact, &mut step),
            Record::Rejection(_) | Record::DeadLetter(_) => {}
        }
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
        step.outcome.changed = true;
        step.outcome.event = Some(EventBrief::of(&self.key.student, event));
        // what should have ended before this event ends first: no timer may have come
        help::end_if_silent(&mut self.help, step);
        work::continue_or_begin(&mut self.session, step);
        if let Some(lesson) = lesson
            && self.lesson.as_ref() != Some(lesson)
        {
            self.reset_lesson(Some(lesson.clone()), step);
        }
        self.last_activity = Some(step.moment());
        self.introduce(event);
        self.present.move_by(event);
        match event.kind {
            EventKind::CellExecuted => self.run(event, step),
            EventKind::Help => {
                let cell = event.cell_id.as_ref().or(self.present.cell_id());
                help::beat(&mut self.help, cell, step);
            }
            EventKind::HelpStop => help::stop(&mut self.help, step),
            EventKind::NotebookOpened | EventKind::NotebookSaved | EventKind::NotebookClosed => {}
        }
    }

    fn run(&mut self, event: &Event, step: &mut Step<'_>) {
        let Some(status) = event.execution_status().filter(|status| status.is_run()) else {
            return;
        };
        self.counters.executions += 1;
        self.counters.errors += u64::from(status == ExecutionStatus::Error);
        let errors_in_a_row = self.present.run(status, step.position);
        let place = self.present.place();
        alerts::close_what_is_over(&mut self.alerts, &place, status, step);
        alerts::open_if_stuck(&mut self.alerts, &place, status, errors_in_a_row, step);
    }

    /// Name and team are those sent last; an empty one says nothing.
    fn introduce(&mut self, event: &Event) {
        if let Some(name) = said(event.name.as_ref()) {
            self.name.clone_from(name);
        }
        if let Some(team) = said(event.team.as_ref()) {
            self.team = Some(team.clone());
        }
    }

    fn apply_timer(&mut self, timer: &Timer, step: &mut Step<'_>) {
        if timer.classroom != self.key.classroom || timer.cause.student() != Some(&self.key.student)
        {
            return;
        }
        match &timer.cause {
            TimerCause::HelpSilent {
                help, last_beat, ..
            } => help::end_by_timer(&mut self.help, help, *last_beat, step),
            TimerCause::SessionSilent {
                session,
                last_event,
                ..
            } => work::end_by_timer(&mut self.session, session, *last_event, step),
            TimerCause::LessonSilent { .. } => {}
        }
    }

    fn apply_fact(&mut self, fact: &Fact, step: &mut Step<'_>) {
        if let FactKind::LessonEnded { lesson, .. } = &fact.kind
            && self.lesson.as_ref() == Some(lesson)
        {
            self.reset_lesson(None, step);
            step.outcome.changed = true;
        }
    }

    /// Live counters, errors in a row, the last run and alerts are of one lesson; place, help and session are not.
    fn reset_lesson(&mut self, lesson: Option<LessonId>, step: &mut Step<'_>) {
        self.lesson = lesson;
        self.counters = Counters::default();
        self.present.forget_runs();
        alerts::close_all(&mut self.alerts, step);
    }

    /// The student as it is published.
    pub fn view(&self) -> StudentView {
        StudentView {
            position: self.position,
            id: self.key.student.clone(),
            name: self.name.clone(),
            team: self.team.clone(),
            notebook: self.present.notebook().cloned(),
            cell_id: self.present.cell_id().cloned(),
            cell_index: self.present.cell_index(),
            executions: self.counters.executions,
            errors: self.counters.errors,
            consecutive_errors: self.present.errors_in_a_row(),
            is_last_run_failed: self.present.is_last_run_failed(),
            last_activity: self.last_activity,
            help: self.help.clone(),
            alerts: self.alerts.iter().map(|open| open.alert.clone()).collect(),
        }
    }

    /// When which silence will be over, if nothing comes: whose timer to write then.
    pub fn deadlines(&self) -> Vec<(Heard, TimerCause)> {
        let student = &self.key.student;
        let help = self.help.as_ref().map(|open| {
            let cause = TimerCause::HelpSilent {
                student: student.clone(),
                help: open.shown.id.clone(),
                last_beat: open.last_beat.heard,
            };
            (open.last_beat.heard.plus(HELP_SILENCE), cause)
        });
        let session = self.session.as_ref().map(|open| {
            let cause = TimerCause::SessionSilent {
                student: student.clone(),
                session: open.id.clone(),
                last_event: open.last_event.heard,
            };
            (open.last_event.heard.plus(SESSION_SILENCE), cause)
        });
        help.into_iter().chain(session).collect()
    }

    /// The state as bytes: one of format version, then JSON.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        serde_json::to_writer(&mut bytes, self)
            .expect("a state has only text keys, and a vector takes every write");
        bytes
    }

    /// The state that these bytes are.
    ///
    /// # Errors
    /// When another version wrote them, or they are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes.split_first() {
            Some((&FORMAT, json)) => {
                serde_json::from_slice(json).map_err(|error| StateError::Damaged(Some(error)))
            }
            Some((&other, _)) => Err(StateError::UnknownFormat(other)),
            None => Err(StateError::Damaged(None)),
        }
    }
}

/// The text, if it says anything.
fn said(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.trim().is_empty())
}
