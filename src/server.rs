//! Puts the parts together and takes them apart: the only room that knows them all.

mod bus;
mod consoles_node;
mod last_stop;
mod listener;
pub(crate) mod offline;
mod others_stores;
mod replica;
mod stop;
mod stores;
mod threads;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mimamori_actors::domain::ClassroomId;
use mimamori_actors::ports::{Clock, Journal as _};
use mimamori_actors::root::{Parts as TreeParts, Tree};
use mimamori_actors::session::careful::Careful;
use mimamori_actors::tree::{Census, RestartError, Threads, Watchdog, Witness};
use serde_json::{Value, json};
use warp::Filter as _;
use warp::filters::BoxedFilter;

use crate::admit::StudentKey;
use crate::backup::Serving;
use crate::cli::Announce;
use crate::clock::{SteadyClock, SystemClock};
use crate::config::{Config, Role};
use crate::erasure::eraser::Eraser;
use crate::export::Jobs;
use crate::http::accept::{self, AcceptOptions};
use crate::http::backup;
use crate::http::connect::{self, Connect};
use crate::http::export::{self, Exports};
use crate::http::health::{Health, Readiness, TreeReport};
use crate::http::ingest::{self, Gate, Ingest};
use crate::http::live::{self, Live, LiveSettings, OpenSockets};
use crate::http::privacy::{self, Notices};
use crate::http::reading::{self, Folded, Reading};
use crate::http::refusals::Refusals;
use crate::http::research::{self, Research};
use crate::http::rights::{self, Rights};
use crate::http::routes::{self, Parts as RouteParts};
use crate::http::service::{Front, FrontOptions};
use crate::http::{Access, ApiError, Response};
use crate::journal::FileJournal;
use crate::keys::Keys;
use crate::privacy::{Retaining, Terms};
use crate::telemetry::metrics;
use bus::Carrier;
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
    match config.serve.role {
        Role::All => run_all(config, announce, inherited, witness, metrics).await,
        Role::Consoles => consoles_node::run(config, announce, inherited, metrics).await,
    }
}

