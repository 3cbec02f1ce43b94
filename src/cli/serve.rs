//! `mimamori serve`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::arguments::Serve;
use super::lock::ServerLock;
use super::{Announce, Failure, load_config, runtime, storage_dir};
use crate::server;
use crate::telemetry::logs;

pub(super) fn run(arguments: &Serve) -> Result<(), Failure> {
    let loaded = load_config(arguments.file.config.as_deref())?;
    logs::install(loaded.config.log.format);
    raise_open_files();
    storage_dir::prepare(&loaded)?;
    let lock = ServerLock::take(&loaded.config.storage.dir).map_err(anyhow::Error::new)?;
    let announce = Announce::new(lock, arguments.print_links);
    let outcome = runtime()?.block_on(server::run(loaded.config, &announce));
    Ok(outcome?)
}

/// A connection is an open file: as many as the system lets us have.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, open_files = limit.current, "the limit of open files could not be raised");
    }
}
