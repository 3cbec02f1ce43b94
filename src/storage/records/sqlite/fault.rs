//! What SQLite's result codes ask for.

use sea_orm::sqlx::error::DatabaseError;

use crate::storage::records::fault::Cure;

/// <https://www.sqlite.org/rescode.html>: interrupted, here always by the reader's time limit.
const SQLITE_INTERRUPT: i32 = 9;
/// TOOBIG, CONSTRAINT, MISMATCH, RANGE: about the row itself, so the same row will fail again.
const WILL_NEVER_PASS: [i32; 4] = [18, 19, 20, 25];

pub(in crate::storage::records) fn cure(refusal: &dyn DatabaseError) -> Cure {
    let code = refusal.code().and_then(|code| code.parse::<i32>().ok());
    // without its extension
    match code.map(|code| code & 0xff) {
        Some(code) if WILL_NEVER_PASS.contains(&code) => Cure::None,
        Some(SQLITE_INTERRUPT) => Cure::AskForLess,
        Some(_) | None => Cure::Later,
    }
}
