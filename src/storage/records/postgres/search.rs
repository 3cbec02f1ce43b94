//! Indexes of the parts of words (trigrams), so that a search in code and errors reads what may match.
//!
//! They need an extension that the role may not be allowed to create; without
//! them a search is right all the same, and reads every execution of its range.

use sea_orm::sqlx::{self, PgConnection, Row as _};

use super::fault::unavailable;
use crate::storage::records::RecordsError;

const EXTENSION: &str = "CREATE EXTENSION IF NOT EXISTS pg_trgm";
const INDEXES: [&str; 2] = [
    "CREATE INDEX IF NOT EXISTS executions_code_parts ON executions USING gin (code gin_trgm_ops)",
    "CREATE INDEX IF NOT EXISTS executions_error_parts ON executions USING gin (error gin_trgm_ops)",
];

/// Makes what is missing and can be made; what cannot is told in one line.
pub(super) async fn prepare(session: &mut PgConnection) -> Result<(), RecordsError> {
    if is_extended(session).await.map_err(unavailable)? {
        return make_indexes(session).await;
    }
    match sqlx::raw_sql(EXTENSION).execute(&mut *session).await {
        Ok(_) => make_indexes(session).await,
        Err(sqlx::Error::Database(refusal)) => {
            tracing::warn!(
                store = "records",
                error = refusal.message(),
                "the extension pg_trgm is missing and this role may not create it: searches read every execution of their range; let an administrator run CREATE EXTENSION pg_trgm in this database, then start again"
            );
            Ok(())
        }
        Err(error) => Err(unavailable(error)),
    }
}

async fn is_extended(session: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm')")
        .fetch_one(session)
        .await?;
    row.try_get(0)
}

async fn make_indexes(session: &mut PgConnection) -> Result<(), RecordsError> {
    for index in INDEXES {
        match sqlx::raw_sql(index).execute(&mut *session).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(refusal)) => {
                tracing::warn!(
                    store = "records",
                    error = refusal.message(),
                    "an index for searches could not be made: they read every execution of their range"
                );
            }
            Err(error) => return Err(unavailable(error)),
        }
    }
    Ok(())
}
