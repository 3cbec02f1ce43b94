//! `mimamori migrate`.

use super::arguments::Migrate;
use super::lock::ServerLock;
use super::{Failure, answer, load_config, runtime, storage_dir};
use crate::storage::records::{Records, RecordsAt};

pub(super) fn run(arguments: &Migrate) -> Result<(), Failure> {
    let loaded = load_config(arguments.file.config.as_deref())?;
    storage_dir::prepare(&loaded)?;
    // held until the end: no server may start meanwhile
    let _lock = ServerLock::take(&loaded.config.storage.dir).map_err(anyhow::Error::new)?;
    let at = RecordsAt::of(&loaded.config);
    runtime()?
        .block_on(async {
            Records::check_format(&at).await?;
            Records::open(&at).await?.close().await?;
            anyhow::Ok(())
        })
        .map_err(|error| error.context(format!("the records ({at})")))?;
    answer(format_args!("the records ({at}) are up to date"));
    Ok(())
}
