//! What the journal asks of the file system where it may fail: one seam, so that the tests can make it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// The file system where it may be full, or fail.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Allocates bytes that read as zeros, so that writing to them cannot find the disk full.
    ///
    /// # Errors
    /// When there is no room, or the disk failed.
    fn allocate(&self, file: &File, from: u64, bytes: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// When the disk failed: how much is written is not known.
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes what was written, and the file's length, durable.
    ///
    /// # Errors
    /// When the disk failed: what was written since the last time may be lost, even if a later call succeeds.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Bytes that are free for us on the disk of this directory.
    ///
    /// # Errors
    /// When the disk does not say.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// The file system as it is.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn allocate(&self, file: &File, from: u64, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), from, bytes) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => write_zeros(file, from, bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn write_zeros(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < from + bytes {
        let length = (from + bytes - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..usize::try_from(length).unwrap_or(ZEROS.len())], at)?;
        at += length;
    }
    Ok(())
}
