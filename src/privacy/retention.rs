//! Deletes what is past its term: how long each classroom keeps what, and one turn of it.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mimamori_actors::domain::{ClassroomId, Timestamp};
use mimamori_actors::ports::{Retention, StoreError};
use tokio::time::{Instant, sleep};

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
    /// When months were looked at last.
    months_looked: Mutex<Option<Instant>>,
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
    /// Of the classroom in hand.
    deleted: u64,
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
            months_looked: Mutex::default(),
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
        let deleted = self.records.expire(step, classroom, before, rows).await?;
        let took = begun.elapsed();
        if deleted == 0 {
            return Ok(false);
        }
        match std::mem::replace(&mut turn.has_tried, true) {
            true => held(&self.pace).took(took),
            false => held(&self.pace).tried(took),
        }
        turn.deleted += deleted;
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
                *held(&self.months_looked) = None;
                metrics::counter!("mimamori_retention_kept_months_total").increment(1);
                tracing::warn!(store = "records", %error, "a month past its term could not be dropped yet");
                false
            }
        }
    }

    /// Says so once in a while.
    fn months_are_due(&self) -> bool {
        let mut looked = held(&self.months_looked);
        let is_due = looked.is_none_or(|last| last.elapsed() >= MONTHS_EVERY);
        if is_due {
            *looked = Some(Instant::now());
        }
        is_due
    }

    /// Redis away is no reason to stop: nobody is shown what stands there, and it ends with its term.
    async fn forget(&self, classroom: &ClassroomId) -> Result<(), RecordsError> {
        match self.cache.forget(&self.records, classroom).await {
            Ok(()) => Ok(()),
            Err(ForgetError::Records(error)) => Err(error),
            Err(ForgetError::Redis(error)) => {
                tracing::warn!(%error, "answers of deleted rows stay in redis until their term");
                Ok(())
            }
        }
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
            deleted: 0,
        };
        for (classroom, before) in terms {
            let Some(before) = *before else { continue };
            turn.deleted = 0;
            let done = self.classroom(classroom, before, &mut turn).await;
            if turn.deleted > 0 || has_dropped {
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
mod tests {
    use super::*;
    use crate::config::Classroom;

    const DAY: Duration = Duration::from_secs(86_400);

    fn room() -> ClassroomId {
        ClassroomId::new("default")
    }

    #[test]
    fn a_classrooms_own_term_counts_and_for_the_others_the_installations() {
        let now = Timestamp::from_millis(1_795_305_600_000);
        let privacy = Privacy {
            retention: Some(400 * DAY),
            ..Privacy::default()
        };
        let classroom = Classroom {
            retention: Some(30 * DAY),
            ..Classroom::plain(room())
        };

        let terms = Terms::new(&privacy, Classrooms::new(vec![classroom]));
        let for_ever = Terms::new(&Privacy::default(), Classrooms::default());

        assert_eq!(terms.before(&room(), now), Some(now.minus(30 * DAY)));
        let other = ClassroomId::new("other");
        assert_eq!(terms.before(&other, now), Some(now.minus(400 * DAY)));
        assert_eq!(for_ever.before(&room(), now), None);
        assert!(for_ever.are_for_ever() && !terms.are_for_ever());
    }

    /// A disk on which a commit and a row take so long.
    struct Disk {
        commit: Duration,
        row: Duration,
    }

    impl Disk {
        fn takes(&self, rows: u64) -> Duration {
            self.commit + self.row * u32::try_from(rows).unwrap()
        }

        /// How many rows go within a minute of turns, and the longest batch after the first turn.
        fn minute(&self) -> (u64, Duration) {
            let mut pace = Pace::default();
            let (mut rows, mut longest) = (0, Duration::ZERO);
            for turn in 0..30 {
                let mut left = TURN;
                let first = *ROWS.start();
                pace.tried(self.takes(first));
                left = left.saturating_sub(self.takes(first) * (1 + REST));
                rows += first;
                while !left.is_zero() {
                    let took = self.takes(pace.rows);
                    left = left.saturating_sub(took * (1 + REST));
                    rows += pace.rows;
                    if turn > 0 {
                        longest = longest.max(took);
                    }
                    pace.took(took);
                }
            }
            (rows, longest)
        }
    }

    #[test]
    fn half_of_the_time_goes_into_rows_however_long_a_commit_takes() {
        for (commit, row) in [(1, 20), (1, 400), (7, 50), (20, 50), (20, 400), (45, 100)] {
            let disk = Disk {
                commit: Duration::from_millis(commit),
                row: Duration::from_micros(row),
            };

            let (rows, longest) = disk.minute();

            // a quarter of the time is ours, and half of that
            let most = 60_000_000 / u64::from(1 + REST) / row;
            assert!(rows >= most * 2 / 5, "{commit} ms: {rows} of {most}");
            let held = (disk.commit * 2).max(*BATCH_TAKES.start());
            assert!(longest <= held * 5 / 4, "{commit} ms: {longest:?}");
        }
    }

    #[test]
    fn what_writes_is_never_held_up_for_long_by_choice() {
        // a commit of a second: few rows, and no more of them
        let disk = Disk {
            commit: Duration::from_secs(1),
            row: Duration::from_micros(50),
        };
        let mut pace = Pace::default();

        pace.tried(disk.takes(*ROWS.start()));
        assert_eq!(pace.may_take, *BATCH_TAKES.end());
        for _ in 0..10 {
            pace.took(disk.takes(pace.rows));
        }
        assert_eq!(pace.rows, *ROWS.start());

        for _ in 0..40 {
            pace.took(Duration::ZERO);
        }
        assert_eq!(pace.rows, *ROWS.end());
        // one slow moment takes half of them, not all
        pace.took(Duration::from_secs(60));
        assert_eq!(pace.rows, ROWS.end() / 2);
    }
}
