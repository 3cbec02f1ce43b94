//! Only one server writes into a database: two journals would give the same positions.
//!
//! The lock belongs to the session that writes, so it ends with the process,
//! however that ends. A session of our own that the server has not yet missed
//! (the network broke) is ended by us; one of another process is left alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::{self, PgConnection, Row as _};
use tokio::time::{sleep, timeout};

use super::fault::unavailable;
use crate::storage::records::RecordsError;

/// Whoever writes holds the advisory lock of this number ("writer").
const LOCK: i64 = 0x7772_6974_6572;
/// Between two looks whether the other one has ended.
pub(super) const CLAIMS_EVERY: Duration = Duration::from_millis(200);
/// A server that takes longer for the lock is not there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Whether this process is the one that writes.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// What only looks at or repairs the tables needs no lock.
    pub(super) is_wanted: AtomicBool,
    /// The last session that had it: the server's process and when that began, for a
    /// server that was started again gives the same numbers again.
    last: Mutex<Option<String>>,
}

impl Claim {
    /// Takes the lock for this session.
    pub(super) async fn take(&self, session: &mut PgConnection) -> Result<(), RecordsError> {
        if !self.is_wanted.load(Ordering::Acquire) {
            return Ok(());
        }
        let taken = timeout(ANSWERS_WITHIN, self.taken_from(session)).await;
        let taken = taken.unwrap_or_else(|_| {
            let reason = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(sqlx::Error::Io(reason))
        });
        match taken.map_err(unavailable)? {
            Taken::IsOurs | Taken::IsFree => Ok(()),
            Taken::By(holder) => Err(RecordsError::Unfit(format!(
                "another server writes into it ({holder}): only one may, stop that one or give this one a database of its own"
            ))),
        }
    }

    /// Waits for what is about to end.
    async fn taken_from(&self, session: &mut PgConnection) -> Result<Taken, sqlx::Error> {
        loop {
            match self.try_to_take(session).await? {
                Taken::IsFree => sleep(CLAIMS_EVERY / 4).await,
                taken @ (Taken::IsOurs | Taken::By(_)) => return Ok(taken),
            }
        }
    }

    async fn try_to_take(&self, session: &mut PgConnection) -> Result<Taken, sqlx::Error> {
        let row = sqlx::query(TAKING)
            .bind(LOCK)
            .fetch_one(&mut *session)
            .await?;
        if row.try_get(0)? {
            *self.last() = row.try_get(1)?;
            return Ok(Taken::IsOurs);
        }
        let holder = sqlx::query(HOLDER)
            .bind(LOCK)
            .fetch_optional(&mut *session)
            .await?;
        let Some(holder) = holder else {
            return Ok(Taken::IsFree);
        };
        let who: Option<String> = holder.try_get(2)?;
        if who.is_none() || who != *self.last() {
            return Ok(Taken::By(holder.try_get(1)?));
        }
        let process: i32 = holder.try_get(0)?;
        // the network broke, and the server has not missed us yet
        sqlx::query("SELECT pg_terminate_backend($1)")
            .bind(process)
            .execute(session)
            .await?;
        Ok(Taken::IsFree)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // a plain assignment under this lock cannot be left half done
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How it stands with the lock.
enum Taken {
    IsOurs,
    /// It is, or will be in a moment.
    IsFree,
    /// Another process has it.
    By(String),
}

/// Whether the lock is this session's, and who that is.
const TAKING: &str = "SELECT pg_try_advisory_lock($1), \
    (SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())";
/// A lock of 64 bits stands there in two halves.
const HOLDER: &str = "SELECT l.pid, 'its process ' || l.pid || COALESCE(', from ' || host(a.client_addr), '') \
    || COALESCE(', since ' || to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', ''), \
    a.pid || ' ' || a.backend_start \
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND (l.classid::bigint << 32) | l.objid::bigint = $1";
