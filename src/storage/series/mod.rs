//! The series: how much happened when, for charts.
//!
//! They are under `storage.dir` or in InfluxDB, by their address; the chart of
//! an overview is the same. Embedded, each entry is counted once, in one
//! transaction with its offset. InfluxDB knows no transactions: there each entry
//! is a point of its own, the same however often it is written, and the offset
//! follows the points.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use mimamori_actors::domain::{ClassroomId, Entry, JournalId, Position, SessionKey, Timestamp};
use mimamori_actors::ports::{Store, StoreError};

use crate::config::{Config, InfluxUrl};
use crate::erasure::hidden::Hidden;
use crate::keys::Secret;
use crate::storage::embedded::shortage::Shortage;

mod buckets;
mod embedded;
mod fault;
mod influx;

pub use buckets::Bucket;
use embedded::EmbeddedSeries;
pub use fault::SeriesError;
use influx::InfluxSeries;

/// The journal of what was before this server (docs/adr/0021-moving-in.md). Its positions are
/// places in the records, counted from zero downwards: no other journal goes on behind them.
pub const FORMER: &str = "former";

/// Where the series are.
#[derive(Debug, Clone)]
pub enum SeriesAt {
    /// In a directory `series` of this one.
    Dir(PathBuf),
    /// In a database of InfluxDB.
    Influx {
        /// Its address.
        url: Box<InfluxUrl>,
        /// What opens it, with 2.x and 3.
        token: Option<Secret>,
    },
}

impl SeriesAt {
    /// As the configuration says.
    pub fn of(config: &Config) -> Self {
        match &config.series.url {
            None => Self::Dir(config.storage.dir.clone()),
            Some(url) => Self::Influx {
                url: Box::new(url.clone()),
                token: config.series.token.clone(),
            },
        }
    }
}

/// The store of the series. Clones share it.
#[derive(Debug, Clone)]
pub struct Series(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Embedded(EmbeddedSeries),
    Influx(Arc<InfluxSeries>),
}

impl Series {
    /// Opens those that are in this place. Nothing is asked of InfluxDB yet: it
    /// may be away. Blocks on the disk otherwise.
    ///
    /// # Errors
    /// See [`Series::open`]; with InfluxDB when this machine has no TLS to offer.
    pub fn at(at: &SeriesAt) -> Result<Self, SeriesError> {
        match at {
            SeriesAt::Dir(dir) => Self::open(dir),
            SeriesAt::Influx { url, token } => {
                let influx = InfluxSeries::at(url, token.as_ref())?;
                Ok(Self(Kind::Influx(Arc::new(influx))))
            }
        }
    }

    /// Opens the database `series` in `dir`, or makes it. Blocks on the disk.
    ///
    /// One that is damaged is set aside (`series.damaged`, in place of an
    /// earlier one) and begun anew: it counts again from the oldest position of
    /// the journal, and what was before is to be filled in from the records.
    ///
    /// # Errors
    /// When a later version wrote it, another process has it open, or the disk does not let us.
    pub fn open(dir: &Path) -> Result<Self, SeriesError> {
        Ok(Self(Kind::Embedded(EmbeddedSeries::open(dir)?)))
    }

    /// Takes what the journal sees of the room on the disk into account, if they are on it.
    pub(crate) fn heed(&self, shortage: Arc<Shortage>) {
        match &self.0 {
            Kind::Embedded(series) => series.heed(shortage),
            Kind::Influx(_) => {}
        }
    }

    /// Whether they are on another machine, which may be away when we start.
    pub fn may_be_away(&self) -> bool {
        matches!(self.0, Kind::Influx(_))
    }

    /// The highest position of any journal that was counted, but [`FORMER`]: a new journal
    /// goes on after it.
    ///
    /// # Errors
    /// When the store does not answer; InfluxDB has a second.
    pub async fn highest_position(&self) -> Result<Position, SeriesError> {
        match &self.0 {
            Kind::Embedded(series) => series.highest_position().await,
            Kind::Influx(series) => series.highest_position().await,
        }
    }

    /// How far this journal is counted; nothing if it is not known.
    ///
    /// # Errors
    /// When the store does not answer; InfluxDB has a second.
    pub async fn reach(&self, journal: &JournalId) -> Result<Option<Position>, SeriesError> {
        match &self.0 {
            Kind::Embedded(series) => series.reach(journal).await,
            Kind::Influx(series) => series.reach(journal).await,
        }
    }

