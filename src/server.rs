//! Puts the parts together and takes them apart: the only room that knows them all.

mod last_stop;
mod listener;
mod stop;
mod stores;
mod threads;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mimamori_actors::domain::ClassroomId;
use mimamori_actors::hub::Hub;
use mimamori_actors::ports::Clock;
use mimamori_actors::root::{Parts as TreeParts, Tree};
use mimamori_actors::session::careful::Careful;
use mimamori_actors::tree::{Census, RestartError, Threads, Watchdog, Witness};
use serde_json::{Value, json};

use crate::admit::StudentKey;
use crate::backup::Serving;
use crate::bus::InProcess;
use crate::cli::Announce;
use crate::clock::{SteadyClock, SystemClock};
use crate::config::Config;
use crate::http::accept::{self, AcceptOptions};
use crate::http::backup;
use crate::http::connect::Connect;
use crate::http::health::{Health, Readiness, TreeReport};
use crate::http::ingest::{self, Gate, Ingest};
use crate::http::live::{self, Live, LiveSettings, OpenSockets};
use crate::http::privacy::{self, Notices};
use crate::http::reading::{self, Reading};
use crate::http::refusals::Refusals;
use crate::http::routes::{self, Parts as RouteParts};
use crate::http::service::{Front, FrontOptions};
use crate::http::{Access, ApiError};
use crate::journal::FileJournal;
use crate::privacy::{Retaining, Terms};
use crate::telemetry::metrics;
pub use listener::Inherited;
use stop::Stop;
use stores::Stores;
use threads::Runtimes;

/// So long may requests in hand go on after a stop.
const REQUESTS_FINISH_WITHIN: Duration = Duration::from_millis(2_000);
/// So long may answers take to leave when the journal failed: the process is to end within a second.
const REFUSALS_LEAVE_WITHIN: Duration = Duration::from_millis(400);
/// So long may consoles take to hear that the server goes.
const CONSOLES_CLOSE_WITHIN: Duration = Duration::from_millis(700);
/// So long may actors take to stop: what they had in hand is read again.
const ACTORS_STOP_WITHIN: Duration = Duration::from_millis(800);
/// So long may the disk take for what waits for it.
const JOURNAL_CLOSES_WITHIN: Duration = Duration::from_millis(2_000);
/// When a client should come again that is refused while the server drains.
const COME_AGAIN: Duration = Duration::from_secs(2);

/// Serves until a signal says stop. The runtime that this runs on serves the
/// requests; the actors have threads of their own, so that nothing that they do
/// keeps health from being answered.
///
/// # Errors
/// When a part cannot start, or failed for good.
pub async fn run(
    config: Config,
    announce: &Announce,
    inherited: Inherited,
    witness: Arc<dyn Witness>,
) -> anyhow::Result<()> {
    let metrics = metrics::install().context("the metrics can't be installed")?;
    tokio::spawn(metrics::keep_up(metrics.clone()));
    let clock = SteadyClock::new();
    let stores = Stores::open(&config, &(clock.clone() as Arc<dyn Clock>)).await?;
    clock.go_on_from(stores.last_accepted);
    let runtimes = Runtimes::start().context("no threads")?;
    let soil = Soil {
        threads: runtimes.threads(),
        witness,
        careful: last_stop::look_back(&config.storage.dir, &stores).await?,
    };
    let (mut tree, watchdog) = plant(&config, &stores, clock.clone(), soil).await?;
    threads::watch(watchdog).context("no thread for the watchdog")?;
    let stop = Stop::listen(inherited.is_some())?;
    let open = OpenSockets::default();
    let server = Server {
        config,
        inherited,
        stores,
        clock,
        stop,
        open,
        metrics,
    };
    // what failed for good ends the process within a second, and is read again at the next start
    server.serve(&mut tree, announce).await?;
    let is_felled = tree.fell(ACTORS_STOP_WITHIN).await;
    server.stores.close(JOURNAL_CLOSES_WITHIN).await?;
    if is_felled {
        last_stop::was_clean(&server.config.storage.dir);
    }
    Ok(())
}

/// What the tree stands on.
struct Soil {
    threads: Threads,
    witness: Arc<dyn Witness>,
    careful: Option<Careful>,
}

