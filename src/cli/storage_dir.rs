//! The directory of everything that is kept.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::Failure;
use crate::backup::Unfinished;
use crate::config::{Fault, Faults, Loaded};
use crate::storage::embedded::is_no_room;

/// A file so called shows whether anything can be written there.
pub(crate) const PROBE: &str = ".probe-";

/// Makes `storage.dir`, for its owner alone, if it is not there.
///
/// # Errors
/// When a restore into it was cut short. When it cannot be made, or nothing can be written there: a fault of the configuration,
/// unless it is the disk that is full; whoever starts the server again may find room.
pub(super) fn prepare(loaded: &Loaded) -> Result<(), Failure> {
    make(loaded)?;
    Ok(Unfinished::check(&loaded.config.storage.dir).map_err(anyhow::Error::new)?)
}

/// As [`prepare`], for the restore itself.
pub(super) fn make(loaded: &Loaded) -> Result<(), Failure> {
    let dir = &loaded.config.storage.dir;
    create(dir).map_err(|error| {
        if is_no_room(&error) {
            return anyhow::anyhow!("storage.dir {}: {error}", dir.display()).into();
        }
        let stands = loaded
            .provenance
            .iter()
            .find(|(key, _, _)| *key == "storage.dir");
        let (_, value, origin) = stands.expect("the provenance has every key").clone();
        let fault = Fault {
            key: "storage.dir".to_owned(),
            value: Some(value),
            rule: "a directory in which files can be made".to_owned(),
            reason: error.to_string(),
            origin,
        };
        Faults(vec![fault]).into()
    })
}

fn create(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if !dir.is_dir() {
        return Err(io::Error::other("it is no directory"));
    }
    let probe = dir.join(format!("{PROBE}{}", std::process::id()));
    File::create(&probe)?;
    std::fs::remove_file(&probe)
}
