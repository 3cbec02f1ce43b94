//! A file system so small that a test can fill it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use tempfile::TempDir;

const DISK_BYTES: u64 = 32 << 20;
const PAGE: usize = 4096;

/// A small disk; unmounted when it is dropped.
pub(crate) struct SmallDisk {
    mounted_at: PathBuf,
    _dir: TempDir,
}

impl SmallDisk {
    /// Nothing, with one line, where mounting is refused.
    pub(crate) fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted_at = dir.path().join("mounted");
        fs::create_dir(&mounted_at).unwrap();
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&mounted_at)
            .output();
        if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
            // past the capture of a test that passes: who reads the run is to know
            let line =
                format!("a full disk was not tried, mounting is refused here: {mounted:?}\n");
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        Some(Self {
            mounted_at,
            _dir: dir,
        })
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.mounted_at
    }

    /// Leaves so many pages, whatever was in it before.
    pub(crate) fn fill(&self, pages: usize) {
        let mut kept = File::create(self.mounted_at.join("kept")).unwrap();
        kept.write_all(&vec![b'x'; pages * PAGE]).unwrap();
        let mut filler = File::create(self.mounted_at.join("filler")).unwrap();
        let page = vec![b'x'; PAGE];
        while filler.write_all(&page).is_ok() {}
        fs::remove_file(self.mounted_at.join("kept")).unwrap();
    }

    /// Everything that is not in use by others is free again.
    pub(crate) fn give_back(&self) {
        fs::remove_file(self.mounted_at.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // gone from the tree at once, even if something that was dropped has yet to close its files
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(&self.mounted_at)
            .output();
        let is_unmounted = unmounted.as_ref().is_ok_and(|it| it.status.success());
        assert!(is_unmounted || thread::panicking(), "{unmounted:?}");
    }
}
