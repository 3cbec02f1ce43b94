//! Walks through the frames of a segment file, whatever its state.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::frame::{self, Check, FrameHeader, HEADER_BYTES};

/// Bytes read at once; larger frames are read whole.
const CHUNK_BYTES: usize = 1 << 20;
/// What an unreadable part of a disk is left out in.
const SECTOR_BYTES: usize = 4096;

/// What stands next in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame; its payload is at hand by [`Scanner::payload`].
    Frame {
        /// Where it begins.
        offset: u64,
        /// What it says of itself.
        header: FrameHeader,
    },
    /// Bytes that are no frame, with a frame behind them.
    Damaged {
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Bytes that are no frame, with nothing but zeros behind them.
    Torn {
        /// Where they begin.
        offset: u64,
        /// How many, up to the last that is not zero.
        bytes: u64,
    },
}

/// Why a file cannot be walked through.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An undamaged frame of a format of the future.
    #[error("a frame has the format version {0}, which this program does not know")]
    UnknownVersion(u8),
}

/// Walks through the frames of a file between two offsets.
pub(super) struct Scanner<'a> {
    file: &'a File,
    offset: u64,
    limit: u64,
    window: Vec<u8>,
    window_at: u64,
    payload: Range<usize>,
}

impl<'a> Scanner<'a> {
    /// Frames between `from`, where one begins, and `limit`, which must not be beyond the file's end.
    pub(super) fn new(file: &'a File, from: u64, limit: u64) -> Self {
        Self {
            file,
            offset: from,
            limit,
            window: Vec::new(),
            window_at: from,
            payload: 0..0,
        }
    }

    /// Where the next frame is looked for.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Up to where frames are looked for.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Goes on at `at` with what stands in the file now, up to `limit` or the limit before.
    pub(super) fn look_again(&mut self, at: u64, limit: u64) {
        self.limit = self.limit.min(limit);
        self.offset = at;
        self.window.clear();
        self.window_at = at;
        self.payload = 0..0;
    }

    /// The payload of the frame that was found last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.window[self.payload.clone()]
    }

    /// What stands next; nothing at the end, zeros up to the limit included.
    pub(super) fn next(&mut self) -> Result<Option<Found>, ScanError> {
        if self.offset >= self.limit {
            return Ok(None);
        }
        let from = self.offset;
        if let Some(header) = self.frame_at(from)? {
            self.offset = from + header.frame_bytes() as u64;
            return Ok(Some(Found::Frame {
                offset: from,
                header,
            }));
        }
        if let Some(next) = self.seek(from + 1)? {
            self.offset = next;
            return Ok(Some(Found::Damaged {
                offset: from,
                bytes: next - from,
            }));
        }
        self.offset = self.limit;
        let bytes = self.bytes_before_zeros(from)?;
        Ok((bytes > 0).then_some(Found::Torn {
            offset: from,
            bytes,
        }))
    }

    /// The frame that begins at `at`, if one does.
    fn frame_at(&mut self, at: u64) -> Result<Option<FrameHeader>, ScanError> {
        let mut needs = HEADER_BYTES;
        loop {
            if at + needs as u64 > self.limit {
                return Ok(None);
            }
            self.fill(at, needs)?;
            let start = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
            match frame::check(&self.window[start..]) {
                Check::Whole(header) => {
                    self.payload = start + HEADER_BYTES..start + header.frame_bytes();
                    return Ok(Some(header));
                }
                Check::Short { needs: more } if more > needs => needs = more,
                Check::Short { .. } | Check::Bad => return Ok(None),
                Check::UnknownVersion(version) => return Err(ScanError::UnknownVersion(version)),
            }
        }
    }

    /// The next offset from `at` on where a frame begins.
    fn seek(&mut self, mut at: u64) -> Result<Option<u64>, ScanError> {
        while at < self.limit {
            self.fill(at, 1)?;
            let start = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
            match memchr::memchr(frame::MAGIC[0], &self.window[start..]) {
                Some(found) => {
                    at += found as u64;
                    if self.frame_at(at)?.is_some() {
                        return Ok(Some(at));
                    }
                    at += 1;
                }
                None => at = self.window_at + self.window.len() as u64,
            }
        }
        Ok(None)
    }

    /// How many bytes from `from` on stand before nothing but zeros.
    fn bytes_before_zeros(&mut self, from: u64) -> Result<u64, ScanError> {
        const ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];
        let mut end = from;
        let mut at = from;
        while at < self.limit {
            self.fill(at, 1)?;
            let start = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
            for sector in self.window[start..].chunks(SECTOR_BYTES) {
                if sector != &ZEROS[..sector.len()] {
                    let last = sector.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                    end = at + last as u64 + 1;
                }
                at += sector.len() as u64;
            }
        }
        Ok(end - from)
    }

    /// Sees to it that the window holds `needs` bytes from `at` on, or all up to the limit.
    fn fill(&mut self, at: u64, needs: usize) -> io::Result<()> {
        let window_end = self.window_at + self.window.len() as u64;
        let wanted_end = (at + needs as u64).min(self.limit);
        if at >= self.window_at && wanted_end <= window_end {
            return Ok(());
        }
        let left = usize::try_from(self.limit - at).unwrap_or(usize::MAX);
        self.window.resize(needs.max(CHUNK_BYTES).min(left), 0);
        self.window_at = at;
        self.payload = 0..0;
        read_around_bad_sectors(self.file, &mut self.window, at)
    }
}

/// Reads all of `buffer`; what the disk cannot read is left zero, and so found damaged by its checksum.
pub(super) fn read_around_bad_sectors(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    let Err(error) = file.read_exact_at(buffer, at) else {
        return Ok(());
    };
    if error.raw_os_error() != Some(rustix::io::Errno::IO.raw_os_error()) {
        return Err(error);
    }
    metrics::counter!("mimamori_journal_unreadable_chunks_total").increment(1);
    for (place, sector) in buffer.chunks_mut(SECTOR_BYTES).enumerate() {
        if file
            .read_exact_at(sector, at + (place * SECTOR_BYTES) as u64)
            .is_err()
        {
            sector.fill(0);
        }
    }
    Ok(())
}
