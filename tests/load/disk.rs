//! f: what the disk itself takes, measured in the same run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::figures::Latencies;

/// A bare loop of a 4 KiB append and an fdatasync, for `lasts`.
pub fn fdatasync_loop(dir: &Path, lasts: Duration) -> std::io::Result<Latencies> {
    let path = dir.join("fdatasync-loop");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)?;
    file.set_len(64 << 20)?;
    let block = [b'x'; 4096];
    let mut latencies = Latencies::default();
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < lasts {
        file.write_all(&block)?;
        let before = tokio::time::Instant::now();
        file.sync_data()?;
        latencies.add(before.elapsed());
    }
    std::fs::remove_file(path)?;
    // giving its blocks back is a commit of the file system, which would stall what is measured next
    rustix::fs::sync();
    Ok(latencies)
}
