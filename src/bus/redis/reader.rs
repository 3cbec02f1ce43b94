//! Reads what another node publishes into the mirrors of this one.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use ::redis::{cmd, pipe};
use mimamori_actors::domain::ClassroomId;
use mimamori_actors::feed::{Applied, Delta, Opening};
use mimamori_actors::mirrors::{Mirrors, STALE_AFTER};
use mimamori_actors::ports::Clock;
use mimamori_actors::tree::Part;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::beat::{BEATS_EVERY, Beat};
use super::names::{self, LEASE_LASTS, PUBLISHER};
use super::sightings::{Sightings, Silence};
use super::{Ground, Task};
use crate::redis::{Backoff, RedisFault};

/// So long Redis keeps a read that finds nothing new.
const BLOCK: Duration = Duration::from_millis(500);
/// Entries read at once.
const ENTRIES: usize = 512;
const FOREIGN_KEY: &str = "auth.signing_secret (or keys/signing-key) is another one than at the node that takes in events: who signs in at one of them is nobody at the other";
/// A snapshot that did not help is looked at again after so long.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Fills the mirrors in this runtime until the task is ended, and tells their
/// consoles when that does not succeed. `part` shows how it goes.
pub fn read(ground: Ground, mirrors: Arc<Mirrors>, part: Part) -> Task {
    // whom it told what outlives a failure of the task
    let shared = Arc::new(Shared {
        mirrors,
        part,
        clock: Arc::clone(&ground.clock),
        signs: ground.signs.clone(),
        seen: Mutex::default(),
    });
    Task::spawn("reader", move || {
        let shared = Arc::clone(&shared);
        let reader = Reader::new(ground.clone(), Arc::clone(&shared));
        async move {
            tokio::join!(reader.run(), shared.look_every_second());
        }
    })
}

struct Shared {
    mirrors: Arc<Mirrors>,
    part: Part,
    clock: Arc<dyn Clock>,
    /// What signs here.
    signs: String,
    /// Held for moments only, never over an await.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    sightings: Sightings,
    /// Why nothing is read now.
    fault: Option<String>,
    /// Links and cookies of this node are worth nothing at the one that folds.
    is_foreign: bool,
    /// Those whose consoles were told that they are stale.
    stale: BTreeSet<ClassroomId>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_every_second(&self) {
        let mut looks = interval(BEATS_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look(Instant::now());
        }
    }

    /// Tells the consoles if nothing comes where something should, and when it comes again.
    fn look(&self, now: Instant) {
        let seen = &mut *self.lock();
        seen.sightings.look(now);
        for classroom in self.mirrors.classrooms() {
            let here = self.mirrors.cursor(classroom);
            let silence = seen.sightings.silence(classroom, here.as_ref(), now);
            let since = match silence {
                Silence::Since(since) => Some(since),
                Silence::For(time) => (time >= STALE_AFTER).then(|| self.clock.now().minus(time)),
            };
            match since {
                Some(since) => {
                    if seen.stale.insert(classroom.clone()) {
                        metrics::counter!("mimamori_bus_stale_total").increment(1);
                    }
                    // also those that came since
                    self.mirrors.tell_stale(classroom, since);
                }
                None if seen.stale.remove(classroom) => self.mirrors.tell_fresh(classroom),
                None => {}
            }
        }
        let is_foreign = seen
            .sightings
            .signs()
            .is_some_and(|signs| signs != self.signs);
        if is_foreign && !std::mem::replace(&mut seen.is_foreign, is_foreign) {
            metrics::counter!("mimamori_bus_foreign_keys_total").increment(1);
            tracing::error!("{FOREIGN_KEY}");
        }
        seen.is_foreign = is_foreign;
        match &seen.fault {
            Some(fault) => self.part.limps(fault),
            None if is_foreign => self.part.limps(FOREIGN_KEY),
            None if !seen.stale.is_empty() => {
                self.part
                    .limps("nothing comes from the node that takes in events");
            }
            None => self.part.works(),
        }
    }
}

struct Reader {
    ground: Ground,
    shared: Arc<Shared>,
    /// Where each classroom's stream is read on.
    places: BTreeMap<ClassroomId, String>,
    /// Those whose snapshot is to be looked at.
    wanted: BTreeMap<ClassroomId, Wanted>,
    beat_at: Instant,
}

/// How a snapshot is to be looked at.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    at: Instant,
    /// If it is no newer than what is here, its stream is read again from there: it may be
    /// another one, with places before ours. Not because of a gap, which would come again.
    is_from_mark: bool,
}

