//! Everything under `storage.dir`, opened in order.

mod compared;
mod gone;
mod unseen;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use mimamori_actors::domain::{JournalId, Moment, Position};
use mimamori_actors::ports::{Clock, Journal, Snapshots, Store};
use tokio::time::timeout;

use crate::admit::StudentKey;
use crate::cache::Cache;
use crate::config::Config;
use crate::erasure::eraser::Places;
use crate::erasure::hidden::Hidden;
use crate::erasure::list::{ErasureList, ListError};
use crate::journal::{
    Consumer, FileJournal, JournalOptions, JournalReport, RealDisk, SEGMENT_BYTES, check_formats,
    has_segments, noted_offset,
};
use crate::keys::Keys;
use crate::storage::records::{Records, RecordsAt, RecordsError};
use crate::storage::series::{Series, SeriesAt, SeriesError};
use crate::storage::snapshots::FjallSnapshots;
use compared::Compared;
use gone::{Reach, Reaches};
use unseen::Unseen;

/// A store has more of the journal than the journal itself. What would be
/// accepted now would get positions that the store takes for known.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {store} are at position {offset} of a journal that ends at {end}: the journal is older than they are, or its end is gone; put a backup of its segments into journal/damaged and run `mimamori journal inspect --repair`, or restore all of storage.dir from one moment, or move journal/ and index/ away and a new journal goes on behind the stores (docs/operations.md)"
)]
struct BeyondTheEnd {
    store: &'static str,
    offset: Position,
    end: Position,
}

/// What is on disk.
pub(super) struct Stores {
    pub(super) keys: Arc<Keys>,
    pub(super) journal: Arc<FileJournal>,
    pub(super) snapshots: Arc<FjallSnapshots>,
    pub(super) records: Arc<Records>,
    pub(super) series: Arc<Series>,
    /// The same, as it is written to.
    pub(super) written_series: Arc<dyn Store>,
    pub(super) cache: Arc<Cache>,
    /// Who is hidden from everybody who reads.
    pub(super) hidden: Arc<Hidden>,
    /// When the journal's last entry was accepted.
    pub(super) last_accepted: Moment,
}

