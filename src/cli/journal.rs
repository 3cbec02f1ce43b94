//! `mimamori journal inspect`.

use super::arguments::Inspect;
use super::{Failure, load_config};

pub(super) fn inspect(arguments: &Inspect) -> Result<(), Failure> {
    let dir = match &arguments.dir {
        Some(dir) => dir.clone(),
        None => {
            load_config(arguments.file.config.as_deref())?
                .config
                .storage
                .dir
        }
    };
    Err(anyhow::anyhow!(
        "{}: inspecting the journal is not in this version yet",
        dir.display()
    )
    .into())
}
