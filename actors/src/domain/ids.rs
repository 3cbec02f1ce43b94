//! Names of things. Each is a type of its own, so that none is taken for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.0)
            }
        }
    };
}

text_id!(
    /// A classroom: the unit of authorisation and of fan-out. The key of an ingest address names it.
    ClassroomId
);
text_id!(
    /// A student, opaque and stable: a keyed hash of the address, never the address.
    StudentId
);
text_id!(
    /// What a client calls an event; unique only together with classroom and student.
    EventId
);
text_id!(
    /// A student's continuous work, from its first event to 30 minutes of silence.
    SessionId
);
text_id!(
    /// One request for help, from the first `help` to its end.
    HelpId
);
text_id!(
    /// One alert about a student.
    AlertId
);
text_id!(
    /// A lesson of a classroom.
    LessonId
);
text_id!(
    /// A derived fact; computed from its cause, so that the same cause gives the same id again.
    FactId
);
text_id!(
    /// The journal as a whole: offsets in every store are kept by (journal, consumer).
    JournalId
);

/// An id computed from what caused it: `prefix` and 128 bits of a hash over `parts`.
fn computed(prefix: &str, parts: &[&str]) -> Arc<str> {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // the length first: ("ab", "c") is not ("a", "bc")
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let hex = hasher.finalize().to_hex();
    format!("{prefix}{}", &hex[..32]).into()
}

macro_rules! computed_id {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// The id that this cause always gives.
            pub fn computed(parts: &[&str]) -> Self {
                Self(computed($prefix, parts))
            }
        }
    };
}

computed_id!(SessionId, "ses_");
computed_id!(HelpId, "hlp_");
computed_id!(AlertId, "alr_");
computed_id!(LessonId, "les_");
computed_id!(FactId, "fct_");

/// A student within a classroom: the key of a session actor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    /// The classroom that the ingest key named.
    pub classroom: ClassroomId,
    /// The student.
    pub student: StudentId,
}

impl SessionKey {
    /// The id of what an entry about this student is the cause of; `kind` says what that is.
    ///
    /// The only place where such an id is made up: a replay must give it again.
    pub fn caused<T>(&self, kind: &str, by: Position, id: impl FnOnce(&[&str]) -> T) -> T {
        let by = by.to_string();
        id(&[kind, self.classroom.as_str(), self.student.as_str(), &by])
    }
}

/// Where an entry stands in the journal: 1, 2, 3 …; never given twice, never going back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
