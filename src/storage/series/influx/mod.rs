//! The series in InfluxDB: a point an entry.
//!
//! It has no transactions. So the order is: what was chosen for tags, then the
//! points, then the offset, each confirmed before the next. Whatever is lost
//! between them is written again, and is the same ([`points`]). The offset stands
//! in InfluxDB itself: an empty one is filled again from the beginning.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mimamori_actors::domain::{
    ClassroomId, Entry, JournalId, Position, Record, SessionKey, Timestamp,
};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::time::sleep;

use super::{Bucket, FORMER, SeriesError, without_hidden};
use crate::config::InfluxUrl;
use crate::erasure::hidden::Hidden;
use crate::keys::Secret;

mod activity;
mod client;
mod counting;
mod erase;
mod hour;
mod hours;
mod points;
mod remembered;
mod tags;

use activity::Plan;
use client::{Client, quoted_name, quoted_text};
use hours::{Late, Reach};
use points::{Side, new};
use remembered::Remembered;
use tags::{KEPT_AT, Label, Tags, VALUES, of_classroom};

/// Where it is kept how far each journal is written.
const OFFSETS: &str = "mimamori_offsets";
/// At a start a server that does not answer is not waited for.
const START_WAITS: Duration = Duration::from_secs(1);
/// For a question of the writer.
const ASKS_WITHIN: Duration = Duration::from_secs(5);
/// A server that says nothing for so long is away.
const PINGS_WITHIN: Duration = Duration::from_secs(2);
/// A reading that takes longer is looked after: with [`PINGS_WITHIN`], one of a server that
/// hangs has failed after 3 s.
const USUAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct InfluxSeries {
    client: Client,
    /// Held while a batch is written: one at a time.
    writing: Mutex<Written>,
    /// Of whom no points are made.
    hidden: OnceLock<Arc<Hidden>>,
    /// One counts hours at a time; who comes meanwhile leaves it to the next chart.
    counting: Arc<Semaphore>,
    /// Hours that charts have read.
    remembered: Remembered,
}

#[derive(Debug, Default)]
struct Written {
    /// Whether the last batch came to its end: if not, the server may be another one
    /// than before, and what was chosen for tags may or may not have been kept.
    is_sure: bool,
    /// What was written last.
    last: Option<(JournalId, Position)>,
    /// By what hours are counted; not known before the first batch.
    reach: Option<Reach>,
    /// What was told of those that came late.
    told: Late,
    tags: Tags,
}

impl InfluxSeries {
    pub(super) fn at(url: &InfluxUrl, token: Option<&Secret>) -> Result<Self, SeriesError> {
        Ok(Self {
            client: Client::new(url, token)?,
            writing: Mutex::default(),
            hidden: OnceLock::new(),
            counting: Arc::new(Semaphore::new(1)),
            remembered: Remembered::default(),
        })
    }

    pub(super) fn hide(&self, hidden: Arc<Hidden>) {
        // a second saying would be of the same people
        let _ = self.hidden.set(hidden);
    }

    pub(super) async fn highest_position(&self) -> Result<Position, SeriesError> {
        let mut known = self.known_at_start().await?;
        known.remove(&JournalId::new(FORMER));
        Ok(known.into_values().max().unwrap_or_default())
    }

    pub(super) async fn reach(&self, journal: &JournalId) -> Result<Option<Position>, SeriesError> {
        Ok(self.known_at_start().await?.remove(journal))
    }

    /// As [`Self::offsets`]; the writer makes the database later.
    async fn known_at_start(&self) -> Result<BTreeMap<JournalId, Position>, SeriesError> {
        match self.offsets(START_WAITS).await {
            Err(SeriesError::NoDatabase) => Ok(BTreeMap::new()),
            known => known,
        }
    }

