//! A file system that can be full, fail, and lose what was not synced.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use crate::journal::{Disk, RealDisk};

/// Bytes that were written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsynced {
    pub(super) inode: u64,
    pub(super) at: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    is_full: bool,
    is_low: bool,
    /// So many syncs succeed; none after them.
    syncs_left: Option<u32>,
    unsynced: Vec<Unsynced>,
}

#[derive(Debug, Default)]
pub(super) struct FaultyDisk(Mutex<State>);

impl FaultyDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    pub(super) fn is_full(&self) -> bool {
        self.state().is_full
    }

    pub(super) fn set_low(&self, is_low: bool) {
        self.state().is_low = is_low;
    }

    pub(super) fn is_low(&self) -> bool {
        self.state().is_low
    }

    pub(super) fn fail_after(&self, syncs: u32) {
        self.state().syncs_left = Some(syncs);
    }

    pub(super) fn heal(&self) {
        self.state().syncs_left = None;
    }

    /// What a power loss may take now.
    pub(super) fn take_unsynced(&self) -> Vec<Unsynced> {
        std::mem::take(&mut self.state().unsynced)
    }
}

impl Disk for FaultyDisk {
    fn allocate(&self, file: &File, from: u64, bytes: u64) -> io::Result<()> {
        if self.is_full() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealDisk.allocate(file, from, bytes)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let written = Unsynced {
            inode: file.metadata()?.ino(),
            at,
            bytes: bytes.len() as u64,
        };
        self.state().unsynced.push(written);
        RealDisk.write(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let inode = file.metadata()?.ino();
        let mut state = self.state();
        match &mut state.syncs_left {
            Some(0) => return Err(io::Error::other("made to fail")),
            Some(left) => *left -= 1,
            None => {}
        }
        state.unsynced.retain(|unsynced| unsynced.inode != inode);
        // the directory is in memory: there is nothing to sync
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(if self.is_low() { 0 } else { 1 << 40 })
    }
}
