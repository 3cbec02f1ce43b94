mod heard;
mod kept;
mod kernels;
mod order;
mod people;
mod place;
mod silence;
mod trouble;

use std::sync::Arc;

use serde_json::Map;

use super::*;
use crate::domain::{
    AlertState, CellType, ClassroomId, EndedBy, EventId, EventKind, HelpId, SessionId, StudentId,
    StudentStatus, StudentView,
};

/// A student whose entries a test writes one after the other.
pub(super) struct Bench {
    pub(super) state: SessionState,
    pub(super) lesson: Option<LessonId>,
    position: u64,
    now: Timestamp,
    /// For how long the server was away.
    absent: std::time::Duration,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            state: SessionState::new(key()),
            lesson: Some(LessonId::new("les_1")),
            position: 0,
            now: Timestamp::from_millis(1_800_000_000_000),
            absent: std::time::Duration::ZERO,
        }
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now.plus(std::time::Duration::from_secs(seconds));
        self
    }

    /// Time passes and the server is not there.
    fn be_away(&mut self, seconds: u64) -> &mut Self {
        self.absent += std::time::Duration::from_secs(seconds);
        self.wait(seconds)
    }

    fn heard(&self) -> Heard {
        Heard::of_wall(self.now.minus(self.absent))
    }

    fn entry(&mut self, record: Record) -> Entry {
        self.position += 1;
        Entry {
            position: Position(self.position),
            received_at: self.now,
            heard_at: self.heard(),
            record,
        }
    }

    fn record(&mut self, record: Record) -> Outcome {
        let entry = self.entry(record);
        let lesson = self.lesson.clone();
        self.state.apply(&entry, lesson.as_ref())
    }

    pub(super) fn event(&mut self, event: Event) -> Outcome {
        self.record(accepted(event))
    }

    /// An event that happened so long ago by the client's clock.
    fn late(&mut self, ms: i64, event: Event) -> Outcome {
        let time = Timestamp::from_millis(self.now.as_millis() - ms);
        self.event(Event { time, ..event })
    }

    /// The timers that are due are written and read.
    fn housekeep(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for cause in self.due() {
            let one = self.timer(cause);
            outcome.facts.extend(one.facts);
            outcome.alerts.extend(one.alerts);
        }
        outcome
    }

    /// What stands open, by kind.
    fn alert_kinds(&self) -> Vec<&'static str> {
        let alerts = self.view().alerts;
        alerts.iter().map(|alert| alert.kind.as_str()).collect()
    }

    fn ok(&mut self, cell: &str) -> Outcome {
        self.event(run("nb.ipynb", cell, false))
    }

    fn error(&mut self, cell: &str) -> Outcome {
        self.event(run("nb.ipynb", cell, true))
    }

    fn send(&mut self, kind: EventKind, notebook: Option<&str>) -> Outcome {
        self.event(Event {
            notebook: notebook.map(str::to_owned),
            ..event(kind)
        })
    }

    fn timer(&mut self, cause: TimerCause) -> Outcome {
        let classroom = key().classroom;
        self.record(Record::Timer(Timer { classroom, cause }))
    }

    /// The timers that are due by now, as housekeeping would write them.
    fn due(&self) -> Vec<TimerCause> {
        let deadlines = self.state.deadlines();
        let due = deadlines.into_iter().filter(|(at, _)| *at <= self.heard());
        due.map(|(_, cause)| cause).collect()
    }

    fn view(&self) -> StudentView {
        self.state.view()
    }

    fn place(&self) -> (Option<String>, Option<String>) {
        let view = self.view();
        let owned = |text: Option<Arc<str>>| text.as_deref().map(str::to_owned);
        (owned(view.notebook), owned(view.cell_id))
    }
}

pub(super) fn key() -> SessionKey {
    SessionKey {
        classroom: ClassroomId::new("default"),
        student: StudentId::new("stu_1"),
    }
}

pub(super) fn accepted(event: Event) -> Record {
    let SessionKey { classroom, student } = key();
    Record::Event(Box::new(AcceptedEvent {
        classroom,
        student,
        event,
    }))
}

pub(super) fn event(kind: EventKind) -> Event {
    Event {
        id: EventId::new("e"),
        kind,
        time: Timestamp::from_millis(0),
        address: "hanako@example.ac.jp".to_owned(),
        name: None,
        team: None,
        client_session: None,
        notebook: None,
        cell_id: None,
        cell_index: None,
        cell_type: None,
        code: None,
        execution_count: None,
        has_error: None,
        error_message: None,
        result: None,
        execution_duration_ms: None,
        metadata: Map::new(),
        cut: Vec::new(),
    }
}

