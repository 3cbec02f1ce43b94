//! A node that only serves consoles: no journal, no writers, no sessions.
//!
//! It shows what the node that takes the events in tells over the bus, and
//! reads history where the records are a server of their own.

use std::sync::Arc;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use mimamori_actors::mirrors::MirrorTree;
use mimamori_actors::ports::Clock as _;
use warp::filters::BoxedFilter;

use super::bus::{ground, redis};
use super::listener::Inherited;
use super::others_stores::OthersStores;
use super::replica::read_at_replica;
use super::stop::Stop;
use super::{Actors, accept_options, access, classrooms, front_options, say_goodbye};
use crate::admit::StudentKey;
use crate::bus::redis as bus;
use crate::cache::Cache;
use crate::cli::Announce;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::http::accept;
use crate::http::elsewhere::{self, NoIngest, NoJournal};
use crate::http::health::{Health, Readiness};
use crate::http::ingest::{self, Ingest};
use crate::http::live::{self, Live, LiveSettings, OpenSockets};
use crate::http::privacy::{self, Notices};
use crate::http::reading::{self, Mirrored, Reading};
use crate::http::refusals::Refusals;
use crate::http::routes::{self, Parts as RouteParts};
use crate::http::service::Front;
use crate::http::{Access, Response};
use crate::keys::Keys;

/// Serves consoles until a signal says stop.
///
/// # Errors
/// When a part cannot start; that Redis or the records are away is no such case.
pub(super) async fn run(
    config: Config,
    announce: &Announce,
    inherited: Inherited,
    metrics: PrometheusHandle,
) -> anyhow::Result<()> {
    let keys = Arc::new(Keys::of(&config)?);
    let redis = redis(&config)?;
    let node = Node {
        access: access(&config, &keys)?,
        tree: MirrorTree::plant(&classrooms(), config.live.max_consoles),
        stop: Stop::listen(inherited.is_some())?,
        open: OpenSockets::default(),
        config,
        metrics,
    };
    let census = node.tree.census();
    let mirrors = Arc::clone(node.tree.mirrors());
    // they end with this
    let ground = ground(&redis, &keys);
    let _reading = bus::read(ground.clone(), mirrors, bus::part(census));
    let sign_outs = bus::sign_outs_part(census);
    let _carrying = bus::carry(ground, node.access.clone(), sign_outs);
    let stores = OthersStores::of(&node.config)?;
    let _watching = stores.watch(census);
    if let Some(records) = &stores.records {
        read_at_replica(&node.config, records, census)?;
    }
    let front = node.front(stores)?;
    let listener = inherited.or_bind(&node.config).await?;
    announce.listening(
        listener.local_addr()?,
        node.config.http.public_url.as_ref(),
        &keys,
        SystemClock.now(),
    )?;
    let no_more = node.stop.after_notice();
    let dropped = accept::serve(listener, front, accept_options(&node.config), no_more).await;
    say_goodbye(dropped, &node.open).await;
    Ok(())
}

struct Node {
    config: Config,
    access: Arc<Access>,
    tree: MirrorTree,
    stop: Stop,
    open: OpenSockets,
    metrics: PrometheusHandle,
}

impl Node {
    fn front(&self, stores: OthersStores) -> anyhow::Result<Front> {
        let access = &self.access;
        let clock = Arc::new(SystemClock);
        let refusals = Arc::new(Refusals::default());
        let routes = routes::routes(RouteParts {
            connect: elsewhere::connect(Arc::clone(access)),
            health: self.health(),
            backup: elsewhere::backup(Arc::clone(access)),
            export: elsewhere::export(Arc::clone(access)),
            rights: elsewhere::rights(Arc::clone(access)),
            privacy: privacy::routes(Notices {
                privacy: self.config.privacy.clone(),
                classrooms: self.config.classrooms.clone(),
            }),
            ingest: ingest::routes(Ingest {
                keys: Arc::new(NoIngest),
                journal: Arc::new(NoJournal::default()),
                gate: Arc::new(NoIngest),
                // nobody's id is made here
                student_key: StudentKey::from_bytes([0; 32]),
                classrooms: self.config.classrooms.clone(),
                body_timeout: self.config.http.body_timeout,
            }),
            live: live::routes(Live {
                sign_in: access.clone(),
                consoles: self.tree.consoles(),
                draining: self.stop.draining(),
                withdrawals: access.withdrawals(),
                open: self.open.clone(),
                settings: LiveSettings::default(),
            }),
            reading: self.reading(stores)?,
            access: Arc::clone(access),
        });
        let options = front_options(&self.config);
        Ok(Front::new(routes, options, refusals, clock))
    }

    fn reading(&self, stores: OthersStores) -> anyhow::Result<BoxedFilter<(Response,)>> {
        let Some(records) = stores.records else {
            return Ok(elsewhere::reading(Arc::clone(&self.access)));
        };
        Ok(reading::routes(Reading {
            access: Arc::clone(&self.access),
            records,
            cache: Arc::new(Cache::open(&self.config.cache).context("cache.url")?),
            series: stores.series,
            present: Arc::new(Mirrored {
                mirrors: Arc::clone(self.tree.mirrors()),
                clock: Arc::new(SystemClock),
            }),
            clock: Arc::new(SystemClock),
            classrooms: self.config.classrooms.clone(),
        }))
    }

    fn health(&self) -> Health {
        let (census, mirrors) = (self.tree.census(), self.tree.mirrors());
        let (stop, census, mirrors) = (self.stop.clone(), Arc::clone(census), Arc::clone(mirrors));
        let tree = Actors(Arc::clone(&census));
        let readiness = move || {
            let reason = if stop.is_draining() {
                Some("the server is stopping".to_owned())
            } else if mirrors.unopened().is_empty() {
                None
            } else {
                Some("nothing has come over the bus yet that could be shown".to_owned())
            };
            Readiness {
                is_ready: reason.is_none(),
                reason,
                degraded: census.degraded(),
            }
        };
        Health {
            access: Arc::clone(&self.access),
            readiness: Arc::new(readiness),
            metrics: self.metrics.clone(),
            metrics_from: self.config.http.metrics_from.clone(),
            tree: Arc::new(tree),
        }
    }
}
