//! Hands over to Redis what the classrooms told, beats every second, and holds the lease.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{FromRedisValue, cmd, pipe};
use mimamori_actors::domain::{ClassroomId, JournalId};
use mimamori_actors::feed::{Delta, Opening};
use mimamori_actors::tree::{Census, Part};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::beat::{BEATS_EVERY, Beat};
use super::hand_over::{HandOver, Work};
use super::names::{
    self, ADD_DELTAS, BEAT, KEPT_FOR, LEASE, LEASE_LASTS, PUT_SNAPSHOT, TAKE_LEASE,
};
use crate::redis::{Backoff, Redis, RedisFault};

/// After a start so long is waited for what is read again: less than consoles elsewhere notice.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks whether that is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// That there are two who publish is said again so often.
const SAY_RIVAL_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Publisher {
    redis: Redis,
    hand_over: Arc<HandOver>,
    /// `JOURNAL/INCARNATION`.
    me: String,
    journal: String,
    part: Part,
    census: Arc<Census>,
    beats: u64,
    /// Since when another is known to publish, and when that was last said.
    rival: Option<Instant>,
    /// May take the place of an earlier incarnation of this journal: until it has had one itself.
    is_heir: bool,
    /// The mark of the last snapshot of each classroom: the stream is kept from the one before.
    marks: BTreeMap<ClassroomId, String>,
}

impl Publisher {
    pub(super) fn new(
        redis: Redis,
        hand_over: Arc<HandOver>,
        journal: &JournalId,
        census: &Arc<Census>,
    ) -> Self {
        let mut bytes = [0; 8];
        // without random bytes two incarnations take each other for the same: the clone of a directory is not noticed
        let _ = getrandom::fill(&mut bytes);
        let incarnation = u64::from_le_bytes(bytes);
        let journal = format!("{}/", journal.as_str());
        Self {
            redis,
            hand_over,
            me: format!("{journal}{incarnation:016x}"),
            journal,
            part: super::part(census),
            census: Arc::clone(census),
            beats: 0,
            rival: None,
            is_heir: true,
            marks: BTreeMap::new(),
        }
    }

    /// What a start reads again is nobody's news: counters would seem to fall.
    async fn await_the_present(&self) {
        let begun = Instant::now();
        while begun.elapsed() < CATCHES_UP_WITHIN && !self.census.is_caught_up() {
            sleep(LOOK_EVERY).await;
        }
        sleep(LOOK_EVERY).await; // the tick that tells it
    }