    /// How far the writer is with this journal. One that is not known begins with all that
    /// there ever was: points that are there already stay what they are.
    pub(super) async fn offset(
        &self,
        journal: &JournalId,
    ) -> Result<Option<Position>, SeriesError> {
        let mut written = self.writing.lock().await;
        self.client.make_database(ASKS_WITHIN).await?;
        let known = self.offsets(ASKS_WITHIN).await?.remove(journal);
        written.last = known.map(|offset| (journal.clone(), offset));
        // what is written from here on may have been there before
        written.is_sure = false;
        Ok(known)
    }

    pub(super) async fn write(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), SeriesError> {
        let mut written = self.writing.lock().await;
        let entries = &without_hidden(entries, self.hidden.get());
        // however this batch ends but well, and be it that nobody waits for it any more
        if !std::mem::take(&mut written.is_sure) {
            self.look_again(&mut written, journal).await?;
        }
        self.learn_tags(&mut written.tags, entries).await?;
        let points = points::of(entries, Side::of(journal), &mut written.tags);
        self.keep(written.tags.take_fresh()).await?;
        let reach = self.tell_of_late(&mut written, journal, entries).await?;
        match self.client.write(points).await {
            Ok(too_old) => {
                metrics::counter!("mimamori_series_beyond_retention_points_total")
                    .increment(too_old);
            }
            Err(refused @ SeriesError::Refused(_)) => {
                metrics::counter!("mimamori_series_partial_writes_total").increment(1);
                written.is_sure = true;
                return Err(refused);
            }
            Err(error) => return Err(error),
        }
        if reach.is_none() {
            self.begin_eras(entries).await?;
        }
        // what was written already may come again, the offset stays then
        let is_known = |last: &(JournalId, Position)| last.0 == *journal && last.1 >= through;
        if !written.last.as_ref().is_some_and(is_known) {
            let reach = reach.map(|reach| reach.point(journal, through));
            let offset = [offset(journal, through)].into_iter();
            self.keep(offset.chain(reach).collect()).await?;
            written.last = Some((journal.clone(), through));
        }
        written.reach = reach.or(written.reach);
        written.is_sure = true;
        Ok(())
    }

    /// Before entries are written it is told which of them come into hours that may have been
    /// counted. How far this is when they are written; nothing for those that have no time
    /// of receipt in the journal.
    async fn tell_of_late(
        &self,
        written: &mut Written,
        journal: &JournalId,
        entries: &[Arc<Entry>],
    ) -> Result<Option<Reach>, SeriesError> {
        if Side::of(journal) == Side::Former {
            return Ok(None);
        }
        let mut reach = match written.reach {
            Some(reach) => reach,
            None => self.take_up(journal).await?,
        };
        written.reach = Some(reach);
        let late = hours::late(entries, &mut reach.heard, &written.told);
        // of those beyond the retention policy no points are taken, either
        let told = self.client.write(hours::telling(&late)).await;
        told.map_err(not_of_points)?;
        hours::remember(&mut written.told, late, reach.heard);
        Ok(Some(reach))
    }

    /// Goes on where the writer of before ended; from another place, nothing that was
    /// counted holds.
    async fn take_up(&self, journal: &JournalId) -> Result<Reach, SeriesError> {
        let known = self.offsets(ASKS_WITHIN).await?;
        let through = known.get(journal).copied().unwrap_or_default();
        if let Some(reach) = Reach::of(&self.client, journal, through).await? {
            return Ok(reach);
        }
        let reach = Reach::anew();
        self.keep(vec![reach.point(journal, through)]).await?;
        Ok(reach)
    }

    /// What was counted of the classrooms of these entries holds no more.
    async fn begin_eras(&self, entries: &[Arc<Entry>]) -> Result<(), SeriesError> {
        let classrooms: HashSet<_> = entries
            .iter()
            .filter_map(|entry| entry.record.classroom())
            .collect();
        let eras = classrooms.into_iter().map(hours::another_era);
        self.keep(eras.collect()).await
    }

    /// Whether the server answers. After one that was away nothing is taken for granted:
    /// the next batch looks again.
    pub(super) async fn check(&self) -> Result<(), SeriesError> {
        let answer = self.client.ping(PINGS_WITHIN).await;
        if answer.is_err() {
            self.writing.lock().await.is_sure = false;
        }
        answer
    }

