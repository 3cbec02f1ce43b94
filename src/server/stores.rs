//! Everything under `storage.dir`, opened in order.

mod gone;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use mimamori_actors::domain::{Moment, Position};
use mimamori_actors::ports::{Clock, Journal, Snapshots, Store};
use tokio::time::timeout;

use crate::cache::Cache;
use crate::config::Config;
use crate::journal::{
    Consumer, FileJournal, JournalOptions, JournalReport, RealDisk, SEGMENT_BYTES, check_formats,
};
use crate::keys::Keys;
use crate::storage::records::{Records, RecordsAt};
use crate::storage::series::Series;
use crate::storage::snapshots::FjallSnapshots;
use gone::{Reach, Reaches};

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
    pub(super) cache: Arc<Cache>,
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
        check_records(&records_at).await?;
        let snapshots = open_snapshots(dir.join("snapshots")).await?;
        let series = Series::open(dir).context("the series can't be opened")?;
        let keys = Keys::of(config)?;
        let records = open_records(&records_at).await?;
        let cache = open_cache(config, &records).await?;
        let highest = (
            records.highest_position().await?,
            series.highest_position().await?,
            snapshots.highest_position(),
        );
        let known = highest.0.max(highest.1).max(highest.2);
        let options = journal_options(config, clock, known);
        let (journal, report) =
            tokio::task::spawn_blocking(move || open_journal(options)).await??;
        let id = journal.id();
        let reaches = Reaches {
            records: Reach {
                offset: records.offset(&id).await?,
                highest: highest.0,
            },
            series: Reach {
                offset: series.reach(&id).await?,
                highest: highest.1,
            },
            sessions: Reach {
                offset: snapshots.router(&id)?.map(|(_, offset)| offset),
                highest: highest.2,
            },
        };
        let offsets = [
            ("records", reaches.records.offset),
            ("series", reaches.series.offset),
            // of whichever journal: a session ignores what is not behind its state
            ("snapshots", Some(reaches.sessions.highest)),
        ];
        none_beyond(report.end, offsets)?;
        for line in gone::what_is_gone(&report, &reaches) {
            tracing::warn!("{line}");
        }
        if report.is_new {
            snapshots.carry_over(&id, report.end)?;
        }
        Ok(Self {
            keys: Arc::new(keys),
            journal: Arc::new(journal),
            snapshots: Arc::new(snapshots),
            records: Arc::new(records),
            series: Arc::new(series),
            cache: Arc::new(cache),
            last_accepted: report.last_accepted,
        })
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
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

/// A store beyond the journal's end stops the start: it would silently miss
/// everything up to where it stands.
fn none_beyond(
    end: Position,
    offsets: [(&'static str, Option<Position>); 3],
) -> Result<(), BeyondTheEnd> {
    for (store, offset) in offsets {
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

async fn check_records(at: &RecordsAt) -> anyhow::Result<()> {
    let known = Records::check_format(at).await;
    known.with_context(|| format!("the records ({at}) can't be opened"))
}

async fn open_records(at: &RecordsAt) -> anyhow::Result<Records> {
    let opened = Records::open(at).await;
    opened.with_context(|| format!("the records ({at}) can't be opened"))
}

/// With Redis only if nothing there can be taken for an answer of these records as they are now.
async fn open_cache(config: &Config, records: &Records) -> anyhow::Result<Cache> {
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