    pub(super) async fn run(mut self) {
        self.await_the_present().await;
        let mut backoff = Backoff::default();
        let mut is_said = false;
        loop {
            let beats = self.beats;
            let Err(fault) = self.publish().await;
            if self.beats > beats {
                backoff.reset();
                is_said = false;
            }
            self.part.limps(&fault.to_string());
            metrics::counter!("mimamori_bus_losses_total").increment(1);
            if !std::mem::replace(&mut is_said, true) {
                tracing::warn!(redis = %self.redis, error = %fault, "the bus does not carry: consoles of this node are served, those of others are told that they are stale");
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Until Redis fails.
    async fn publish(&mut self) -> Result<Infallible, RedisFault> {
        let mut connection = self.redis.connect().await?;
        self.begin_anew();
        // without the lease nothing is taken
        self.beat(&mut connection).await?;
        let mut beats = interval(BEATS_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = beats.tick() => self.beat(&mut connection).await?,
                () = self.hand_over.arrived() => {}
            }
            if self.rival.is_none() && self.send_all(&mut connection).await? {
                // a new epoch: who reads takes it up when a beat says so
                self.beat(&mut connection).await?;
            }
        }
    }

    /// Nothing is known of what Redis has.
    fn begin_anew(&mut self) {
        self.marks.clear();
        for classroom in self.hand_over.classrooms() {
            self.hand_over.lost(&classroom);
        }
    }

    async fn beat(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisFault> {
        self.beats += 1;
        let beat = Beat {
            node: self.me.clone(),
            number: self.beats,
            classrooms: self.hand_over.stand(),
        };
        let beat = serde_json::to_string(&beat)
            .expect("a map with texts as keys and structs of text and numbers always serialises");
        let former = if self.is_heir {
            self.journal.as_str()
        } else {
            ""
        };
        let held: Option<String> = cmd("EVAL")
            .arg(TAKE_LEASE)
            .arg(2)
            .arg(LEASE)
            .arg(BEAT)
            .arg(&self.me)
            .arg(former)
            .arg(LEASE_LASTS.as_millis() as u64)
            .arg(beat)
            .query_async(connection)
            .await?;
        match held {
            Some(_other) => self.found_rival(),
            None => {
                self.is_heir = false;
                if self.rival.take().is_some() {
                    tracing::info!("the other node that published is gone: this one publishes");
                    self.begin_anew();
                }
                self.check(connection).await?;
                self.part.works();
            }
        }
        Ok(())
    }

    /// Redis may have lost what it had without losing us; and what is used is kept.
    async fn check(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisFault> {
        let classrooms = self.hand_over.classrooms();
        if classrooms.is_empty() {
            return Ok(());
        }
        let kept_for = KEPT_FOR.as_millis() as u64;
        let mut ask = pipe();
        for classroom in &classrooms {
            let (deltas, snapshot) = (names::deltas(classroom), names::snapshot(classroom));
            ask.cmd("PEXPIRE").arg(deltas).arg(kept_for).ignore();
            ask.cmd("PEXPIRE").arg(&snapshot).arg(kept_for).ignore();
            ask.cmd("HGET").arg(&snapshot).arg("e");
        }
        let epochs: Vec<Option<String>> = ask.query_async(connection).await?;
        for (classroom, epoch) in classrooms.iter().zip(epochs) {
            // one that has not been put down yet is no surprise
            let is_known = self.marks.contains_key(classroom);
            if is_known && !self.hand_over.is_epoch(classroom, epoch.as_deref()) {
                self.marks.remove(classroom);
                self.hand_over.lost(classroom);
            }
        }
        Ok(())
    }

    /// Sends everything that waits. Says whether a snapshot was among it that had to be.
    async fn send_all(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> Result<bool, RedisFault> {
        let mut is_anew = false;
        for classroom in self.hand_over.classrooms() {
            while let Some(work) = self.hand_over.take(&classroom) {
                is_anew |= work.deltas.is_empty();
                if !self.send(connection, &classroom, work).await? {
                    self.found_rival();
                    return Ok(false);
                }
            }
        }
        Ok(is_anew)
    }

    /// `false` if another holds the lease.
    async fn send(
        &mut self,
        connection: &mut MultiplexedConnection,
        classroom: &ClassroomId,
        work: Work,
    ) -> Result<bool, RedisFault> {
        if !work.deltas.is_empty() {
            let added: Option<u64> = self.add_deltas(connection, classroom, &work.deltas).await?;
            if added.is_none() {
                return Ok(false);
            }
            metrics::counter!("mimamori_bus_deltas_total").increment(work.deltas.len() as u64);
        }
        if let Some(opening) = work.snapshot {
            let keep_from = if work.is_new_epoch {
                "mark"
            } else {
                self.marks.get(classroom).map_or("", String::as_str)
            };
            let put = self.put_snapshot(connection, &opening, keep_from).await?;
            let Some(mark) = put else {
                return Ok(false);
            };
            self.marks.insert(classroom.clone(), mark);
            metrics::counter!("mimamori_bus_snapshots_total").increment(1);
        }
        Ok(true)
    }

    async fn add_deltas<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        classroom: &ClassroomId,
        deltas: &[Arc<Delta>],
    ) -> Result<T, RedisFault> {
        let mut add = cmd("EVAL");
        add.arg(ADD_DELTAS)
            .arg(2)
            .arg(LEASE)
            .arg(names::deltas(classroom))
            .arg(&self.me)
            .arg(names::MOST_ENTRIES);
        for delta in deltas {
            add.arg(&delta.epoch)
                .arg(delta.after)
                .arg(delta.seq)
                .arg(&delta.frame[..]);
        }
        Ok(add.query_async(connection).await?)
    }

    /// The place of its mark; nothing without the lease.
    async fn put_snapshot(
        &self,
        connection: &mut MultiplexedConnection,
        opening: &Opening,
        keep_from: &str,
    ) -> Result<Option<String>, RedisFault> {
        let frame = opening.frame();
        let classroom = &opening.classroom;
        let put: Option<String> = cmd("EVAL")
            .arg(PUT_SNAPSHOT)
            .arg(3)
            .arg(LEASE)
            .arg(names::deltas(classroom))
            .arg(names::snapshot(classroom))
            .arg(&self.me)
            .arg(&opening.epoch)
            .arg(opening.seq)
            .arg(&frame[..])
            .arg(keep_from)
            .arg(KEPT_FOR.as_millis() as u64)
            .query_async(connection)
            .await?;
        if put.is_some() {
            self.hand_over
                .put_down(classroom, &opening.epoch, frame.len());
        }
        Ok(put)
    }

    /// Another node takes in events and publishes to the same Redis: it goes on, and this one says so.
    fn found_rival(&mut self) {
        let reason = "another node that takes in events publishes to this Redis: only one may have bus.url point here, unless as serve.role = \"consoles\"";
        self.part.limps(reason);
        let is_said = self
            .rival
            .is_some_and(|said| said.elapsed() < SAY_RIVAL_EVERY);
        if !is_said {
            self.rival = Some(Instant::now());
            metrics::counter!("mimamori_bus_rivals_total").increment(1);
            tracing::error!(redis = %self.redis, "{reason}");
        }
    }
}
