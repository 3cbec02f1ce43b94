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
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::{Bucket, FORMER, SeriesError, without_hidden};
use crate::config::InfluxUrl;
use crate::erasure::hidden::Hidden;
use crate::keys::Secret;

mod activity;
mod client;
mod erase;
mod points;
mod tags;

use client::{Client, quoted_name, quoted_text};
use points::{Side, new};
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
}

#[derive(Debug, Default)]
struct Written {
    /// Whether the last batch came to its end: if not, the server may be another one
    /// than before, and what was chosen for tags may or may not have been kept.
    is_sure: bool,
    /// What was written last.
    last: Option<(JournalId, Position)>,
    tags: Tags,
}

impl InfluxSeries {
    pub(super) fn at(url: &InfluxUrl, token: Option<&Secret>) -> Result<Self, SeriesError> {
        Ok(Self {
            client: Client::new(url, token)?,
            writing: Mutex::default(),
            hidden: OnceLock::new(),
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
        // what was written already may come again, the offset stays then
        let is_known = |last: &(JournalId, Position)| last.0 == *journal && last.1 >= through;
        if !written.last.as_ref().is_some_and(is_known) {
            self.keep(vec![offset(journal, through)]).await?;
            written.last = Some((journal.clone(), through));
        }
        written.is_sure = true;
        Ok(())
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

    pub(super) async fn activity(
        &self,
        classroom: &ClassroomId,
        range: Range<Timestamp>,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Bucket>, SeriesError> {
        self.client.check_known()?;
        tokio::select! {
            read = activity::read(&self.client, classroom, range, now, most) => read,
            hangs = self.hangs() => Err(hangs),
        }
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
        erase::expire(&self.client, classroom, before).await
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
        self.client.make_database(ASKS_WITHIN).await?;
        let known = self.offsets(ASKS_WITHIN).await?;
        let found = known.get(journal).copied().unwrap_or_default();
        match written.last.take() {
            Some((of, was)) if of == *journal && found < was => Err(SeriesError::Forgot {
                found,
                written: was,
            }),
            last => {
                written.last = last;
                Ok(())
            }
        }
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
            Err(SeriesError::Refused(reason)) => Err(SeriesError::Away(reason)),
            Err(error) => Err(error),
        }
    }
}

fn offset(journal: &JournalId, through: Position) -> influxdb::WriteQuery {
    new(OFFSETS, KEPT_AT)
        .add_tag("journal", journal.as_str())
        .add_field("position", Side::Journal.place(through))
}
