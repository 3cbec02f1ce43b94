//! What stands in a server's directory.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{PATIENCE, Server, ensure, eventually};

/// The files of the journal, the oldest first.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    with_ending(&dir.join("journal"), "seg")
}

/// The files there whose names end so, in the order of their names.
pub fn with_ending(dir: &Path, wanted: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == wanted))
        .collect();
    found.sort();
    found
}

/// Waits until the journal has noted this position, at this place of its note of offsets.
pub async fn noted(server: &Server, pointer: &str, position: u64) {
    let path = server.dir().join("journal/offsets.json");
    eventually("it is noted", PATIENCE, async || {
        let text = std::fs::read(&path).map_err(|error| error.to_string())?;
        let noted: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        let reached = noted.pointer(pointer).and_then(Value::as_u64);
        ensure(reached >= Some(position), || {
            format!("{pointer} of {position}: {noted}")
        })
    })
    .await;
}