    /// Hours that it misses are counted when it is made, by a task of its own.
    pub(super) async fn activity(
        self: &Arc<Self>,
        classroom: &ClassroomId,
        range: Range<Timestamp>,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Bucket>, SeriesError> {
        self.client.check_known()?;
        let read = async {
            let plan = activity::plan(&self.client, &self.remembered, classroom, range, now, most);
            let plan = plan.await?;
            // however it ends: one that takes too long would never be made otherwise
            let _made = self.count_behind(classroom, &plan);
            plan.make(&self.client, &self.remembered, classroom).await
        };
        tokio::select! {
            read = read => read,
            hangs = self.hangs() => Err(hangs),
            // the next one goes on with what this has read
            () = sleep(activity::READING_LIMIT) => Err(SeriesError::TooSlow),
        }
    }

    /// Has the hours counted that this chart misses, once what is returned is dropped.
    fn count_behind(
        self: &Arc<Self>,
        classroom: &ClassroomId,
        plan: &Plan,
    ) -> Option<oneshot::Sender<()>> {
        let stamp = plan.stamp.filter(|_| !plan.missed.is_empty())?;
        let turn = Arc::clone(&self.counting).try_acquire_owned().ok()?;
        let (chart, made) = oneshot::channel();
        let (series, classroom, missed) =
            (Arc::clone(self), classroom.clone(), plan.missed.clone());
        tokio::spawn(async move {
            let _turn = turn;
            // dropped, and never sent
            let _ = made.await;
            if let Err(error) = counting::count(&series.client, &classroom, &missed, stamp).await {
                metrics::counter!("mimamori_series_hours_failed_total").increment(1);
                tracing::debug!(store = "series", %error, "hours were not counted");
            }
        });
        Some(chart)
    }

    /// Counts these hours by the stamp of now, once `meanwhile` has happened.
    #[cfg(test)]
    pub(super) async fn count_while(
        &self,
        classroom: &ClassroomId,
        hours: &[i64],
        meanwhile: impl Future<Output = ()>,
    ) {
        let found = hours::find(&self.client, classroom, &(0..0)).await;
        let stamp = found.unwrap().stamp.expect("something was written");
        meanwhile.await;
        let counted = counting::count(&self.client, classroom, hours, stamp);
        counted.await.unwrap();
    }

    #[cfg(test)]
    pub(super) async fn counted(&self) {
        let turn = self.counting.acquire().await;
        drop(turn.expect("nobody closes it"));
    }

    /// A long range may take its time, a server that says nothing at all may not.
    async fn hangs(&self) -> SeriesError {
        loop {
            sleep(USUAL).await;
            if let Err(error) = self.client.ping(PINGS_WITHIN).await {
                return error;
            }
        }
    }

    /// All points of this classroom before this time go.
    pub(super) async fn expire(
        &self,
        classroom: &ClassroomId,
        before: Timestamp,
    ) -> Result<(), SeriesError> {
        let had_points = erase::expire(&self.client, classroom, before).await?;
        if had_points || hours::any_before(&self.client, classroom, before).await? {
            // first: who counted them meanwhile may write them behind this
            self.keep(vec![hours::kept_since(classroom, before)])
                .await?;
            hours::delete(&self.client, classroom, Some(before)).await?;
        }
        Ok(())
    }

    /// The points of this person up to this position go.
    pub(super) async fn erase(
        &self,
        person: &SessionKey,
        through: Position,
    ) -> Result<(), SeriesError> {
        // what is being written now may be theirs; what waits behind it is filtered by then
        drop(self.writing.lock().await);
        match erase::erase(&self.client, person, through).await {
            // it is gone, and everybody with it
            Err(SeriesError::NoDatabase) => return Ok(()),
            erased => erased?,
        }
        // also after an attempt that ended behind the points and before this
        let classroom = &person.classroom;
        self.keep(vec![hours::another_era(classroom)]).await?;
        hours::delete(&self.client, classroom, None).await?;
        self.remembered.forget().await;
        let mut written = self.writing.lock().await;
        // what is chosen from now on is chosen by what is left
        written.tags.clear();
        let unused = erase::unused_values(&self.client, &person.classroom).await?;
        self.keep(unused).await
    }

    /// After a failure nothing is taken for granted: the server may have come back empty,
    /// or as it was yesterday.
    async fn look_again(
        &self,
        written: &mut Written,
        journal: &JournalId,
    ) -> Result<(), SeriesError> {
        written.tags.clear();
        written.told.clear();
        written.reach = None;
        self.client.make_database(ASKS_WITHIN).await?;
        let known = self.offsets(ASKS_WITHIN).await?;
        let found = known.get(journal).copied().unwrap_or_default();
        let last = written.last.as_ref().filter(|last| last.0 == *journal);
        let Some(&(_, was)) = last.filter(|last| found < last.1) else {
            return Ok(());
        };
        // what was counted may be of points that are not there any more
        self.keep(vec![Reach::anew().point(journal, found)]).await?;
        written.last = None;
        Err(SeriesError::Forgot {
            found,
            written: was,
        })
    }

    /// How far every journal is written that there ever was.
    async fn offsets(
        &self,
        within: Duration,
    ) -> Result<BTreeMap<JournalId, Position>, SeriesError> {
        let statement = format!(
            "SELECT position FROM {} GROUP BY journal",
            quoted_name(OFFSETS)
        );
        let mut known = BTreeMap::new();
        for table in self.client.ask(&statement, within).await? {
            let journal = table.tags.get("journal");
            let position = table.values.iter().filter_map(|row| row.get(1)?.as_u64());
            if let (Some(journal), Some(position)) = (journal, position.max()) {
                known.insert(JournalId::new(journal.as_str()), Position(position));
            }
        }
        Ok(known)
    }

    /// What was chosen before for the classrooms of this batch.
    async fn learn_tags(&self, tags: &mut Tags, entries: &[Arc<Entry>]) -> Result<(), SeriesError> {
        tags.make_room();
        let classrooms: HashSet<_> = entries
            .iter()
            .filter(|entry| matches!(entry.record, Record::Event(_)))
            .filter_map(|entry| entry.record.classroom())
            .filter(|classroom| !tags.know(classroom))
            .collect();
        for classroom in classrooms {
            let statement = format!(
                "SELECT value FROM {} WHERE classroom = {} GROUP BY label",
                quoted_name(VALUES),
                quoted_text(&of_classroom(classroom)),
            );
            let mut values = Vec::new();
            for table in self.client.ask(&statement, ASKS_WITHIN).await? {
                let label = table.tags.get("label").and_then(|name| Label::named(name));
                let texts = table.values.iter().filter_map(|row| row.get(1)?.as_str());
                values.extend(
                    label
                        .into_iter()
                        .flat_map(|label| texts.clone().map(move |text| (label, text.to_owned()))),
                );
            }
            tags.learn(classroom, values);
        }
        Ok(())
    }

    /// What is kept about points is no entry: if it is refused, none of them is at fault.
    async fn keep(&self, points: Vec<influxdb::WriteQuery>) -> Result<(), SeriesError> {
        match self.client.write(points).await {
            Ok(0) => Ok(()),
            Ok(_) => Err(SeriesError::Away(
                "its retention policy leaves out what is kept about the points".to_owned(),
            )),
            Err(error) => Err(not_of_points(error)),
        }
    }
}

fn not_of_points(error: SeriesError) -> SeriesError {
    match error {
        SeriesError::Refused(reason) => SeriesError::Away(reason),
        other => other,
    }
}

fn offset(journal: &JournalId, through: Position) -> influxdb::WriteQuery {
    new(OFFSETS, KEPT_AT)
        .add_tag("journal", journal.as_str())
        .add_field("position", Side::Journal.place(through))
}
