//! The second tier: Redis, which nodes share. Slow or gone, it only costs the hit.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{cmd, pipe};
use bytes::Bytes;
use mimamori_actors::domain::ClassroomId;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::name::{Name, classroom_number};
use super::packed::{pack, unpack};
use crate::breaker::Breaker;
use crate::config::RedisUrl;
use crate::redis::{Line, Patience, Redis, RedisFault};

/// Whoever reads waits for it no longer than this.
const HIT_WITHIN: Duration = Duration::from_millis(20);
/// Who fills in, or forgets, may wait a little longer; nobody waits for them to.
const PATIENCE: Patience = Patience {
    connect: Duration::from_millis(500),
    answer: Duration::from_millis(500),
};
/// Who forgets a classroom waits so long for a connection.
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);
/// Values on their way there at a time; what comes beyond is not filled in.
const FILLING: u32 = 32;
/// Beyond the longest term: nothing that was computed before is filled in later.
const NOTED_FOR: Duration = Duration::from_secs(2 * 3_600);
const PREFIX: &str = "mimamori:cache:1";

#[derive(Debug)]
pub(super) struct Far {
    line: Line,
    breaker: Breaker,
    filling: Arc<Semaphore>,
}

/// Sets `KEYS[1]` for `ARGV[3]` ms, unless what it was computed from (`ARGV[1]`) stands among
/// what is gone of the classroom (`KEYS[2]`).
const FILL: &str = "if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then return 0 end \
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1";

impl Far {
    /// Connects in the background.
    pub(super) fn new(url: &RedisUrl) -> Result<Self, RedisFault> {
        Ok(Self {
            line: Redis::new(url, PATIENCE)?.line(),
            breaker: Breaker::telling("mimamori_cache_redis_used_bool"),
            filling: Arc::new(Semaphore::new(FILLING as usize)),
        })
    }

    /// The value by this name and how long it is still to be kept (at most so long), if it is
    /// there and comes in time.
    pub(super) async fn find(&self, name: &Name, term: Duration) -> Option<(Bytes, Duration)> {
        if !self.breaker.allows() {
            return None;
        }
        let key = key(name);
        let mut both = pipe();
        both.get(&key).pttl(&key);
        let asked = self.line.ask_all::<(Option<Vec<u8>>, i64)>(&both);
        match timeout(HIT_WITHIN, asked).await {
            Err(_) => self.fail("slow"),
            Ok(Err(RedisFault::Away(_))) => self.fail("away"),
            Ok(Err(RedisFault::Refused(_))) => self.fail("refused"),
            Ok(Ok((packed, left))) => {
                self.breaker.succeeded();
                let left = Duration::from_millis(u64::try_from(left).ok()?).min(term);
                let Some(value) = unpack(name, &packed?) else {
                    count("malformed");
                    return None;
                };
                Some((value, left))
            }
        }
    }

    fn fail(&self, reason: &'static str) -> Option<(Bytes, Duration)> {
        count(reason);
        self.breaker.failed();
        None
    }

    /// Fills a value in, beside whoever asked for it; `anew` names what it was computed from.
    pub(super) fn fill(&self, name: Name, anew: i64, value: Bytes, term: Duration) {
        let permit = Arc::clone(&self.filling).try_acquire_owned();
        let (Ok(permit), true) = (permit, self.line.is_up()) else {
            metrics::counter!("mimamori_cache_unfilled_total").increment(1);
            return;
        };
        let line = self.line.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let packed = tokio::task::spawn_blocking(move || pack(&name, &value)).await;
            let Some(packed) = packed.ok().filter(|packed| !packed.is_empty()) else {
                return;
            };
            let mut fill = cmd("EVAL");
            fill.arg(FILL).arg(2).arg(key(&name));
            fill.arg(gone(name.classroom)).arg(anew).arg(packed);
            fill.arg(u64::try_from(term.as_millis()).unwrap_or(u64::MAX));
            if line.ask::<i64>(&fill).await.is_err() {
                metrics::counter!("mimamori_cache_unfilled_total").increment(1);
            }
        });
    }

    /// Takes away what is kept of a classroom, by any node, and lets nothing in that was
    /// computed from the rows of before, which `before` named, if there were any.
    pub(super) async fn forget(
        &self,
        classroom: &ClassroomId,
        before: Option<i64>,
    ) -> Result<(), RedisFault> {
        let connected = timeout(CONNECTED_WITHIN, self.line.up()).await;
        connected.map_err(|_| RedisFault::Away("not connected".to_owned()))?;
        let classroom = classroom_number(classroom);
        if let Some(before) = before {
            self.note_gone(classroom, before).await?;
        }
        let pattern = format!("{PREFIX}:{classroom:016x}:*");
        let mut cursor: u64 = 0;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern);
            let (next, keys): (u64, Vec<Vec<u8>>) =
                self.line.ask(scan.arg("COUNT").arg(1_000)).await?;
            if !keys.is_empty() {
                let () = self.line.ask(cmd("UNLINK").arg(keys)).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn note_gone(&self, classroom: u64, anew: i64) -> Result<(), RedisFault> {
        let key = gone(classroom);
        let mut note = pipe();
        note.atomic().sadd(&key, anew).ignore();
        note.cmd("PEXPIRE").arg(&key).arg(noted_ms()).ignore();
        self.line.ask_all(&note).await
    }

    /// Returns once it is connected again and asked again.
    #[cfg(test)]
    pub(super) async fn rested(&self) {
        self.line.up().await;
        self.breaker.succeeded();
    }

    /// Returns once everything that is on its way there has arrived.
    #[cfg(test)]
    pub(super) async fn settled(&self) {
        self.line.up().await;
        let all = self.filling.acquire_many(FILLING).await;
        drop(all.unwrap());
    }
}

fn noted_ms() -> u64 {
    u64::try_from(NOTED_FOR.as_millis()).unwrap_or(u64::MAX)
}

fn key(name: &Name) -> String {
    let rest: String = name.rest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}:{:016x}:{rest}", name.classroom)
}

/// Where it stands what of the classroom's rows is gone.
fn gone(classroom: u64) -> String {
    format!("{PREFIX}:gone:{classroom:016x}")
}

fn count(reason: &'static str) {
    metrics::counter!("mimamori_cache_redis_failures_total", "reason" => reason).increment(1);
}
