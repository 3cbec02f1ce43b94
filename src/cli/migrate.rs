//! `mimamori migrate`.

use super::arguments::Migrate;
use super::lock::ServerLock;
use super::{Failure, load_config, storage_dir};

pub(super) fn run(arguments: &Migrate) -> Result<(), Failure> {
    let loaded = load_config(arguments.file.config.as_deref())?;
    storage_dir::prepare(&loaded)?;
    // held until the end: no server may start meanwhile
    let _lock = ServerLock::take(&loaded.config.storage.dir).map_err(anyhow::Error::new)?;
    Err(anyhow::anyhow!("migrate is not in this version yet").into())
}
