//! Deletes what is past its term: how long each classroom keeps what, and one turn of it.

use std::sync::{Arc, Mutex, PoisonError};
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
const ROWS: std::ops::RangeInclusive<u64> = 10..=2_000;
/// What writes waits for a batch, its commit included: about so long, on a disk that is not itself slower.
const BATCH_TAKES: Duration = Duration::from_millis(15);
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
}

/// How many rows go at a time, and when months were looked at last.
#[derive(Debug)]
struct Pace {
    rows: u64,
    months: Option<Instant>,
}

impl Pace {
    /// After a batch that took so long: half or twice as many, by what it took.
    fn took(&mut self, elapsed: Duration) {
        if elapsed > BATCH_TAKES {
            self.rows /= 2;
        } else if elapsed < BATCH_TAKES / 4 {
            self.rows *= 2;
        }
        self.rows = self.rows.clamp(*ROWS.start(), *ROWS.end());
    }
}

/// A turn under way.
struct Turn {
    end: Instant,
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
            pace: Mutex::new(Pace {
                rows: FIRST_ROWS,
                months: None,
            }),
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
        let rows = self.pace(|pace| pace.rows);
        let begun = Instant::now();
        let deleted = self.records.expire(step, classroom, before, rows).await?;
        let took = begun.elapsed();
        if deleted == 0 {
            return Ok(false);
        }
        self.pace(|pace| pace.took(took));
        turn.deleted += deleted;
        metrics::histogram!("mimamori_retention_batch_seconds").record(took);
        metrics::counter!("mimamori_retention_deleted_rows_total", "table" => step.table())
            .increment(deleted);
        sleep(took * REST).await;
        Ok(deleted == rows)
    }

    /// Whether rows went with a month.
    async fn months(&self, terms: &[(ClassroomId, Option<Timestamp>)], now: Timestamp) -> bool {
        let is_due = self.pace(|pace| {
            let is_due = pace
                .months
                .is_none_or(|last| last.elapsed() >= MONTHS_EVERY);
            if is_due {
                pace.months = Some(Instant::now());
            }
            is_due
        });
        if !is_due {
            return false;
        }
        match self.records.drop_months(terms, now).await {
            Ok(dropped) => {
                metrics::counter!("mimamori_retention_dropped_months_total").increment(dropped);
                dropped > 0
            }
            // their rows go one by one meanwhile
            Err(error) => {
                self.pace(|pace| pace.months = None);
                metrics::counter!("mimamori_retention_kept_months_total").increment(1);
                tracing::warn!(store = "records", %error, "a month past its term could not be dropped yet");
                false
            }
        }
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

    fn pace<T>(&self, look: impl FnOnce(&mut Pace) -> T) -> T {
        // plain assignments under this lock cannot be left half done
        look(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
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
        for (classroom, before) in terms {
            let Some(before) = *before else { continue };
            let mut turn = Turn { end, deleted: 0 };
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

    #[test]
    fn a_slow_disk_gets_smaller_batches_and_a_fast_one_larger_ones_within_bounds() {
        let mut pace = Pace {
            rows: FIRST_ROWS,
            months: None,
        };

        pace.took(BATCH_TAKES * 2);
        assert_eq!(pace.rows, FIRST_ROWS / 2);
        pace.took(BATCH_TAKES / 2);
        assert_eq!(pace.rows, FIRST_ROWS / 2);
        for _ in 0..20 {
            pace.took(BATCH_TAKES * 10);
        }
        assert_eq!(pace.rows, *ROWS.start());
        for _ in 0..20 {
            pace.took(Duration::ZERO);
        }
        assert_eq!(pace.rows, *ROWS.end());
    }
}
