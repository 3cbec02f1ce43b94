//! `mimamori serve`.

use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::tree::Witness;
use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, umask};

use super::arguments::Serve;
use super::lock::ServerLock;
use super::{Announce, Failure, load_config_for, runtime, storage_dir};
use crate::http::accept::{connections_within, raise_open_files};
use crate::server::{self, Inherited};
use crate::telemetry::logs;

/// Work on the disk that has begun cannot be cancelled, and one that hangs is
/// not waited for: nothing that was acknowledged depends on it.
const THREADS_END_WITHIN: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &Serve, witness: Arc<dyn Witness>) -> Result<(), Failure> {
    let mut loaded = load_config_for(arguments.file.config.as_deref(), arguments.role)?;
    logs::install(loaded.config.log.format);
    let inherited = Inherited::take()?;
    let http = &mut loaded.config.http;
    http.max_connections = fit_connections(http.max_connections);
    // what students wrote is for nobody else on this machine, in a directory of others too
    umask(Mode::RWXG | Mode::RWXO);
    storage_dir::prepare(&loaded)?;
    let lock = ServerLock::take(&loaded.config.storage.dir).map_err(anyhow::Error::new)?;
    let announce = Announce::new(lock, arguments.print_links);
    let runtime = runtime()?;
    let outcome = runtime.block_on(server::run(loaded.config, &announce, inherited, witness));
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    Ok(outcome?)
}

/// A connection is an open file: as many as are wanted, if the system lets us.
fn fit_connections(wanted: usize) -> usize {
    let open_files = raise_open_files().unwrap_or_else(|error| {
        let current = getrlimit(Resource::Nofile).current;
        tracing::warn!(%error, open_files = current, "the limit of open files could not be raised");
        current.unwrap_or(u64::MAX)
    });
    let fit = connections_within(open_files, wanted);
    if fit < wanted {
        tracing::warn!(
            open_files,
            wanted,
            connections = fit,
            "the limit of open files is too low for http.max_connections: fewer are served"
        );
    }
    fit
}