    /// As [`Self::reach`], for who can wait: InfluxDB has 5 s, and its database is made
    /// if it is not there.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn reach_of_former(&self) -> Result<Option<Position>, SeriesError> {
        let former = JournalId::new(FORMER);
        match &self.0 {
            Kind::Embedded(series) => series.reach(&former).await,
            Kind::Influx(series) => series.offset(&former).await,
        }
    }

    /// How much happened from `from` (inclusive) to `to` (exclusive), by whole
    /// minutes, in at most `most` buckets without gaps. Without an end: to
    /// `now`, or to what a client's fast clock put behind it.
    ///
    /// # Errors
    /// When the store does not answer in time.
    pub async fn activity(
        &self,
        classroom: &ClassroomId,
        from: Timestamp,
        to: Option<Timestamp>,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<Bucket>, SeriesError> {
        let range = from..to.unwrap_or(Timestamp::from_millis(i64::MAX));
        match &self.0 {
            Kind::Embedded(series) => series.activity(classroom, range, now, most).await,
            Kind::Influx(series) => series.activity(classroom, range, now, most).await,
        }
    }
}

impl Series {
    /// Deletes at most about `most` of a classroom's counts that end at `before` or earlier;
    /// how many. Fewer than `most` means that none is left. In InfluxDB all points of the
    /// classroom before that go at once, and none is counted.
    ///
    /// # Errors
    /// When the store cannot be written, or does not delete.
    pub async fn expire(
        &self,
        classroom: &ClassroomId,
        before: Timestamp,
        most: usize,
    ) -> Result<usize, SeriesError> {
        match &self.0 {
            Kind::Embedded(series) => series.expire(classroom, before, most).await,
            Kind::Influx(series) => series.expire(classroom, before).await.map(|()| 0),
        }
    }

    /// Whoever is hidden here is not written. Said once, before anybody writes.
    pub fn hide(&self, hidden: Arc<Hidden>) {
        match &self.0 {
            Kind::Embedded(series) => series.hide(hidden),
            Kind::Influx(series) => series.hide(hidden),
        }
    }

    /// Hours are counted by what stood there before this happened.
    #[cfg(test)]
    async fn count_while(
        &self,
        classroom: &ClassroomId,
        hours: &[i64],
        meanwhile: impl Future<Output = ()>,
    ) {
        match &self.0 {
            Kind::Embedded(_) => {}
            Kind::Influx(series) => series.count_while(classroom, hours, meanwhile).await,
        }
    }

    /// Whatever a chart missed is counted when this returns.
    #[cfg(test)]
    async fn counted(&self) {
        match &self.0 {
            Kind::Embedded(_) => {}
            Kind::Influx(series) => series.counted().await,
        }
    }

    /// Takes everything of a person up to this position out, who is hidden already: what the
    /// writer has in hand, or has still to write, leaves them out. Embedded, the counts of a
    /// person go, and what they did since is counted again from what `recount` gives. In
    /// InfluxDB their points are asked for and deleted, and names of teams and notebooks
    /// that no other point has. A year of one student there (40,000 points) takes minutes;
    /// what was deleted is deleted however that ends.
    ///
    /// # Errors
    /// When the database fails, or somebody does not let go of it: it is as it was then.
    /// When InfluxDB does not answer, or does not delete (3 does not).
    pub(crate) async fn erase(
        &self,
        journal: &JournalId,
        person: &SessionKey,
        through: Position,
        recount: impl Recount,
    ) -> Result<(), SeriesError> {
        match &self.0 {
            Kind::Embedded(series) => series.erase(journal, person, through, recount).await,
            Kind::Influx(series) => series.erase(person, through).await,
        }
    }
}

/// What gives the entries behind the first position, up to the second one. Blocks.
pub(crate) trait Recount:
    FnOnce(Position, Position) -> Vec<Arc<Entry>> + Send + 'static
{
}

impl<F: FnOnce(Position, Position) -> Vec<Arc<Entry>> + Send + 'static> Recount for F {}

/// These entries without those of people who were hidden after they were read.
fn without_hidden<'a>(
    entries: &'a [Arc<Entry>],
    hidden: Option<&Arc<Hidden>>,
) -> Cow<'a, [Arc<Entry>]> {
    match hidden.filter(|hidden| entries.iter().any(|entry| hidden.hides(entry))) {
        None => Cow::Borrowed(entries),
        Some(hidden) => {
            let shown = entries.iter().filter(|entry| !hidden.hides(entry));
            Cow::Owned(shown.cloned().collect())
        }
    }
}

#[async_trait]
impl Store for Series {
    async fn offset(&self, journal: &JournalId) -> Result<Option<Position>, StoreError> {
        match &self.0 {
            Kind::Embedded(series) => series.offset(journal).await,
            Kind::Influx(series) => Ok(series.offset(journal).await?),
        }
    }

    async fn write(
        &self,
        journal: &JournalId,
        entries: &[Arc<Entry>],
        through: Position,
    ) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Embedded(series) => series.write(journal, entries, through).await,
            Kind::Influx(series) => Ok(series.write(journal, entries, through).await?),
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Embedded(series) => series.check().await,
            Kind::Influx(series) => Ok(series.check().await?),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
