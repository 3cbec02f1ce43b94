//! Deletes what is past its term: how long each classroom keeps what, and one turn of it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mimamori_actors::domain::{ClassroomId, Timestamp};
use mimamori_actors::ports::{Retention, StoreError};
use tokio::time::{Instant, sleep};

use super::doubt::Doubt;
use crate::cache::{Cache, ForgetError};
use crate::config::{Classrooms, Privacy};
use crate::storage::records::{Records, RecordsError, Step};
use crate::storage::series::Series;

/// A turn lasts about so long; what is left then goes in the next one.
const TURN: Duration = Duration::from_secs(2);
/// Rows of the first batch.
const FIRST_ROWS: u64 = 100;
/// A batch has at least and at most so many rows.
const ROWS: RangeInclusive<u64> = 10..=2_000;
/// What writes waits for a batch, its commit included: about twice as long as a commit
/// alone takes on this disk, and within these bounds.
const BATCH_TAKES: RangeInclusive<Duration> =
    Duration::from_millis(15)..=Duration::from_millis(100);
/// Between two batches whoever writes has so many times their length for itself.
const REST: u32 = 3;
/// Counts of the series that go at a time.
const SERIES_ROWS: usize = 5_000;
/// Months are looked at so often: they end once a month.
const MONTHS_EVERY: Duration = Duration::from_secs(60 * 60);
/// One that could not be dropped, because somebody reads it (a backup, for minutes), is left
/// alone for so long: whoever asks for its lock holds up everybody else meanwhile.
const MONTHS_AGAIN: Duration = Duration::from_secs(5 * 60);

/// How long each classroom keeps what came from its students.
#[derive(Debug, Clone)]
pub struct Terms {
    installation: Option<Duration>,
    classrooms: Classrooms,
}

impl Terms {
    /// As the configuration says.
    pub fn new(privacy: &Privacy, classrooms: Classrooms) -> Self {
        Self {
            installation: privacy.retention,
            classrooms,
        }
    }

    /// What was before this is past its term; nothing where everything is kept for ever.
    pub fn before(&self, classroom: &ClassroomId, now: Timestamp) -> Option<Timestamp> {
        let of_classroom = self.classrooms.get(classroom);
        let term = of_classroom.map_or(self.installation, |known| known.retention);
        term.map(|term| now.minus(term))
    }

    fn are_for_ever(&self) -> bool {
        let classrooms = self.classrooms.all().iter();
        self.installation.is_none() && classrooms.map(|it| it.retention).all(|it| it.is_none())
    }
}

/// Deletes what is past its term from the stores.
pub struct Retaining {
    terms: Terms,
    records: Arc<Records>,
    series: Arc<Series>,
    cache: Arc<Cache>,
    pace: Mutex<Pace>,
    doubt: Mutex<Option<Doubt>>,
    /// When months are looked at next; at once if it is not said.
    months_next: Mutex<Option<Instant>>,
    /// Of which rows have gone, or were about to go, since the cache forgot the classroom.
    unforgotten: Mutex<BTreeSet<ClassroomId>>,
}

/// How many rows go at a time: as many as fit into the time that a batch may take.
#[derive(Debug)]
struct Pace {
    rows: u64,
    may_take: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rows: FIRST_ROWS,
            may_take: *BATCH_TAKES.start(),
        }
    }
}

impl Pace {
    /// After a batch of the fewest rows: it took what a commit takes, whatever is in it.
    /// With so much again for the rows, at least half of the time goes into rows.
    fn tried(&mut self, elapsed: Duration) {
        self.may_take = (elapsed * 2).clamp(*BATCH_TAKES.start(), *BATCH_TAKES.end());
    }

    /// After any other batch: as many rows as would have fitted, up to half as many less or
    /// a quarter more, so that one slow moment or one quick one decides little.
    fn took(&mut self, elapsed: Duration) {
        let elapsed = elapsed.as_micros().max(1);
        let fitting = u128::from(self.rows) * self.may_take.as_micros() / elapsed;
        let most = self.rows + self.rows / 4 + 1;
        let rows = u64::try_from(fitting)
            .unwrap_or(most)
            .clamp(self.rows / 2, most);
        self.rows = rows.clamp(*ROWS.start(), *ROWS.end());
    }
}

/// A turn under way.
struct Turn {
    end: Instant,
    /// Whether it is known what a commit takes: a disk is now quick, now slow.
    has_tried: bool,
}

impl Turn {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }
}

impl Retaining {
    /// Of these stores, by these terms.
    pub fn new(
        terms: Terms,
        records: Arc<Records>,
        series: Arc<Series>,
        cache: Arc<Cache>,
    ) -> Self {
        Self {
            terms,
            records,
            series,
            cache,
            pace: Mutex::default(),
            doubt: Mutex::default(),
            months_next: Mutex::default(),
            unforgotten: Mutex::default(),
        }
    }

