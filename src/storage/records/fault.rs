//! What can go wrong with the records, cut by what the caller will do next.

use mimamori_actors::ports::StoreError;
use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::sqlite;

/// Why the records did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// Busy, too slow, or the disk failed: it may do so later.
    #[error("the records are unavailable: {0}")]
    Unavailable(#[source] DbErr),
    /// It took longer than a reading call may take and was broken off.
    #[error("the records took too long")]
    TooSlow,
    /// A rule of the tables was broken: it never will.
    #[error("the records refuse it: {0}")]
    Refused(#[source] DbErr),
    /// What was to be written, or what stands there, has no form that can be written or read.
    #[error("a row has no valid form: {0}")]
    Malformed(String),
}

/// What a database's refusal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// The same may pass later.
    Later,
    /// It took too long.
    AskForLess,
    /// It will never pass.
    None,
}

impl From<DbErr> for RecordsError {
    fn from(error: DbErr) -> Self {
        match cure(&error) {
            Cure::None => Self::Refused(error),
            Cure::AskForLess => Self::TooSlow,
            Cure::Later => Self::Unavailable(error),
        }
    }
}

impl From<RecordsError> for StoreError {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Unavailable(_) | RecordsError::TooSlow => {
                Self::Unavailable(error.to_string())
            }
            RecordsError::Refused(_) | RecordsError::Malformed(_) => {
                Self::Refused(error.to_string())
            }
        }
    }
}

fn cure(error: &DbErr) -> Cure {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))
    | DbErr::Conn(RuntimeErr::SqlxError(cause))) = error
    else {
        return Cure::Later;
    };
    match cause.as_ref() {
        sqlx::Error::Database(refusal) => sqlite::fault::cure(refusal.as_ref()),
        _ => Cure::Later,
    }
}
