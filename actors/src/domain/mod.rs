//! The words of the product as types: pure values, no clock, no input or output.

mod alert;
mod change;
mod event;
mod ids;
mod record;
mod student;
mod time;

pub use alert::{Alert, AlertKind, AlertState};
pub use change::{Cursor, EventBrief, SessionUpdate};
pub use event::{CellType, Event, EventKind, ExecutionStatus, Output};
pub use ids::{
    AlertId, ClassroomId, EventId, FactId, HelpId, JournalId, LessonId, Position, SessionId,
    SessionKey, StudentId,
};
pub use record::{
    AcceptedEvent, DeadLetter, EndedBy, Entry, Fact, FactKind, Record, Rejection, Timer, TimerCause,
};
pub use student::{
    ACTIVE_FOR, IDLE_FOR, OpenHelp, Person, STUCK_ERRORS, Student, StudentHelp, StudentStatus,
    StudentView,
};
pub use time::{Heard, Moment, Timestamp};
