//! Who signed out at one node is known at the others.
//!
//! Each node keeps its own list; this carries what is new both ways, and
//! everything after Redis was away. Without Redis a console that signed out
//! stays signed in at other nodes until Redis is back, at most until its time
//! is over ([`crate::keys::SESSION_LASTS`]).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::cmd;
use ::redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use async_trait::async_trait;
use mimamori_actors::domain::Timestamp;
use mimamori_actors::tree::Part;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::names::SIGN_OUTS;
use super::{Ground, Task};
use crate::keys::{SESSION_LASTS, SessionToken};
use crate::redis::{Backoff, RedisFault};

/// So many are kept in Redis, about; a node that starts with an empty disk learns of no more.
const MOST: usize = 10_000;
/// So long Redis keeps a read that finds nothing new: a sign-out leaves no later.
const BLOCK: Duration = Duration::from_millis(500);
/// Entries read at once.
const ENTRIES: usize = 1_000;
/// Whether Redis still has them is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A node's own list.
#[async_trait]
pub trait SignOuts: Send + Sync + 'static {
    /// Moves on with every session that signs out.
    fn changes(&self) -> watch::Receiver<u64>;

    /// All that are known and not over by themselves.
    fn all(&self, now: Timestamp) -> Vec<SessionToken>;

    /// From now on the sessions are worth nothing.
    async fn add(&self, sessions: Vec<SessionToken>);
}

/// Carries sign-outs both ways in this runtime until the task is ended.
pub fn carry(ground: Ground, list: Arc<dyn SignOuts>, part: Part) -> Task {
    Task::spawn("sign-outs", move || {
        let carrier = Carrier {
            ground: ground.clone(),
            list: Arc::clone(&list),
            part: part.clone(),
            place: "0-0".to_owned(),
            carried: BTreeSet::new(),
        };
        carrier.run()
    })
}

struct Carrier {
    ground: Ground,
    list: Arc<dyn SignOuts>,
    part: Part,
    place: String,
    /// Those that Redis has.
    carried: BTreeSet<[u8; 16]>,
}

impl Carrier {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut is_said = false;
        loop {
            let begun = Instant::now();
            let Err(fault) = self.carry().await;
            if begun.elapsed() > 2 * LOOK_EVERY {
                backoff.reset();
                is_said = false;
            }
            match &fault {
                // the others say so
                RedisFault::Away(_) => tracing::debug!(error = %fault, "sign-outs are not carried"),
                RedisFault::Refused(_) => {
                    self.part.limps(&fault.to_string());
                    metrics::counter!("mimamori_bus_sign_outs_refused_total").increment(1);
                    if !std::mem::replace(&mut is_said, true) {
                        tracing::error!(redis = %self.ground.redis, error = %fault, "sign-outs are not carried: who signs out at one node stays signed in at the others");
                    }
                }
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Until Redis fails.
    async fn carry(&mut self) -> Result<Infallible, RedisFault> {
        let mut connection = self.ground.redis.connect_to_block(BLOCK).await?;
        let mut changes = self.list.changes();
        self.compare(&mut connection).await?;
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                if self.is_another(&mut connection).await? {
                    self.compare(&mut connection).await?;
                }
                self.part.works();
            }
            if changes.has_changed().unwrap_or(false) {
                changes.mark_unchanged();
                self.send(&mut connection).await?;
            }
            self.read(&mut connection, Some(BLOCK)).await?;
        }
    }

    /// Whether what we read on is gone, or another stream whose end is before our place.
    async fn is_another(&self, connection: &mut MultiplexedConnection) -> Result<bool, RedisFault> {
        let end: StreamRangeReply = cmd("XREVRANGE")
            .arg(SIGN_OUTS)
            .arg(&["+", "-", "COUNT", "1"])
            .query_async(connection)
            .await?;
        let place = number_of(&self.place);
        Ok(match end.ids.first() {
            Some(last) => number_of(&last.id) < place,
            None => place > Some((0, 0)),
        })
    }

    /// Redis may have lost some: all are read, and those that it lacks are sent.
    async fn compare(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisFault> {
        self.place = "0-0".to_owned();
        self.carried.clear();
        while self.read(connection, None).await? {}
        self.send(connection).await
    }

    /// Says whether there may be more.
    async fn read(
        &mut self,
        connection: &mut MultiplexedConnection,
        block: Option<Duration>,
    ) -> Result<bool, RedisFault> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(ENTRIES);
        if let Some(block) = block {
            read.arg("BLOCK").arg(block.as_millis() as u64);
        }
        read.arg("STREAMS").arg(SIGN_OUTS).arg(&self.place);
        let found: Option<StreamReadReply> = read.query_async(connection).await?;
        let keys = found.into_iter().flat_map(|found| found.keys);
        let entries: Vec<StreamId> = keys.flat_map(|key| key.ids).collect();
        if let Some(last) = entries.last() {
            self.place.clone_from(&last.id);
            self.take_in(entries.iter().filter_map(session_of).collect())
                .await;
        }
        Ok(entries.len() == ENTRIES)
    }

    async fn take_in(&mut self, mut sessions: Vec<SessionToken>) {
        let now = self.ground.clock.now();
        // what says that it lasts longer than any of ours is none
        let is_ours =
            |it: &SessionToken| it.expires > now && it.expires <= now.plus(SESSION_LASTS * 2);
        sessions.retain(|session| self.carried.insert(session.id) && is_ours(session));
        if !sessions.is_empty() {
            self.list.add(sessions).await;
        }
        if self.carried.len() > 2 * MOST {
            // known to the list all the same: at worst one is sent twice
            self.carried.clear();
        }
    }

    async fn send(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisFault> {
        for session in self.list.all(self.ground.clock.now()) {
            if self.carried.contains(&session.id) {
                continue;
            }
            let _id: String = cmd("XADD")
                .arg(SIGN_OUTS)
                .arg(&["MAXLEN", "~"])
                .arg(MOST)
                .arg(&["*", "s"])
                .arg(session.id_hex())
                .arg("x")
                .arg(session.expires.as_millis())
                .query_async(connection)
                .await?;
            self.carried.insert(session.id);
            metrics::counter!("mimamori_bus_sign_outs_total").increment(1);
        }
        let lasts = (SESSION_LASTS * 2).as_millis() as u64;
        let _is_there: bool = cmd("PEXPIRE")
            .arg(SIGN_OUTS)
            .arg(lasts)
            .query_async(connection)
            .await?;
        Ok(())
    }
}

/// The two numbers of a place in a stream.
fn number_of(place: &str) -> Option<(u64, u64)> {
    let (millis, number) = place.split_once('-')?;
    Some((millis.parse().ok()?, number.parse().ok()?))
}

fn session_of(entry: &StreamId) -> Option<SessionToken> {
    let id: String = entry.get("s")?;
    let expires: i64 = entry.get("x")?;
    Some(SessionToken {
        id: SessionToken::id_from_hex(&id)?,
        expires: Timestamp::from_millis(expires),
    })
}

#[cfg(test)]
mod tests;