impl Reader {
    fn new(ground: Ground, shared: Arc<Shared>) -> Self {
        Self {
            ground,
            shared,
            places: BTreeMap::new(),
            wanted: BTreeMap::new(),
            beat_at: Instant::now(),
        }
    }

    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut is_said = false;
        loop {
            let begun = Instant::now();
            let Err(fault) = self.read().await;
            if begun.elapsed() > STALE_AFTER {
                backoff.reset();
                is_said = false;
            }
            metrics::counter!("mimamori_bus_losses_total").increment(1);
            self.shared.part.limps(&fault.to_string());
            self.shared.lock().fault = Some(fault.to_string());
            if !std::mem::replace(&mut is_said, true) {
                tracing::warn!(redis = %self.ground.redis, error = %fault, "the bus can't be read: consoles see what was, and are told so");
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Until Redis fails.
    async fn read(&mut self) -> Result<Infallible, RedisFault> {
        let mut connection = self.ground.redis.connect_to_block(BLOCK).await?;
        self.read_beat(&mut connection).await?;
        for classroom in self.shared.mirrors.classrooms() {
            let place = || "0-0".to_owned();
            self.places.entry(classroom.clone()).or_insert_with(place);
        }
        // first all that may follow, then what must be begun anew
        while self.read_deltas(&mut connection, None).await? {}
        self.look_again_at(self.shared.mirrors.classrooms().cloned().collect());
        self.look_at_snapshots(&mut connection).await?;
        self.shared.lock().fault = None;
        loop {
            self.read_deltas(&mut connection, Some(BLOCK)).await?;
            if self.beat_at <= Instant::now() {
                self.read_beat(&mut connection).await?;
                let stale = self.shared.lock().stale.clone();
                self.look_again_at(stale);
            }
            self.look_at_snapshots(&mut connection).await?;
        }
    }

    fn look_again_at(&mut self, classrooms: BTreeSet<ClassroomId>) {
        for classroom in classrooms {
            self.want(&classroom).is_from_mark = true;
        }
    }

    fn want(&mut self, classroom: &ClassroomId) -> &mut Wanted {
        let now = || Wanted {
            at: Instant::now(),
            is_from_mark: false,
        };
        self.wanted.entry(classroom.clone()).or_insert_with(now)
    }

    async fn read_beat(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisFault> {
        type Said = (Option<u64>, Option<Vec<u8>>);
        let ((seconds, micros), (at, beat)): ((u64, u64), Said) = pipe()
            .cmd("TIME")
            .cmd("HMGET")
            .arg(PUBLISHER)
            .arg(&["t", "b"])
            .query_async(connection)
            .await?;
        let now = Instant::now();
        self.beat_at = now + BEATS_EVERY;
        let time = seconds * 1_000 + micros / 1_000;
        // by Redis' own clock: one from yesterday says nothing of the present
        let is_new = at.is_some_and(|at| Duration::from_millis(time.abs_diff(at)) < LEASE_LASTS);
        let beat = beat.filter(|_| is_new);
        let beat = beat.and_then(|beat| serde_json::from_slice::<Beat>(&beat).ok());
        self.shared.lock().sightings.note(beat, now);
        Ok(())
    }

    /// Takes in what is new; waits for it so long. Says whether there may be more.
    async fn read_deltas(
        &mut self,
        connection: &mut MultiplexedConnection,
        block: Option<Duration>,
    ) -> Result<bool, RedisFault> {
        let mut read = cmd("XREAD");
        if let Some(block) = block {
            read.arg("BLOCK").arg(block.as_millis() as u64);
        }
        read.arg("COUNT").arg(ENTRIES).arg("STREAMS");
        for classroom in self.places.keys() {
            read.arg(names::deltas(classroom));
        }
        for place in self.places.values() {
            read.arg(place);
        }
        let found: Option<StreamReadReply> = read.query_async(connection).await?;
        let mut has_more = false;
        for stream in found.into_iter().flat_map(|found| found.keys) {
            let classroom = self
                .places
                .keys()
                .find(|classroom| names::deltas(classroom) == stream.key)
                .cloned();
            let Some(classroom) = classroom else {
                continue;
            };
            has_more |= stream.ids.len() == ENTRIES;
            for entry in stream.ids {
                self.take_in(&classroom, &entry);
                self.places.insert(classroom.clone(), entry.id);
            }
        }
        Ok(has_more)
    }

    /// A delta that follows is told; whatever else there is, the snapshot knows more.
    fn take_in(&mut self, classroom: &ClassroomId, entry: &StreamId) {
        let applied = match delta_of(classroom, entry) {
            Entry::Delta(delta) => self.shared.mirrors.apply(&delta),
            Entry::Mark { epoch, seq } => match self.shared.mirrors.cursor(classroom) {
                Some(here) if here.epoch == epoch && here.seq >= seq => Applied::Known,
                Some(_) | None => Applied::Gap,
            },
            Entry::Unknown => {
                metrics::counter!("mimamori_bus_unknown_total").increment(1);
                Applied::Gap
            }
        };
        if applied == Applied::Gap {
            self.want(classroom);
        }
    }

    async fn look_at_snapshots(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisFault> {
        let now = Instant::now();
        let due: Vec<_> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.at <= now)
            .map(|(classroom, wanted)| (classroom.clone(), *wanted))
            .collect();
        for (classroom, wanted) in due {
            if self
                .look_at_snapshot(connection, &classroom, wanted)
                .await?
            {
                self.wanted.remove(&classroom);
            } else {
                let again = Wanted {
                    at: now + LOOK_AGAIN_AFTER,
                    is_from_mark: false,
                };
                self.wanted.insert(classroom, again);
            }
        }
        Ok(())
    }

    /// Takes the snapshot up if it helps; says whether nothing is missing now, as far as is known.
    async fn look_at_snapshot(
        &mut self,
        connection: &mut MultiplexedConnection,
        classroom: &ClassroomId,
        wanted: Wanted,
    ) -> Result<bool, RedisFault> {
        let (epoch, seq, place): (Option<String>, Option<u64>, Option<String>) = cmd("HMGET")
            .arg(names::snapshot(classroom))
            .arg(&["e", "s", "i"])
            .query_async(connection)
            .await?;
        let (Some(epoch), Some(seq), Some(place)) = (epoch, seq, place) else {
            return Ok(false);
        };
        let reason = match self.shared.mirrors.cursor(classroom) {
            None => "opened",
            Some(here) if here.epoch == epoch => {
                if seq <= here.seq {
                    if wanted.is_from_mark {
                        self.places.insert(classroom.clone(), place);
                    }
                    // what did not follow may have been nothing that is missing
                    self.read_beat(connection).await?;
                    return Ok(self.shared.lock().sightings.knows_no_more(classroom, &here));
                }
                "gap"
            }
            Some(_) => {
                // an old one, as a Redis may come back with, is not gone back to
                self.read_beat(connection).await?;
                if self.shared.lock().sightings.epoch(classroom) != Some(epoch.as_str()) {
                    return Ok(false);
                }
                "restarted"
            }
        };
        self.open(connection, classroom, reason).await
    }

    async fn open(
        &mut self,
        connection: &mut MultiplexedConnection,
        classroom: &ClassroomId,
        reason: &str,
    ) -> Result<bool, RedisFault> {
        let (frame, place): (Option<Vec<u8>>, Option<String>) = cmd("HMGET")
            .arg(names::snapshot(classroom))
            .arg(&["f", "i"])
            .query_async(connection)
            .await?;
        let (Some(frame), Some(place)) = (frame, place) else {
            return Ok(false);
        };
        let Some(opening) = opening_of(classroom, &frame) else {
            metrics::counter!("mimamori_bus_unknown_total").increment(1);
            return Ok(false);
        };
        let earlier: StreamRangeReply = cmd("XRANGE")
            .arg(names::deltas(classroom))
            .arg("-")
            .arg(&place)
            .query_async(connection)
            .await?;
        let earlier: Vec<_> = earlier
            .ids
            .iter()
            .filter_map(|entry| match delta_of(classroom, entry) {
                Entry::Delta(delta) => Some(delta),
                Entry::Mark { .. } | Entry::Unknown => None,
            })
            .collect();
        self.shared.mirrors.open(opening, &earlier, reason);
        self.places.insert(classroom.clone(), place);
        tracing::info!(classroom.id = %classroom, reason, "a classroom is mirrored from its snapshot");
        Ok(true)
    }
}

/// What an entry of a stream says.
enum Entry {
    Delta(Arc<Delta>),
    Mark {
        epoch: String,
        seq: u64,
    },
    /// Of a later version, or damaged.
    Unknown,
}

fn delta_of(classroom: &ClassroomId, entry: &StreamId) -> Entry {
    let Some(frame) = entry.get::<Vec<u8>>("d") else {
        return match (entry.get("e"), entry.get("s")) {
            (Some(epoch), Some(seq)) => Entry::Mark { epoch, seq },
            _ => Entry::Unknown,
        };
    };
    match Delta::read(frame.into()) {
        Ok(delta) if delta.classroom == *classroom => Entry::Delta(Arc::new(delta)),
        Ok(_) | Err(_) => Entry::Unknown,
    }
}

fn opening_of(classroom: &ClassroomId, frame: &[u8]) -> Option<Opening> {
    let opening = Opening::read(frame).ok()?;
    (opening.classroom == *classroom).then_some(opening)
}
