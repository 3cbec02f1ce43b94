//! What can go wrong with the records, cut by what the caller will do next.

use mimamori_actors::domain::Position;
use mimamori_actors::ports::StoreError;
use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::postgres::PgDatabaseError;
use sea_orm::{DbErr, RuntimeErr, sqlx};

use super::{postgres, sqlite};
use crate::storage::format::UnknownFormat;

/// Why the records did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// Busy, too slow, or the disk failed: it may do so later.
    #[error("the records are unavailable: {0}")]
    Unavailable(#[source] DbErr),
    /// The database was not there when the program started, and is waited for.
    #[error("the records are not open yet: {0}")]
    NotYet(String),
    /// It took longer than a reading call may take and was broken off.
    #[error("the records took too long")]
    TooSlow,
    /// The database is another one than before, or an older state of it.
    #[error("the records are at position {found}, they were at {written} before")]
    Forgot {
        /// How far they are.
        found: Position,
        /// How far they were.
        written: Position,
    },
    /// A rule of the tables was broken: it never will.
    #[error("the records refuse it: {0}")]
    Refused(#[source] DbErr),
    /// A database is there, and cannot be used as it is.
    #[error("the database can't be used: {0}")]
    Unfit(String),
    /// A later version of the program wrote them.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
    /// What was to be written, or what stands there, has no form that can be written or read.
    #[error("a row has no valid form: {0}")]
    Malformed(String),
}

impl RecordsError {
    /// Whether there is no server, or one that lets nobody in yet: it may be there
    /// later, and nothing has to be changed for it.
    pub fn is_away(&self) -> bool {
        postgres::fault::is_away(self)
    }
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
            RecordsError::Unavailable(_)
            | RecordsError::NotYet(_)
            | RecordsError::TooSlow
            | RecordsError::Unfit(_)
            | RecordsError::Newer(_) => Self::Unavailable(error.to_string()),
            RecordsError::Forgot { .. } => Self::Forgot(error.to_string()),
            RecordsError::Refused(_) | RecordsError::Malformed(_) => {
                Self::Refused(error.to_string())
            }
        }
    }
}

fn cure(error: &DbErr) -> Cure {
    let Some(refusal) = database_error(error) else {
        return Cure::Later;
    };
    if refusal.try_downcast_ref::<PgDatabaseError>().is_some() {
        return postgres::fault::cure(refusal);
    }
    sqlite::fault::cure(refusal)
}

/// What the database itself said, if it was the database.
pub(super) fn database_error(error: &DbErr) -> Option<&dyn DatabaseError> {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))
    | DbErr::Conn(RuntimeErr::SqlxError(cause))) = error
    else {
        return None;
    };
    match cause.as_ref() {
        sqlx::Error::Database(refusal) => Some(refusal.as_ref()),
        _ => None,
    }
}
