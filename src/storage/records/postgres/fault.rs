//! What PostgreSQL's error codes ask for.

use std::io;

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{DbErr, RuntimeErr, sqlx};

use crate::storage::records::RecordsError;
use crate::storage::records::fault::{Cure, database_error};

/// Five characters, the first two of them the class:
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
struct SqlState(String);

/// Data exception, integrity constraint violation, program limit exceeded (a row
/// too large for an index): about the row itself, so the same row will fail again.
const WILL_NEVER_PASS: [&str; 3] = ["22", "23", "54"];
/// A limit of time that we set ourselves.
const QUERY_CANCELED: &str = "57014";
/// The server is starting or stopping.
const CANNOT_CONNECT_NOW: [&str; 4] = ["57P01", "57P02", "57P03", TOO_MANY];
/// A serialisation failure: at a replica, whose log had to go on over what was being read.
const SERIALIZATION_FAILURE: &str = "40001";
/// It has no room for a further connection.
const TOO_MANY: &str = "53300";

/// Whether a server that was asked for the first time may be there later: nothing
/// answers, or it says that it is starting or full.
pub(in crate::storage::records) fn is_away(error: &RecordsError) -> bool {
    let RecordsError::Unavailable(DbErr::Conn(RuntimeErr::SqlxError(cause))) = error else {
        return false;
    };
    match cause.as_ref() {
        // of TLS: what a certificate says will be the same later
        sqlx::Error::Io(failure) => failure.kind() != io::ErrorKind::InvalidData,
        sqlx::Error::Database(refusal) => refusal
            .code()
            .is_some_and(|code| CANNOT_CONNECT_NOW.contains(&code.as_ref())),
        _ => false,
    }
}

/// Whether a replica broke it off because what it replayed took away what was being read.
pub(in crate::storage::records) fn is_conflict_with_recovery(error: &RecordsError) -> bool {
    let RecordsError::Unavailable(error) = error else {
        return false;
    };
    let refusal = database_error(error);
    refusal.is_some_and(|it| it.code().as_deref() == Some(SERIALIZATION_FAILURE))
}

impl SqlState {
    fn cure(&self) -> Cure {
        let class = self.0.get(..2).unwrap_or_default();
        if WILL_NEVER_PASS.contains(&class) {
            return Cure::None;
        }
        if self.0 == QUERY_CANCELED {
            return Cure::AskForLess;
        }
        // connections, locks, serialisation, resources, rights, a table that is missing: not about the row
        Cure::Later
    }
}

pub(in crate::storage::records) fn cure(refusal: &dyn DatabaseError) -> Cure {
    match refusal.code() {
        Some(code) => SqlState(code.into_owned()).cure(),
        None => Cure::Later,
    }
}

/// An error of the driver, in the form that is looked through for its cure.
pub(in crate::storage::records) fn unavailable(error: sqlx::Error) -> RecordsError {
    DbErr::Conn(RuntimeErr::SqlxError(error.into())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_row_is_refused_for_good() {
        for (state, cure) in [
            ("22021", Cure::None),
            ("23505", Cure::None),
            ("54000", Cure::None),
            ("08006", Cure::Later),
            ("53100", Cure::Later),
            ("57P01", Cure::Later),
            ("40P01", Cure::Later),
            ("55P03", Cure::Later),
            ("42P01", Cure::Later),
            ("57014", Cure::AskForLess),
        ] {
            assert_eq!(SqlState(state.to_owned()).cure(), cure, "{state}");
        }
    }
}