async fn plant(
    config: &Config,
    stores: &Stores,
    clock: Arc<dyn Clock>,
    soil: Soil,
) -> anyhow::Result<(Tree, Watchdog)> {
    let hub = Arc::new(Hub::default());
    let parts = TreeParts {
        journal: stores.journal.clone(),
        clock,
        snapshots: stores.snapshots.clone(),
        records: stores.records.clone(),
        series: stores.series.clone(),
        backfill: stores.records.clone(),
        retention: Some(Arc::new(Retaining::new(
            Terms::new(&config.privacy, config.classrooms.clone()),
            Arc::clone(&stores.records),
            Arc::clone(&stores.series),
            Arc::clone(&stores.cache),
        ))),
        bus: Arc::new(InProcess::new(Arc::clone(&hub))),
        hub,
        classrooms: vec![ClassroomId::new("default")],
        max_consoles: config.live.max_consoles,
        threads: soil.threads,
        witness: soil.witness,
        careful: soil.careful,
    };
    Ok(Tree::plant(parts).await?)
}

struct Server {
    config: Config,
    inherited: Inherited,
    stores: Stores,
    clock: Arc<SteadyClock>,
    stop: Stop,
    open: OpenSockets,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
}

impl Server {
    async fn serve(&self, tree: &mut Tree, announce: &Announce) -> anyhow::Result<()> {
        let door = Arc::new(Door {
            journal: Arc::clone(&self.stores.journal),
            stop: self.stop.clone(),
        });
        let front = self.front(tree, &door)?;
        let http = &self.config.http;
        let listener = self.inherited.or_bind(&self.config).await?;
        announce.listening(
            listener.local_addr()?,
            http.public_url.as_ref(),
            self.stores.keys(),
            SystemClock.now(),
        )?;
        // who is refused is not silent
        self.clock.listen_while(move || door.reason().is_none())?;
        let options = AcceptOptions {
            header_timeout: http.header_timeout,
            idle_timeout: http.idle_timeout,
            max_connections: http.max_connections,
            drain_deadline: REQUESTS_FINISH_WITHIN,
        };
        let mut failed = self.stores.journal.failed();
        let no_more = async {
            let mut failed = self.stores.journal.failed();
            tokio::select! {
                () = self.stop.after_notice() => {}
                _ = failed.wait_for(Option::is_some) => {}
            }
        };
        let mut serving = pin!(accept::serve(listener, front, options, no_more));
        tokio::select! {
            biased;
            // requests in hand are not known to be on disk: they are told so, the process ends, and reads again
            reason = failed.wait_for(Option::is_some) => {
                let reason = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
                // whoever has not got an answer by then sees the connection end
                let _ = tokio::time::timeout(REFUSALS_LEAVE_WITHIN, serving).await;
                anyhow::bail!("the journal failed: {reason}")
            }
            dropped = &mut serving => {
                if dropped > 0 {
                    tracing::warn!(connections = dropped, "requests in hand were dropped at the deadline");
                }
                if tokio::time::timeout(CONSOLES_CLOSE_WITHIN, self.open.all_closed()).await.is_err() {
                    tracing::warn!(consoles = self.open.count(), "consoles did not answer their close in time");
                }
                Ok(())
            }
            reason = tree.ended() => anyhow::bail!("{reason}; see the log"),
        }
    }