impl Stores {
    pub(super) async fn open(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let dir = &config.storage.dir;
        // what a later version wrote stays as it is: looked at before anything is opened for
        // writing, and first that which cannot be looked at otherwise
        check_formats(dir)?;
        let records_at = RecordsAt::of(config);
        let patience = patience_with_records(dir)?;
        let is_away = check_records(&records_at, patience).await?;
        let snapshots = open_snapshots(dir.join("snapshots")).await?;
        let series = Series::at(&SeriesAt::of(config)).context("the series can't be opened")?;
        let keys = Keys::of(config)?;
        let records = open_records(&records_at, patience, is_away).await?;
        let cache = open_cache(config, &records).await?;
        let of_series = if_there(&series, series.highest_position().await)?;
        let highest = (
            highest_of_records(&records, dir).await?,
            of_series.unwrap_or_default(),
            snapshots.highest_position(),
        );
        let known = highest.0.max(highest.1).max(highest.2).max(erased(dir)?);
        let options = journal_options(config, clock, known);
        let (journal, report) =
            tokio::task::spawn_blocking(move || open_journal(options)).await??;
        snapshots.heed(journal.shortage());
        series.heed(journal.shortage());
        let id = journal.id();
        let reach = |offset, highest| Reach { offset, highest };
        let sessions = snapshots.router(&id)?.map(|(_, offset)| offset);
        let of_records = reach_of_records(&records, &id, highest.0).await?;
        let reaches = Reaches {
            records: of_records,
            series: reach_of(&series, &id, of_series).await?,
            sessions: reach(sessions, highest.2),
        };
        let offsets = [
            ("series", reaches.series.and_then(|series| series.offset)),
            // of whichever journal: a session ignores what is not behind its state
            ("snapshots", Some(reaches.sessions.highest)),
        ];
        none_beyond(report.end, &offsets)?;
        let records = Arc::new(records);
        compare_with_records(&records, &records_at, of_records, &report, dir)?;
        let series = Arc::new(series);
        let written_series = compare_with_series(&series, reaches.series, &report, dir)?;
        for line in gone::what_is_gone(&report, &reaches) {
            tracing::warn!("{line}");
        }
        if report.is_new {
            snapshots.carry_over(&id, report.end)?;
        }
        Ok(Self {
            hidden: hide_nobody(&keys, &journal, &records, &series),
            keys: Arc::new(keys),
            journal: Arc::new(journal),
            snapshots: Arc::new(snapshots),
            records,
            series,
            written_series,
            cache: Arc::new(cache),
            last_accepted: report.last_accepted,
        })
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Everything in which something of a person may stand.
    pub(super) fn places(&self, config: &Config, clock: Arc<dyn Clock>) -> Places {
        Places {
            dir: config.storage.dir.clone(),
            journal: Arc::clone(&self.journal),
            records: Arc::clone(&self.records),
            cache: Arc::clone(&self.cache),
            series: Arc::clone(&self.series),
            snapshots: Arc::clone(&self.snapshots),
            hidden: Arc::clone(&self.hidden),
            clock,
        }
    }

    /// Writes what is queued; waits for no store, and for the disk only so long.
    ///
    /// # Errors
    /// When the journal failed, now or before, or was not closed in time.
    pub(super) async fn close(&self, within: Duration) -> anyhow::Result<()> {
        let is_closed = timeout(within, self.journal.close()).await.is_ok();
        if let Some(reason) = self.journal.failed().borrow().as_ref() {
            anyhow::bail!("the journal failed: {reason}");
        }
        anyhow::ensure!(
            is_closed,
            "the disk did not answer in time: what waited for it was acknowledged to nobody"
        );
        Ok(())
    }
}

async fn reach_of(
    series: &Series,
    journal: &JournalId,
    highest: Option<Position>,
) -> Result<Option<Reach>, SeriesError> {
    let Some(highest) = highest else {
        return Ok(None);
    };
    let offset = if_there(series, series.reach(journal).await)?;
    Ok(offset.map(|offset| Reach { offset, highest }))
}

/// What the series answered; nothing if they are on a machine that is away: nobody waits
/// for it. What is wrong then is found by the writer, when it comes back.
fn if_there<T>(series: &Series, answer: Result<T, SeriesError>) -> Result<Option<T>, SeriesError> {
    match answer {
        Err(error) if series.may_be_away() => {
            tracing::warn!(store = "series", %error, "the series are not there, the start goes on");
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

/// Everybody who reads or writes asks the same about who is hidden; as yet nobody is.
fn hide_nobody(
    keys: &Keys,
    journal: &FileJournal,
    records: &Records,
    series: &Series,
) -> Arc<Hidden> {
    let hidden = Arc::new(Hidden::nobody(StudentKey::from_bytes(*keys.student_key())));
    journal.hide(Arc::clone(&hidden));
    records.hide(Arc::clone(&hidden));
    series.hide(Arc::clone(&hidden));
    hidden
}

/// The highest position up to which somebody was erased: what comes is behind it.
fn erased(dir: &Path) -> Result<Position, ListError> {
    let erasures = ErasureList::of(dir).read()?;
    let highest = erasures.iter().map(|erasure| erasure.through).max();
    Ok(highest.unwrap_or_default())
}

/// A store beyond the journal's end stops the start: it would silently miss
/// everything up to where it stands.
fn none_beyond(
    end: Position,
    offsets: &[(&'static str, Option<Position>)],
) -> Result<(), BeyondTheEnd> {
    for &(store, offset) in offsets {
        if let Some(offset) = offset.filter(|offset| *offset > end) {
            return Err(BeyondTheEnd { store, offset, end });
        }
    }
    Ok(())
}

fn journal_options(
    config: &Config,
    clock: &Arc<dyn Clock>,
    begin_after: Position,
) -> JournalOptions {
    JournalOptions {
        dir: config.storage.dir.clone(),
        max_bytes: config.journal.max_bytes,
        min_free_bytes: config.storage.min_free_bytes,
        dedup_days: config.ingest.dedup_days,
        consumers: vec![
            Consumer {
                name: "sessions",
                holds_back: true,
            },
            Consumer {
                name: "records",
                holds_back: true,
            },
            // half of the journal may wait for it: it is filled again from the records
            Consumer {
                name: "series",
                holds_back: false,
            },
        ],
        begin_after,
        clock: Arc::clone(clock),
        segment_bytes: SEGMENT_BYTES,
        disk: Arc::new(RealDisk),
    }
}

/// How long a server of the records that is not there is waited for. A new journal
/// goes on behind all stores, so it needs them; one that is there holds what
/// comes until the records do.
fn patience_with_records(dir: &Path) -> anyhow::Result<Patience> {
    let is_there = has_segments(dir).context("the journal can't be looked at")?;
    Ok(if is_there {
        Patience::Little
    } else {
        Patience::Usual
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Usual,
    /// And without them it is gone on.
    Little,
}

/// So long the records are waited for at a start that can go on without them, if nothing answers at once.
const A_LITTLE: Duration = Duration::from_secs(2);
/// So long another server, which writes into the same database, may take to end.
const OTHERS_END_WITHIN: Duration = Duration::from_secs(5);

/// Whether they can be read; if they are away, why.
async fn check_records(at: &RecordsAt, patience: Patience) -> anyhow::Result<Option<RecordsError>> {
    let checked = match patience {
        Patience::Usual => Records::check_format(at).await,
        Patience::Little => Records::check_format_within(at, A_LITTLE).await,
    };
    match checked {
        Ok(()) => Ok(None),
        Err(error) if patience == Patience::Little && error.is_away() => Ok(Some(error)),
        Err(error) => Err(error).with_context(|| format!("the records ({at}) can't be opened")),
    }
}

async fn open_records(
    at: &RecordsAt,
    patience: Patience,
    is_away: Option<RecordsError>,
) -> anyhow::Result<Records> {
    let opened = match (is_away, at) {
        (Some(error), RecordsAt::Postgres(_)) => Err(error),
        _ => claimed(at).await,
    };
    match (opened, at) {
        (Err(error), RecordsAt::Postgres(address))
            if patience == Patience::Little && error.is_away() =>
        {
            tracing::warn!(store = "records", %error, "the records are away: events are taken, the journal holds");
            Records::away(address, &error)
        }
        (opened, _) => opened,
    }
    .with_context(|| format!("the records ({at}) can't be opened"))
}

async fn claimed(at: &RecordsAt) -> Result<Records, RecordsError> {
    let records = Records::open(at).await?;
    records.claim(OTHERS_END_WITHIN).await?;
    Ok(records)
}

/// The highest position that the records know; of those that are away what the journal noted of them.
async fn highest_of_records(records: &Records, dir: &Path) -> anyhow::Result<Position> {
    if records.is_open() {
        return Ok(records.highest_position().await?);
    }
    Ok(noted_offset(dir, "records").unwrap_or_default())
}

/// How far the records are; nothing of those that are away.
async fn reach_of_records(
    records: &Records,
    journal: &JournalId,
    highest: Position,
) -> anyhow::Result<Option<Reach>> {
    if !records.is_open() {
        return Ok(None);
    }
    let offset = records.offset(journal).await?;
    Ok(Some(Reach { offset, highest }))
}

/// Holds the records against the journal: now, or when they come. Where the journal
/// ended when it first went on without them counts until they are seen: what
/// was accepted since has later positions, whatever the records know.
fn compare_with_records(
    records: &Arc<Records>,
    at: &RecordsAt,
    reach: Option<Reach>,
    journal: &JournalReport,
    dir: &Path,
) -> anyhow::Result<()> {
    let unseen = Unseen::of(dir, "records", &journal.id);
    let end = unseen.since()?.unwrap_or(journal.end).min(journal.end);
    if let Some(reach) = reach {
        none_beyond(end, &[("records", reach.offset)])?;
        return unseen.is_seen();
    }
    none_beyond(end, &[("records", noted_offset(dir, "records"))])?;
    unseen.note(end)?;
    let RecordsAt::Postgres(address) = at else {
        return Ok(());
    };
    let check = move |offset: Option<Position>| {
        none_beyond(end, &[("records", offset)]).map_err(|error| error.to_string())?;
        unseen.is_seen().map_err(|error| error.to_string())
    };
    records.open_when_there(address.clone(), journal.id.clone(), Box::new(check));
    Ok(())
}

/// As [`compare_with_records`]: now, or when they come; what writes them then.
fn compare_with_series(
    series: &Arc<Series>,
    reach: Option<Reach>,
    journal: &JournalReport,
    dir: &Path,
) -> anyhow::Result<Arc<dyn Store>> {
    let unseen = Unseen::of(dir, "series", &journal.id);
    let end = unseen.since()?.unwrap_or(journal.end).min(journal.end);
    let series: Arc<dyn Store> = series.clone();
    if let Some(reach) = reach {
        none_beyond(end, &[("series", reach.offset)])?;
        unseen.is_seen()?;
        return Ok(series);
    }
    unseen.note(end)?;
    Ok(Arc::new(Compared::new("series", series, end, unseen)))
}

/// With Redis only if nothing there can be taken for an answer of these records as they are now.
async fn open_cache(config: &Config, records: &Records) -> anyhow::Result<Cache> {
    if !records.is_open() {
        // what others keep may be of rows that were changed since: nobody can tell yet
        return Ok(Cache::new(config.cache.memory_bytes));
    }
    if let Err(error) = records.renew_all().await {
        // a full disk is no reason not to start
        tracing::warn!(store = "records", %error, "the cache stays in memory until the next start");
        return Ok(Cache::new(config.cache.memory_bytes));
    }
    Cache::open(&config.cache).context("cache.url")
}

async fn open_snapshots(dir: PathBuf) -> anyhow::Result<FjallSnapshots> {
    let opened = tokio::task::spawn_blocking(move || FjallSnapshots::open(&dir)).await?;
    opened.context("the snapshots can't be opened")
}

/// Shows progress only when there is something to wait for.
fn open_journal(options: JournalOptions) -> anyhow::Result<(FileJournal, JournalReport)> {
    let bar = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("reading the journal {bar:40} {bytes}/{total_bytes} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let opened = FileJournal::open(options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    Ok(opened)
}

#[cfg(test)]
mod tests;