pub(super) fn run(notebook: &str, cell: &str, has_error: bool) -> Event {
    Event {
        notebook: Some(notebook.to_owned()),
        cell_id: Some(cell.to_owned()),
        cell_index: Some(1),
        cell_type: Some(CellType::Code),
        code: Some("f()".to_owned()),
        execution_count: Some(1),
        has_error: Some(has_error),
        error_message: has_error.then(|| "NameError: f".to_owned()),
        ..event(EventKind::CellExecuted)
    }
}

fn interrupted(cell: &str) -> Event {
    Event {
        error_message: Some("KeyboardInterrupt: ".to_owned()),
        ..run("nb.ipynb", cell, true)
    }
}

fn skipped(cell: &str) -> Event {
    Event {
        execution_count: None,
        ..run("nb.ipynb", cell, false)
    }
}

fn markdown(cell: &str) -> Event {
    Event {
        cell_type: Some(CellType::Markdown),
        ..skipped(cell)
    }
}

fn unknown(cell: &str) -> Event {
    Event {
        has_error: None,
        ..skipped(cell)
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The names and ids of facts, short enough to be compared with what a person expects.
fn said_by(outcome: &Outcome) -> Vec<&'static str> {
    let name = |fact: &Fact| match &fact.kind {
        FactKind::SessionBegun { .. } => "session begun",
        FactKind::SessionEnded { .. } => "session ended",
        FactKind::HelpOpened { .. } => "help opened",
        FactKind::HelpEnded { ended_by, .. } => match ended_by {
            EndedBy::Student => "help ended by student",
            EndedBy::Instructor => "help ended by instructor",
            EndedBy::Silence => "help ended by silence",
        },
        FactKind::AlertChanged { alert, .. } => match alert.state {
            AlertState::Open => "alert open",
            AlertState::Snoozed => "alert snoozed",
            AlertState::Closed => "alert closed",
        },
        FactKind::LessonBegun { .. } => "lesson begun",
        FactKind::LessonEnded { .. } => "lesson ended",
    };
    outcome.facts.iter().map(name).collect()
}

#[test]
fn executions_count_what_ran_and_errors_what_failed() {
    let mut bench = Bench::new();

    bench.ok("a");
    bench.error("a");
    bench.event(interrupted("a"));
    bench.event(skipped("b"));
    bench.event(markdown("c"));
    bench.event(unknown("d"));

    let view = bench.view();
    assert_eq!((view.executions, view.errors), (3, 1));
}

#[test]
fn an_entry_at_or_below_the_position_changes_nothing() {
    let mut bench = Bench::new();
    let entry = bench.entry(accepted(run("nb.ipynb", "a", true)));
    let lesson = bench.lesson.clone();
    bench.state.apply(&entry, lesson.as_ref());
    let before = bench.state.clone();

    let outcome = bench.state.apply(&entry, lesson.as_ref());

    assert_eq!(outcome, Outcome::default());
    assert_eq!(bench.state, before);
}

#[test]
fn the_view_stands_on_the_last_position_applied() {
    let mut bench = Bench::new();
    bench.ok("a");
    bench.ok("b");

    assert_eq!(bench.view().position, Position(2));
    assert_eq!(bench.state.position(), Position(2));
}

#[test]
fn another_students_event_changes_nothing_to_be_seen() {
    let mut bench = Bench::new();
    let entry = bench.entry(Record::Event(Box::new(AcceptedEvent {
        classroom: key().classroom,
        student: StudentId::new("stu_2"),
        event: run("nb.ipynb", "a", false),
    })));

    let outcome = bench.state.apply(&entry, None);

    assert_eq!(outcome, Outcome::default());
    assert_eq!(bench.view().executions, 0);
}

#[test]
fn a_clients_event_gives_a_line_for_the_feed() {
    let outcome = Bench::new().ok("a");

    let line = outcome.event.unwrap();
    assert_eq!(line.status, Some(ExecutionStatus::Ok));
    assert_eq!(line.student, key().student);
    assert!(outcome.changed);
}

#[test]
fn name_and_team_are_those_sent_last_and_never_empty() {
    let mut bench = Bench::new();
    let introduced = |name: &str, team: Option<&str>| Event {
        name: text(name),
        team: team.map(str::to_owned),
        ..event(EventKind::NotebookSaved)
    };

    bench.event(introduced("花子", Some("チームB")));
    bench.event(introduced("山田花子", None));
    bench.event(introduced(" ", Some("")));

    let view = bench.view();
    assert_eq!(
        (&*view.name, view.team.as_deref()),
        ("山田花子", Some("チームB"))
    );
}

#[test]
fn last_activity_does_not_fall_when_the_journals_clock_does() {
    let mut bench = Bench::new();
    bench.wait(100).ok("a");
    let before = bench.view().last_activity;
    bench.now = bench.now.minus(std::time::Duration::from_secs(50));

    bench.ok("b");

    assert_eq!(bench.view().last_activity, before);
}
