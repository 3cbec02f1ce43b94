//! `mimamori serve`.

use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::tree::Witness;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

use super::arguments::Serve;
use super::lock::ServerLock;
use super::{Announce, Failure, load_config, runtime, storage_dir};
use crate::server::{self, Inherited};
use crate::telemetry::logs;

/// Work on the disk that has begun cannot be cancelled, and one that hangs is
/// not waited for: nothing that was acknowledged depends on it.
const THREADS_END_WITHIN: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &Serve, witness: Arc<dyn Witness>) -> Result<(), Failure> {
    let loaded = load_config(arguments.file.config.as_deref())?;
    logs::install(loaded.config.log.format);
    let inherited = Inherited::take()?;
    raise_open_files();
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
