//! What carries deltas, by address: in process, or over Redis too.

use std::sync::Arc;

use anyhow::Context as _;
use mimamori_actors::domain::JournalId;
use mimamori_actors::hub::Hub;
use mimamori_actors::ports::Bus;
use mimamori_actors::tree::Census;

use crate::bus::InProcess;
use crate::bus::redis::{self as bus, Ground, RedisBus, Task};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::http::Access;
use crate::keys::Keys;
use crate::redis::{Patience, Redis};

/// The bus of a node that folds.
pub(super) struct Carrier {
    hub: Arc<Hub>,
    over_redis: Option<(Arc<RedisBus>, Redis)>,
}

impl Carrier {
    pub(super) fn choose(config: &Config) -> anyhow::Result<Self> {
        let hub = Arc::new(Hub::default());
        let over_redis = match &config.bus.url {
            None => None,
            Some(_) => Some((Arc::new(RedisBus::new(Arc::clone(&hub))), redis(config)?)),
        };
        Ok(Self { hub, over_redis })
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn port(&self) -> Arc<dyn Bus> {
        match &self.over_redis {
            None => Arc::new(InProcess::new(Arc::clone(&self.hub))),
            Some((bus, _)) => bus.clone(),
        }
    }

    /// Begins to carry: until what is returned is dropped.
    pub(super) fn start(
        &self,
        journal: &JournalId,
        census: &Arc<Census>,
        access: &Arc<Access>,
        keys: &Keys,
    ) -> Vec<Task> {
        let Some((bus, redis)) = &self.over_redis else {
            return Vec::new();
        };
        let ground = ground(redis, keys);
        vec![
            bus.publish_to(&ground, journal, census),
            bus::carry(ground, access.clone(), bus::sign_outs_part(census)),
        ]
    }
}

/// The server that the configuration names.
pub(super) fn redis(config: &Config) -> anyhow::Result<Redis> {
    let url = config.bus.url.as_ref().context("bus.url is not set")?;
    Redis::new(url, Patience::default()).context("bus.url can't be used")
}

pub(super) fn ground(redis: &Redis, keys: &Keys) -> Ground {
    Ground {
        redis: redis.clone(),
        signs: keys.signing_fingerprint(),
        clock: Arc::new(SystemClock),
    }
}