    fn front(&self, tree: &Tree, door: &Arc<Door>) -> anyhow::Result<Front> {
        let Self {
            config,
            stores,
            clock,
            ..
        } = self;
        let access = self.access()?;
        let refusals = Arc::new(Refusals::default());
        let routes = routes::routes(RouteParts {
            connect: self.connect(&access, &refusals, tree),
            health: self.health(&access, door, tree),
            backup: backup::routes(
                Arc::clone(&access),
                Serving {
                    journal: Arc::clone(&stores.journal),
                    snapshots: Arc::clone(&stores.snapshots),
                    draining: self.stop.draining(),
                },
            ),
            ingest: ingest::routes(Ingest {
                keys: access.clone(),
                journal: stores.journal.clone(),
                gate: door.clone(),
                student_key: StudentKey::from_bytes(*stores.keys().student_key()),
                classrooms: config.classrooms.clone(),
                body_timeout: config.http.body_timeout,
            }),
            privacy: privacy::routes(Notices {
                privacy: config.privacy.clone(),
                classrooms: config.classrooms.clone(),
            }),
            live: live::routes(Live {
                sign_in: access.clone(),
                consoles: tree.consoles(),
                draining: self.stop.draining(),
                withdrawals: access.withdrawals(),
                open: self.open.clone(),
                settings: LiveSettings::default(),
            }),
            reading: reading::routes(Reading {
                access: Arc::clone(&access),
                records: Arc::clone(&stores.records),
                cache: Arc::clone(&stores.cache),
                series: Arc::clone(&stores.series),
                registry: Arc::clone(tree.registry()),
                clock: clock.clone(),
                classrooms: config.classrooms.clone(),
            }),
            access,
        });
        let options = FrontOptions {
            public_url: config.http.public_url.as_ref().map(ToString::to_string),
            trusted_proxies: config.http.trusted_proxies.clone(),
        };
        Ok(Front::new(routes, options, refusals, clock.clone()))
    }

    fn connect(&self, access: &Arc<Access>, refusals: &Arc<Refusals>, tree: &Tree) -> Connect {
        let registry = Arc::clone(tree.registry());
        Connect {
            access: Arc::clone(access),
            refusals: Arc::clone(refusals),
            last_accepted: Arc::new(move || {
                let views = registry.views(&ClassroomId::new("default"));
                let last = views.iter().filter_map(|view| view.last_activity);
                last.map(|moment| moment.at).max()
            }),
            clock: self.clock.clone(),
        }
    }

    fn health(&self, access: &Arc<Access>, door: &Arc<Door>, tree: &Tree) -> Health {
        let (door, census) = (Arc::clone(door), Arc::clone(tree.census()));
        Health {
            access: Arc::clone(access),
            readiness: Arc::new(move || door.readiness(census.degraded())),
            metrics: self.metrics.clone(),
            metrics_from: self.config.http.metrics_from.clone(),
            tree: Arc::new(Actors(Arc::clone(tree.census()))),
        }
    }

    fn access(&self) -> anyhow::Result<Arc<Access>> {
        let origins = self
            .config
            .http
            .origins
            .iter()
            .map(|origin| {
                origin
                    .parse()
                    .with_context(|| format!("http.origins: {origin} is no origin"))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Arc::new(Access::new(
            Arc::clone(&self.stores.keys),
            origins,
            // links are also signed by `mimamori link`, which has the system clock only
            Arc::new(SystemClock),
        )))
    }
}

const DRAINING: &str = "draining";

/// Whether events can be taken now.
struct Door {
    journal: Arc<FileJournal>,
    stop: Stop,
}

impl Door {
    fn reason(&self) -> Option<(&'static str, String)> {
        if self.stop.is_draining() {
            return Some((DRAINING, "the server is stopping".to_owned()));
        }
        let room = self.journal.room();
        room.code().map(|code| (code, room.reason()))
    }

    fn readiness(&self, degraded: Vec<String>) -> Readiness {
        let reason = self.reason().map(|(_, reason)| reason);
        Readiness {
            is_ready: reason.is_none(),
            reason,
            degraded,
        }
    }
}

impl Gate for Door {
    fn refuse(&self) -> Option<ApiError> {
        // whoever is connected already is still served: the others wait for the next server
        let is_last = !self.stop.is_followed();
        self.reason()
            .filter(|(code, _)| is_last || *code != DRAINING)
            .map(|(code, reason)| ApiError::unavailable(code, reason, COME_AGAIN))
    }
}

/// The tree as the health endpoint shows it.
struct Actors(Arc<Census>);

impl fmt::Debug for Actors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actors").finish_non_exhaustive()
    }
}

impl TreeReport for Actors {
    fn tree(&self) -> Value {
        json!(self.0.tree())
    }

    fn sessions(&self, cursor: Option<&str>, limit: usize) -> Value {
        let (items, next) = self.0.of_kind("session", cursor, limit);
        json!({ "items": items, "next": next })
    }

    fn restart(&self, name: &str) -> Result<(), RestartError> {
        self.0.restart(name)
    }
}