async fn run_all(
    config: Config,
    announce: &Announce,
    inherited: Inherited,
    witness: Arc<dyn Witness>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
) -> anyhow::Result<()> {
    let clock = SteadyClock::new();
    let stores = Stores::open(&config, &(clock.clone() as Arc<dyn Clock>)).await?;
    clock.go_on_from(stores.last_accepted);
    let runtimes = Runtimes::start().context("no threads")?;
    let soil = Soil {
        threads: runtimes.threads(),
        witness,
        careful: last_stop::look_back(&config.storage.dir, &stores).await?,
    };
    let eraser = Arc::new(Eraser::new(stores.places(&config, clock.clone())));
    eraser.take_up().context("the erasures")?;
    let carrier = Carrier::choose(&config)?;
    let (mut tree, watchdog) = plant(&config, &stores, clock.clone(), soil, &carrier).await?;
    threads::watch(watchdog).context("no thread for the watchdog")?;
    replica::read_at_replica(&config, &stores.records, tree.census())?;
    let access = access(&config, &stores.keys)?;
    // they end with this
    let _carrying = carrier.start(&stores.journal.id(), tree.census(), &access, &stores.keys);
    eraser.attach(tree.forgetting());
    tokio::spawn({
        let eraser = Arc::clone(&eraser);
        async move { eraser.keep().await }
    });
    let stop = Stop::listen(inherited.is_some())?;
    let open = OpenSockets::default();
    let server = Server {
        config,
        access,
        inherited,
        stores,
        clock,
        stop,
        open,
        eraser,
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
    carrier: &Carrier,
) -> anyhow::Result<(Tree, Watchdog)> {
    let parts = TreeParts {
        journal: stores.journal.clone(),
        clock,
        snapshots: stores.snapshots.clone(),
        records: stores.records.clone(),
        series: stores.written_series.clone(),
        backfill: stores.records.clone(),
        retention: Some(Arc::new(Retaining::new(
            Terms::new(&config.privacy, config.classrooms.clone()),
            Arc::clone(&stores.records),
            Arc::clone(&stores.series),
            Arc::clone(&stores.cache),
        ))),
        bus: carrier.port(),
        hub: Arc::clone(carrier.hub()),
        classrooms: classrooms(),
        max_consoles: config.live.max_consoles,
        threads: soil.threads,
        witness: soil.witness,
        careful: soil.careful,
    };
    Ok(Tree::plant(parts).await?)
}

/// All that there are.
fn classrooms() -> Vec<ClassroomId> {
    vec![ClassroomId::new("default")]
}

struct Server {
    config: Config,
    access: Arc<Access>,
    inherited: Inherited,
    stores: Stores,
    clock: Arc<SteadyClock>,
    stop: Stop,
    open: OpenSockets,
    eraser: Arc<Eraser>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
}

impl Server {
    async fn serve(&self, tree: &mut Tree, announce: &Announce) -> anyhow::Result<()> {
        let door = Arc::new(Door {
            journal: Arc::clone(&self.stores.journal),
            stop: self.stop.clone(),
        });
        let front = self.front(tree, &door);
        let listener = self.inherited.or_bind(&self.config).await?;
        announce.listening(
            listener.local_addr()?,
            self.config.http.public_url.as_ref(),
            self.stores.keys(),
            SystemClock.now(),
        )?;
        // who is refused is not silent
        self.clock.listen_while(move || door.reason().is_none())?;
        let options = accept_options(&self.config);
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
                say_goodbye(dropped, &self.open).await;
                Ok(())
            }
            reason = self.stores.records.lost() => anyhow::bail!(reason),
            reason = tree.ended() => anyhow::bail!("{reason}; see the log"),
        }
    }

    fn front(&self, tree: &Tree, door: &Arc<Door>) -> Front {
        let Self {
            config,
            stores,
            clock,
            ..
        } = self;
        let access = &self.access;
        let refusals = Arc::new(Refusals::default());
        let routes = routes::routes(RouteParts {
            connect: connect::routes(self.connect(access, &refusals, tree)),
            health: self.health(access, door, tree),
            backup: backup::routes(
                Arc::clone(access),
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
            export: self.exports(),
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
                access: Arc::clone(access),
                records: Arc::clone(&stores.records),
                cache: Arc::clone(&stores.cache),
                series: Some(Arc::clone(&stores.series)),
                present: Arc::new(Folded {
                    registry: Arc::clone(tree.registry()),
                    clock: clock.clone(),
                }),
                clock: clock.clone(),
                classrooms: config.classrooms.clone(),
            }),
            rights: rights::routes(self.rights(access)),
            access: Arc::clone(access),
        });
        Front::new(routes, front_options(config), refusals, clock.clone())
    }

    /// Exports of a classroom, and who is not for research.
    fn exports(&self) -> BoxedFilter<(Response,)> {
        let exports = Exports {
            access: Arc::clone(&self.access),
            records: Arc::clone(&self.stores.records),
            classrooms: self.config.classrooms.clone(),
            jobs: Jobs::default(),
            clock: self.clock.clone(),
        };
        let research = Research {
            access: Arc::clone(&self.access),
            records: Arc::clone(&self.stores.records),
            clock: self.clock.clone(),
        };
        let research = research::routes(research);
        export::routes(exports).or(research).unify().boxed()
    }

    fn rights(&self, access: &Arc<Access>) -> Rights {
        Rights {
            access: Arc::clone(access),
            classrooms: self.config.classrooms.clone(),
            records: Arc::clone(&self.stores.records),
            hidden: Arc::clone(&self.stores.hidden),
            eraser: Arc::clone(&self.eraser),
        }
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
}

/// Who may do what, at this node.
fn access(config: &Config, keys: &Arc<Keys>) -> anyhow::Result<Arc<Access>> {
    let origins = config
        .http
        .origins
        .iter()
        .map(|origin| {
            origin
                .parse()
                .with_context(|| format!("http.origins: {origin} is no origin"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    // links are also signed by `mimamori link`, which has the system clock only
    let clock = Arc::new(SystemClock);
    Ok(Arc::new(Access::new(Arc::clone(keys), origins, clock)))
}

fn accept_options(config: &Config) -> AcceptOptions {
    AcceptOptions {
        header_timeout: config.http.header_timeout,
        idle_timeout: config.http.idle_timeout,
        max_connections: config.http.max_connections,
        drain_deadline: REQUESTS_FINISH_WITHIN,
    }
}

fn front_options(config: &Config) -> FrontOptions {
    FrontOptions {
        public_url: config.http.public_url.as_ref().map(ToString::to_string),
        trusted_proxies: config.http.trusted_proxies.clone(),
    }
}

/// Requests are done, or were dropped; consoles hear that the server goes.
async fn say_goodbye(dropped: usize, open: &OpenSockets) {
    if dropped > 0 {
        tracing::warn!(
            connections = dropped,
            "requests in hand were dropped at the deadline"
        );
    }
    if tokio::time::timeout(CONSOLES_CLOSE_WITHIN, open.all_closed())
        .await
        .is_err()
    {
        tracing::warn!(
            consoles = open.count(),
            "consoles did not answer their close in time"
        );
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
