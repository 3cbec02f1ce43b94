//! The stores that another node writes and this one only reads, and whether they answer.
//!
//! Nothing else here would find out before somebody reads: so they are asked every second.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mimamori_actors::domain::JournalId;
use mimamori_actors::ports::Store as _;
use mimamori_actors::tree::{Census, Part};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::storage::records::{Records, RecordsAt};
use crate::storage::series::{Series, SeriesAt};

const ASK_EVERY: Duration = Duration::from_secs(1);
/// With the pause before it, who does not answer is named within 5 s.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Those that are servers; files are their own node's.
pub(super) struct OthersStores {
    pub(super) records: Option<Arc<Records>>,
    pub(super) series: Option<Arc<Series>>,
}

impl OthersStores {
    /// Opens nothing yet: they may be away.
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let records = match RecordsAt::of(config) {
            RecordsAt::Dir(_) => None,
            at @ RecordsAt::Postgres(_) => {
                let opened = Records::open_to_read(&at);
                Some(opened.with_context(|| format!("the records ({at}) can't be opened"))?)
            }
        };
        let series = match SeriesAt::of(config) {
            SeriesAt::Dir(_) => None,
            at @ SeriesAt::Influx { .. } => {
                Some(Series::at(&at).context("series.url can't be used")?)
            }
        };
        Ok(Self {
            records: records.map(Arc::new),
            series: series.map(Arc::new),
        })
    }

    /// Shows in the tree whether they answer, until what is returned is dropped.
    pub(super) fn watch(&self, census: &Census) -> JoinSet<()> {
        let mut watching = JoinSet::new();
        // as the writers are called where they are written
        let part = |name| census.part(name, "writer", Some("root"));
        if let Some(records) = self.records.clone() {
            let ask = move || {
                let records = Arc::clone(&records);
                async move { records.offset(&JournalId::new("none")).await.map(drop) }
            };
            watching.spawn(look_after("records", part("records"), ask));
        }
        if let Some(series) = self.series.clone() {
            let ask = move || {
                let series = Arc::clone(&series);
                async move { series.highest_position().await.map(drop) }
            };
            watching.spawn(look_after("series", part("series"), ask));
        }
        watching
    }
}

async fn look_after<E, R>(store: &'static str, part: Part, ask: impl Fn() -> R)
where
    E: Display,
    R: Future<Output = Result<(), E>>,
{
    let mut away_since: Option<Instant> = None;
    loop {
        let fault = match timeout(ANSWERS_WITHIN, ask()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        match fault {
            None => {
                part.works();
                if let Some(since) = away_since.take() {
                    let duration_ms = since.elapsed().as_millis() as u64;
                    tracing::info!(store, duration_ms, "the store answers again");
                }
            }
            Some(error) => {
                part.limps(&error);
                if away_since.is_none() {
                    tracing::warn!(
                        store,
                        error,
                        "the store does not answer: what is read of it is refused"
                    );
                }
                away_since.get_or_insert_with(Instant::now);
            }
        }
        sleep(ASK_EVERY).await;
    }
}
