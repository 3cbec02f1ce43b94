//! `mimamori check-config`.

use super::arguments::CheckConfig;
use super::{Failure, answer, load_config};

pub(super) fn run(arguments: &CheckConfig) -> Result<(), Failure> {
    let loaded = load_config(arguments.file.config.as_deref())?;
    for (key, value, origin) in &loaded.provenance {
        answer(format_args!("{key} = {value}  # {origin}"));
    }
    Ok(())
}
