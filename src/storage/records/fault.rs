//! What can go wrong with the records, cut by what the caller will do next.

use mimamori_actors::ports::StoreError;
use sea_orm::{DbErr, RuntimeErr, sqlx};

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

impl From<DbErr> for RecordsError {
    fn from(error: DbErr) -> Self {
        match primary_code(&error) {
            Some(code) if WILL_NEVER_PASS.contains(&code) => Self::Refused(error),
            Some(SQLITE_INTERRUPT) => Self::TooSlow,
            Some(_) | None => Self::Unavailable(error),
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

/// <https://www.sqlite.org/rescode.html>: interrupted, here always by the reader's time limit.
const SQLITE_INTERRUPT: i32 = 9;
/// TOOBIG, CONSTRAINT, MISMATCH, RANGE: about the row itself, so the same row will fail again.
const WILL_NEVER_PASS: [i32; 4] = [18, 19, 20, 25];

/// SQLite's result code without its extension.
fn primary_code(error: &DbErr) -> Option<i32> {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))
    | DbErr::Conn(RuntimeErr::SqlxError(cause))) = error
    else {
        return None;
    };
    let sqlx::Error::Database(refusal) = cause.as_ref() else {
        return None;
    };
    let code: i32 = refusal.code()?.parse().ok()?;
    Some(code & 0xff)
}
