//! What the journal keeps.
//!
//! An [`Entry`] is a [`Record`] with its place and time. Positions and times
//! are given by the journal when it writes, so a record says neither.

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::event::Event;
use super::ids::{ClassroomId, FactId, HelpId, LessonId, Position, SessionId, StudentId};
use super::time::{Heard, Moment, Timestamp};

/// A record in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// When it was accepted; never runs backwards along the positions.
    pub received_at: Timestamp,
    /// How long the server had listened by then; never runs backwards along the positions.
    pub heard_at: Heard,
    /// What it says.
    pub record: Record,
}

impl Entry {
    /// When it was accepted, on both scales.
    pub fn moment(&self) -> Moment {
        Moment {
            at: self.received_at,
            heard: self.heard_at,
        }
    }
}

/// Everything that is ever written into the journal.
///
/// New fields need `#[serde(default)]`: entries of the version before are read as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A client's event.
    Event(Box<AcceptedEvent>),
    /// A client's event that was refused, kept for inspection.
    Rejection(Rejection),
    /// Something must happen by silence.
    Timer(Timer),
    /// What an actor concluded and must not be lost.
    Fact(Box<Fact>),
    /// What a consumer could not take.
    DeadLetter(DeadLetter),
}

/// A client's event, with whose it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AcceptedEvent {
    /// The classroom that the ingest key named.
    pub classroom: ClassroomId,
    /// The student.
    pub student: StudentId,
    /// What the client said.
    pub event: Event,
}

/// A refused event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    /// The classroom that the ingest key named.
    pub classroom: ClassroomId,
    /// Its index in the request.
    pub index: u32,
    /// The code of the contract, for example `unknown_type`.
    pub code: String,
    /// For a person to read.
    pub detail: String,
    /// Where in the request.
    pub pointer: String,
    /// The id the client gave, if it may be repeated in an answer.
    pub event_id: Option<String>,
    /// The event as sent, cut at 64 KiB. Hostile text.
    pub payload: String,
}

/// Written by housekeeping when a silence is over. It does nothing if its cause is no longer current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Where.
    pub classroom: ClassroomId,
    /// What is over.
    pub cause: TimerCause,
}

/// What a timer is about. Its times are heard ones: they name the cause, people don't see them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum TimerCause {
    /// No beat of this request for 30 s.
    HelpSilent {
        /// Whose.
        student: StudentId,
        /// Which request.
        help: HelpId,
        /// The last beat the timer knew of: a later one keeps the request alive.
        last_beat: Heard,
    },
    /// No event of this session for 30 minutes.
    SessionSilent {
        /// Whose.
        student: StudentId,
        /// Which session.
        session: SessionId,
        /// The last event the timer knew of.
        last_event: Heard,
    },
    /// The order of a student's last events can no longer change, and something waits for that.
    OrderSettled {
        /// Whose.
        student: StudentId,
        /// When the last of them is settled.
        due: Heard,
    },
    /// No event of this classroom for 90 minutes.
    LessonSilent {
        /// Which lesson.
        lesson: LessonId,
        /// The last event the timer knew of.
        last_event: Heard,
    },
}

impl TimerCause {
    /// The student it is about; nothing if it is about the classroom.
    pub fn student(&self) -> Option<&StudentId> {
        match self {
            Self::HelpSilent { student, .. }
            | Self::SessionSilent { student, .. }
            | Self::OrderSettled { student, .. } => Some(student),
            Self::LessonSilent { .. } => None,
        }
    }
}

/// What an actor concluded. The id is computed from the cause: concluded twice, written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Computed from the cause.
    pub id: FactId,
    /// Where.
    pub classroom: ClassroomId,
    /// The entry that caused it.
    pub cause: Position,
    /// What it says.
    #[serde(flatten)]
    pub kind: FactKind,
}

/// The kinds of facts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum FactKind {
    /// A student's work began.
    SessionBegun {
        /// Which.
        session: SessionId,
        /// Whose.
        student: StudentId,
        /// When its first event was received.
        begun: Timestamp,
    },
    /// A student's work ended by 30 minutes of silence.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Whose.
        student: StudentId,
        /// When its first event was received.
        begun: Timestamp,
        /// When its last event was received.
        ended: Timestamp,
        /// How many events it had.
        events: u64,
    },
    /// A student asked for help.
    HelpOpened {
        /// Which.
        help: HelpId,
        /// Whose.
        student: StudentId,
        /// When it was received.
        since: Timestamp,
        /// The cell the student was on.
        cell_id: Option<String>,
    },
    /// A request for help ended.
    HelpEnded {
        /// Which.
        help: HelpId,
        /// Whose.
        student: StudentId,
        /// When it opened.
        since: Timestamp,
        /// When it ended: for silence, the last beat.
        until: Timestamp,
        /// By what.
        ended_by: EndedBy,
        /// The cell the student was on when it opened.
        cell_id: Option<String>,
    },
    /// An alert opened, or closed: `alert.state` tells.
    AlertChanged {
        /// The alert as it is now.
        alert: Alert,
        /// When it changed.
        at: Timestamp,
    },
    /// A lesson began.
    LessonBegun {
        /// Which.
        lesson: LessonId,
        /// When its first event was received.
        begun: Timestamp,
    },
    /// A lesson ended.
    LessonEnded {
        /// Which.
        lesson: LessonId,
        /// When its first event was received.
        begun: Timestamp,
        /// When its last event was received.
        ended: Timestamp,
        /// By what.
        ended_by: EndedBy,
    },
}

/// What ended a request for help or a lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The student pressed the button again.
    Student,
    /// An instructor resolved it.
    Instructor,
    /// Nothing came for too long.
    Silence,
}

impl EndedBy {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Instructor => "instructor",
            Self::Silence => "silence",
        }
    }
}

/// What a consumer could not take. A record itself, so that it depends on no store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Computed from consumer and position.
    pub id: FactId,
    /// Where, if the entry had a classroom.
    pub classroom: Option<ClassroomId>,
    /// Who could not take it: `sessions`, `records`, `series`.
    pub consumer: String,
    /// The entry that could not be taken.
    pub position: Position,
    /// Why.
    pub reason: String,
}

impl Record {
    /// The classroom it belongs to.
    pub fn classroom(&self) -> Option<&ClassroomId> {
        match self {
            Self::Event(accepted) => Some(&accepted.classroom),
            Self::Rejection(rejection) => Some(&rejection.classroom),
            Self::Timer(timer) => Some(&timer.classroom),
            Self::Fact(fact) => Some(&fact.classroom),
            Self::DeadLetter(letter) => letter.classroom.as_ref(),
        }
    }
}
