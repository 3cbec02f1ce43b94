//! Hands over to Redis what the classrooms told, beats every second, and holds the lease.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{cmd, pipe};
use mimamori_actors::domain::{ClassroomId, JournalId};
use mimamori_actors::feed::{Delta, Opening};
use mimamori_actors::tree::{Census, Part};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Ground;
use super::beat::{BEATS_EVERY, Beat};
use super::hand_over::{HandOver, Work};
use super::names::{
    self, ADD_DELTAS, KEEP, KEPT_FOR, LEASE_LASTS, PUBLISHER, PUT_SNAPSHOT, TAKE_LEASE,
};
use crate::redis::{Backoff, Redis, RedisFault};

/// After a start so long is waited for what is read again: less than consoles elsewhere notice.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks whether that is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A connection that lasted longer than this carried.
const CARRIES_AFTER: Duration = Duration::from_secs(5);

/// That there are two who publish is said again so often.
const SAY_RIVAL_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Publisher {
    redis: Redis,
    signs: String,
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
    /// The mark of the last snapshot of each classroom that this connection put down.
    marks: BTreeMap<ClassroomId, String>,
}

impl Publisher {
    pub(super) fn new(
        ground: &Ground,
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
            redis: ground.redis.clone(),
            signs: ground.signs.clone(),
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

    /// What a start reads again is nobody's news: counters would seem to fall. Until it is
    /// all told, which is looked at: the vital signs are atomics, and wake nobody.
    async fn await_the_present(&self) {
        let begun = Instant::now();
        while begun.elapsed() < CATCHES_UP_WITHIN && !self.census.is_caught_up() {
            sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn run(self) {
        self.await_the_present().await;
        self.carry().await;
    }

    pub(super) async fn carry(mut self) {
        let mut backoff = Backoff::default();
        let mut is_said = false;
        loop {
            let begun = Instant::now();
            let Err(fault) = self.publish().await;
            // one that lets us in and takes nothing (it loads, it is full, a replica) is away all the while
            if begun.elapsed() > CARRIES_AFTER {
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
            if self.rival.is_none() && self.send_some(&mut connection).await? {
                // a new epoch, which who reads takes up when a beat says so, or the lease is gone
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
            signs: Some(self.signs.clone()),
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
            .arg(1)
            .arg(PUBLISHER)
            .arg(&self.me)
            .arg(former)
            .arg(LEASE_LASTS.as_millis() as u64)
            .arg(beat)
            .arg(KEPT_FOR.as_millis() as u64)
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
        // one that has not been put down yet is no surprise
        if self.marks.is_empty() {
            return Ok(());
        }
        let mut ask = pipe();
        for (classroom, mark) in &self.marks {
            ask.cmd("EVAL")
                .arg(KEEP)
                .arg(2)
                .arg(names::deltas(classroom))
                .arg(names::snapshot(classroom))
                .arg(mark)
                .arg(KEPT_FOR.as_millis() as u64);
        }
        let epochs: Vec<Option<String>> = ask.query_async(connection).await?;
        let found = self.marks.keys().zip(epochs);
        // either of the two may have been taken away alone
        let lost: Vec<_> = found
            .filter(|(classroom, epoch)| !self.hand_over.is_epoch(classroom, epoch.as_deref()))
            .map(|(classroom, _)| classroom.clone())
            .collect();
        for classroom in lost {
            metrics::counter!("mimamori_bus_forgotten_total").increment(1);
            self.marks.remove(&classroom);
            self.hand_over.lost(&classroom);
        }
        Ok(())
    }

    /// Sends what waits now: what comes meanwhile has its turn behind the next beat. Says
    /// whether that beat is due at once.
    async fn send_some(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> Result<bool, RedisFault> {
        let mut is_anew = false;
        for classroom in self.hand_over.classrooms() {
            let Some(work) = self.hand_over.take(&classroom) else {
                continue;
            };
            is_anew |= work.deltas.is_empty();
            if !self.send(connection, &classroom, work).await? {
                // it was taken away, or is another's: who asks for it learns which
                self.begin_anew();
                return Ok(true);
            }
        }
        Ok(is_anew)
    }

    /// `false` if the lease is not ours.
    async fn send(
        &mut self,
        connection: &mut MultiplexedConnection,
        classroom: &ClassroomId,
        work: Work,
    ) -> Result<bool, RedisFault> {
        if !work.deltas.is_empty() {
            if !self.add_deltas(connection, classroom, &work.deltas).await? {
                return Ok(false);
            }
            metrics::counter!("mimamori_bus_deltas_total").increment(work.deltas.len() as u64);
        }
        if let Some(opening) = work.snapshot {
            let put = self
                .put_snapshot(connection, &opening, work.is_new_epoch)
                .await?;
            let Some(mark) = put else {
                return Ok(false);
            };
            self.marks.insert(classroom.clone(), mark);
            metrics::counter!("mimamori_bus_snapshots_total").increment(1);
        }
        Ok(true)
    }

    /// `false` without the lease.
    async fn add_deltas(
        &self,
        connection: &mut MultiplexedConnection,
        classroom: &ClassroomId,
        deltas: &[Arc<Delta>],
    ) -> Result<bool, RedisFault> {
        let mut add = cmd("EVAL");
        add.arg(ADD_DELTAS)
            .arg(2)
            .arg(PUBLISHER)
            .arg(names::deltas(classroom))
            .arg(&self.me)
            .arg(names::MOST_ENTRIES)
            .arg(KEPT_FOR.as_millis() as u64);
        for delta in deltas {
            add.arg(&delta.epoch)
                .arg(delta.after)
                .arg(delta.seq)
                .arg(&delta.frame[..]);
        }
        let added: Option<u64> = add.query_async(connection).await?;
        Ok(added.is_some())
    }

    /// The place of its mark; nothing without the lease.
    async fn put_snapshot(
        &self,
        connection: &mut MultiplexedConnection,
        opening: &Opening,
        is_new_epoch: bool,
    ) -> Result<Option<String>, RedisFault> {
        let frame = opening.frame();
        let classroom = &opening.classroom;
        let put: Option<String> = cmd("EVAL")
            .arg(PUT_SNAPSHOT)
            .arg(3)
            .arg(PUBLISHER)
            .arg(names::deltas(classroom))
            .arg(names::snapshot(classroom))
            .arg(&self.me)
            .arg(&opening.epoch)
            .arg(opening.seq)
            .arg(&frame[..])
            .arg(u8::from(is_new_epoch))
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
