//! What a server says of itself: which database it holds, and how far its log goes.
//!
//! Every change to a cluster stands in one log (WAL). Whatever was committed before
//! a primary told where its log ends is at a replica that has replayed it up to
//! there: <https://www.postgresql.org/docs/15/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL>.

use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, Connection as _, PgConnection, Row as _};

use super::session::{answered_within, quiet};
use crate::storage::records::RecordsError;

/// A server that takes longer to let us in is away.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);
/// One that takes longer to say how far it is hangs.
const SAYS_WITHIN: Duration = Duration::from_millis(750);

/// A place in the log: bytes since its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage::records) struct LogPlace(pub(in crate::storage::records) i64);

/// Which database it is: a replica has the same as its primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage::records) struct Identity {
    /// Given to a cluster when it was made.
    system: i64,
    database: i64,
}

/// One run of a server, from its start to its end: when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage::records) struct Run(String);

/// A session that only asks how far the server is.
pub(in crate::storage::records) struct Looking {
    session: PgConnection,
    pub(in crate::storage::records) identity: Identity,
    pub(in crate::storage::records) run: Run,
}

const BEGAN: &str = "SELECT extract(epoch FROM pg_postmaster_start_time())::text";

impl Looking {
    /// Connects, within a second.
    ///
    /// # Errors
    /// When the server does not let us in.
    pub(in crate::storage::records) async fn at(
        options: &PgConnectOptions,
    ) -> Result<Self, RecordsError> {
        let connecting = async {
            let mut session = PgConnection::connect_with(&quiet(options)).await?;
            let row = sqlx::query(
                "SELECT (SELECT system_identifier FROM pg_control_system()), \
                 (SELECT oid::int8 FROM pg_database WHERE datname = current_database())",
            )
            .fetch_one(&mut session)
            .await?;
            let identity = Identity {
                system: row.try_get(0)?,
                database: row.try_get(1)?,
            };
            let run = Run::of(&mut session).await?;
            Ok::<_, sqlx::Error>(Self {
                session,
                identity,
                run,
            })
        };
        answered_within(CONNECTS_WITHIN, connecting).await
    }

    /// Up to where everything that a primary has committed stands in its log.
    ///
    /// # Errors
    /// When it does not answer within 750 ms, or is no primary.
    pub(in crate::storage::records) async fn end(&mut self) -> Result<LogPlace, RecordsError> {
        let place = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::int8";
        let place: Option<i64> = self.say(place).await?;
        Ok(LogPlace(place.unwrap_or_default()))
    }

    /// Up to where a replica shows what stands in the log; nothing of a server that is none.
    ///
    /// # Errors
    /// When it does not answer within 750 ms.
    pub(in crate::storage::records) async fn replayed(
        &mut self,
    ) -> Result<Option<LogPlace>, RecordsError> {
        let place = "SELECT CASE WHEN pg_is_in_recovery() THEN \
             COALESCE(pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::int8, 0) END";
        Ok(self.say(place).await?.map(LogPlace))
    }

    async fn say(&mut self, question: &'static str) -> Result<Option<i64>, RecordsError> {
        let saying = async {
            let row = sqlx::query(question).fetch_one(&mut self.session).await?;
            row.try_get(0)
        };
        answered_within(SAYS_WITHIN, saying).await
    }
}

impl Run {
    async fn of(session: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(BEGAN).fetch_one(session).await?;
        Ok(Self(row.try_get(0)?))
    }

    /// Refuses a session with another server, which somebody who balances load put in place of
    /// the one that was looked at.
    pub(super) async fn is_that_of(&self, session: &mut PgConnection) -> Result<(), sqlx::Error> {
        if Self::of(session).await? == *self {
            return Ok(());
        }
        let reason = "another server answers than the one that was looked at";
        Err(sqlx::Error::Protocol(reason.to_owned()))
    }
}
