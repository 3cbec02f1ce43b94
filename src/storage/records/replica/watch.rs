//! Looks at both servers again and again, and says whether the replica can be read.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::postgres::PgConnectOptions;
use tokio::join;
use tokio::time::{Instant, sleep};

use super::judge::Judge;
use super::{Level, Replica, Standing, Tell, Unused};
use crate::storage::records::postgres::looks::{self, Identity, LogPlace, Looking};
use crate::storage::records::postgres::reading_at;
use crate::storage::records::{PostgresAddress, RecordsError};

/// Between two looks: several fit into the second that a replica may be behind.
const LOOKS_EVERY: Duration = Duration::from_millis(250);
/// Between two looks at a replica that can't be read: doubled up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Watch {
    known: Arc<Replica>,
    at: PostgresAddress,
    replica: Side,
    primary: Side,
    /// Which database the primary was when it was seen last.
    identity: Option<Identity>,
    run: Option<Run>,
    /// The run of a replica that had more than its primary: it stays out until its server is
    /// started again.
    ahead: Option<looks::Run>,
    tell: Tell,
}

/// A server, and the session that asks it.
struct Side {
    options: PgConnectOptions,
    session: Option<Looking>,
}

/// What belongs to one run of the replica, and ends with it.
struct Run {
    judge: Judge,
    pool: DatabaseConnection,
}

impl Side {
    fn of(address: &PostgresAddress) -> Result<Self, RecordsError> {
        Ok(Self {
            options: address.options()?,
            session: None,
        })
    }

    /// The session, made if there is none.
    async fn session(&mut self) -> Result<&mut Looking, RecordsError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Looking::at(&self.options).await?,
        };
        Ok(self.session.insert(session))
    }

    /// Where the log of a primary ends, and which database it is.
    async fn end(&mut self) -> Result<(LogPlace, Identity), RecordsError> {
        let session = self.session().await?;
        let end = session.end().await.map(|end| (end, session.identity));
        if end.is_err() {
            self.session = None;
        }
        end
    }

    /// Up to where a replica shows the log; nothing of a server that is none.
    async fn replayed(&mut self) -> Result<Option<LogPlace>, RecordsError> {
        let replayed = self.session().await?.replayed().await;
        if replayed.is_err() {
            self.session = None;
        }
        replayed
    }
}

impl Watch {
    pub(super) fn new(
        known: Arc<Replica>,
        replica: &PostgresAddress,
        primary: &PostgresAddress,
        tell: Tell,
    ) -> Result<Self, RecordsError> {
        Ok(Self {
            known,
            at: replica.clone(),
            replica: Side::of(replica)?,
            primary: Side::of(primary)?,
            identity: None,
            run: None,
            ahead: None,
            tell,
        })
    }

    /// Looks for as long as this is polled.
    pub(super) async fn keep(mut self) {
        let mut wait = LOOKS_EVERY;
        loop {
            let standing = self.look().await;
            wait = match &standing {
                Ok(_) | Err(Unused::Unseen | Unused::Behind) => LOOKS_EVERY,
                Err(Unused::Away(_) | Unused::NoReplica | Unused::Another | Unused::Ahead) => {
                    (wait * 2).min(LONGEST_WAIT)
                }
            };
            self.publish(standing);
            sleep(wait).await;
        }
    }

    async fn look(&mut self) -> Standing {
        let at = Instant::now();
        let (end, replayed) = join!(self.primary.end(), self.replica.replayed());
        let end = match end {
            Ok((end, identity)) => {
                self.identity = Some(identity);
                Some(end)
            }
            Err(error) => {
                tracing::debug!(store = "records", %error, "the primary does not say how far it is");
                None
            }
        };
        if replayed.is_err() {
            // whoever waits on a connection that was left half way is not let go by it
            self.run = None;
        }
        let replayed = replayed.map_err(|error| Unused::Away(error.to_string()))?;
        let replayed = replayed.ok_or(Unused::NoReplica)?;
        self.is_of_the_primary()?;
        let began = self.replica.session.as_ref().map(|it| it.run.clone());
        if began.is_some() && began == self.ahead {
            return Err(Unused::Ahead);
        }
        let run = self.run()?;
        let (seen, pool) = (run.judge.look(at, end, replayed), run.pool.clone());
        if seen == Err(Unused::Ahead) {
            self.ahead = began;
        }
        let seen = seen?;
        Ok(Level {
            pool,
            through: seen.through,
            is_alone: seen.is_alone,
        })
    }

    fn is_of_the_primary(&self) -> Result<(), Unused> {
        let session = self.replica.session.as_ref();
        match (self.identity, session.map(|it| it.identity)) {
            (Some(primary), Some(replica)) if primary != replica => Err(Unused::Another),
            _ => Ok(()),
        }
    }

    /// What is known of this run of the replica; begun anew with each session.
    fn run(&mut self) -> Result<&mut Run, Unused> {
        let run = match self.run.take() {
            Some(run) => run,
            None => Run {
                judge: Judge::default(),
                pool: self
                    .pool()
                    .map_err(|error| Unused::Away(error.to_string()))?,
            },
        };
        Ok(self.run.insert(run))
    }

    fn pool(&self) -> Result<DatabaseConnection, RecordsError> {
        let session = self.replica.session.as_ref();
        let session = session.ok_or_else(|| RecordsError::NotYet("no session".to_owned()))?;
        reading_at(&self.at, session.run.clone())
    }

    fn publish(&self, standing: Standing) {
        let told = match &standing {
            Ok(_) => Ok(()),
            Err(reason) => Err(reason.clone()),
        };
        let through = self.run.as_ref().and_then(|run| run.judge.through());
        if let (Ok(()) | Err(Unused::Behind), Some(through)) = (&told, through) {
            let lag = through.elapsed().as_secs_f64();
            metrics::gauge!("mimamori_records_replica_lag_seconds").set(lag);
        }
        let is_used = told.is_ok() && !self.known.breaker.is_resting();
        metrics::gauge!("mimamori_records_replica_used_bool").set(f64::from(u8::from(is_used)));
        let before = self.known.standing.send_replace(standing);
        log_change(&before, &told);
        (self.tell)(told.as_ref().copied());
    }
}

fn log_change(before: &Standing, now: &Result<(), Unused>) {
    match (before, now) {
        (Err(_), Ok(())) => {
            tracing::info!(store = "records", "reading calls go to the replica");
        }
        // a start, or a session that was made anew
        (_, Err(Unused::Unseen)) => {}
        (Err(before), Err(now)) if mem::discriminant(before) == mem::discriminant(now) => {}
        (_, Err(error)) => {
            if before.is_ok() {
                metrics::counter!("mimamori_records_replica_losses_total").increment(1);
            }
            tracing::warn!(store = "records", %error, "the replica is not read, reading calls go to the primary");
        }
        (Ok(_), Ok(())) => {}
    }
}

#[cfg(test)]
mod tests;