    /// Deletes what of one classroom is past its term; whether that is all.
    async fn classroom(
        &self,
        classroom: &ClassroomId,
        before: Timestamp,
        turn: &mut Turn,
    ) -> Result<bool, RecordsError> {
        for step in Step::ALL {
            while self.batch(step, classroom, before, turn).await? {
                if turn.is_over() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Deletes a few rows; whether there may be more.
    async fn batch(
        &self,
        step: Step,
        classroom: &ClassroomId,
        before: Timestamp,
        turn: &mut Turn,
    ) -> Result<bool, RecordsError> {
        let rows = match turn.has_tried {
            true => held(&self.pace).rows,
            false => *ROWS.start(),
        };
        let begun = Instant::now();
        // first: a turn that ends in the middle owes it to the next one
        let is_new = held(&self.unforgotten).insert(classroom.clone());
        let deleted = self.records.expire(step, classroom, before, rows).await?;
        let took = begun.elapsed();
        if deleted == 0 {
            if is_new {
                held(&self.unforgotten).remove(classroom);
            }
            return Ok(false);
        }
        match std::mem::replace(&mut turn.has_tried, true) {
            true => held(&self.pace).took(took),
            false => held(&self.pace).tried(took),
        }
        metrics::histogram!("mimamori_retention_batch_seconds").record(took);
        metrics::counter!("mimamori_retention_deleted_rows_total", "table" => step.table())
            .increment(deleted);
        sleep(took * REST).await;
        Ok(deleted == rows)
    }

    /// Whether rows went with a month.
    async fn months(&self, terms: &[(ClassroomId, Option<Timestamp>)], now: Timestamp) -> bool {
        if !self.months_are_due() {
            return false;
        }
        match self.records.drop_months(terms, now).await {
            Ok(dropped) => {
                metrics::counter!("mimamori_retention_dropped_months_total").increment(dropped);
                dropped > 0
            }
            // their rows go one by one meanwhile
            Err(error) => {
                *held(&self.months_next) = Some(Instant::now() + MONTHS_AGAIN);
                metrics::counter!("mimamori_retention_kept_months_total").increment(1);
                tracing::warn!(store = "records", %error, "a month past its term could not be dropped yet");
                false
            }
        }
    }

    /// Says so once in a while.
    fn months_are_due(&self) -> bool {
        let now = Instant::now();
        let mut next = held(&self.months_next);
        let is_due = next.is_none_or(|next| now >= next);
        if is_due {
            *next = Some(now + MONTHS_EVERY);
        }
        is_due
    }

    /// Redis away is no reason to stop: nobody is shown what stands there, and it ends with its term.
    async fn forget(&self, classroom: &ClassroomId) -> Result<(), RecordsError> {
        match self.cache.forget(&self.records, classroom).await {
            Ok(()) => {}
            Err(ForgetError::Records(error)) => return Err(error),
            Err(ForgetError::Redis(error)) => {
                tracing::warn!(%error, "answers of deleted rows stay in redis until their term");
            }
        }
        held(&self.unforgotten).remove(classroom);
        Ok(())
    }

    async fn records_of(
        &self,
        terms: &[(ClassroomId, Option<Timestamp>)],
        now: Timestamp,
        end: Instant,
    ) -> Result<bool, RecordsError> {
        let has_dropped = self.months(terms, now).await;
        let mut overdue = Duration::ZERO;
        let mut is_all = true;
        let mut turn = Turn {
            end,
            has_tried: false,
        };
        for (classroom, before) in terms {
            let Some(before) = *before else { continue };
            let done = self.classroom(classroom, before, &mut turn).await;
            if has_dropped || held(&self.unforgotten).contains(classroom) {
                self.forget(classroom).await?;
            }
            is_all &= done?;
            overdue = overdue.max(self.records.overdue(classroom, before).await?);
        }
        metrics::gauge!("mimamori_retention_overdue_seconds").set(overdue.as_secs_f64());
        Ok(is_all)
    }
}

/// Plain assignments under these locks cannot be left half done.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Retention for Retaining {
    async fn turn(&self, now: Timestamp) -> Result<bool, StoreError> {
        if self.terms.are_for_ever() {
            return Ok(false);
        }
        let heard = self.records.last_received().await?;
        let is_believed = held(&self.doubt)
            .get_or_insert_with(|| Doubt::new(now))
            .believes(now, heard);
        if !is_believed {
            return Ok(false);
        }
        let end = Instant::now() + TURN;
        let terms: Vec<_> = self
            .records
            .classrooms()
            .await?
            .into_iter()
            .map(|classroom| {
                let before = self.terms.before(&classroom, now);
                (classroom, before)
            })
            .collect();
        let is_all = self.records_of(&terms, now, end).await?;
        let mut has_more = !is_all;
        for (classroom, before) in &terms {
            let Some(before) = *before else { continue };
            let deleted = self.series.expire(classroom, before, SERIES_ROWS).await?;
            metrics::counter!("mimamori_retention_deleted_rows_total", "table" => "series")
                .increment(deleted as u64);
            has_more |= deleted >= SERIES_ROWS;
        }
        metrics::counter!("mimamori_retention_turns_total").increment(1);
        Ok(has_more)
    }
}

#[cfg(test)]
mod tests;
