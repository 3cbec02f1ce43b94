//! How much the journal may still take.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mimamori_actors::ports::Origin;

use super::disk::Disk;
use crate::storage::embedded::shortage::Shortage;

/// Whether requests from outside can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomState {
    /// They can.
    Free,
    /// The journal is at 90 % of its limit: some consumer is far behind.
    JournalFull {
        /// Bytes of the journal.
        used_bytes: u64,
        /// Its limit.
        max_bytes: u64,
    },
    /// The disk is below its free-space mark.
    DiskFull {
        /// Bytes that are free.
        free_bytes: u64,
        /// The mark.
        min_free_bytes: u64,
    },
    /// Whatever the disk says is free, it took no more of the index of identities.
    IndexWaits,
}

impl RoomState {
    /// Whether requests from outside can be taken.
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    /// Why not, for a program to read; nothing if they can.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Free => None,
            Self::JournalFull { .. } => Some("journal_full"),
            Self::DiskFull { .. } | Self::IndexWaits => Some("disk_full"),
        }
    }

    /// Why not, for a person to read.
    pub fn reason(&self) -> String {
        match self {
            Self::Free => "there is room".to_owned(),
            Self::JournalFull {
                used_bytes,
                max_bytes,
            } => format!("the journal holds {used_bytes} of at most {max_bytes} bytes"),
            Self::DiskFull {
                free_bytes,
                min_free_bytes,
            } => format!("the disk has {free_bytes} bytes left, at least {min_free_bytes} must be"),
            Self::IndexWaits => "the disk has no room for the index of identities".to_owned(),
        }
    }
}

/// Counts what the journal uses and knows what the disk has.
#[derive(Debug)]
pub(super) struct Room {
    dir: PathBuf,
    max_bytes: u64,
    min_free_bytes: u64,
    used_bytes: AtomicU64,
    free_bytes: AtomicU64,
    index_waits: AtomicBool,
    /// For the databases beside the journal.
    pub(super) shortage: Arc<Shortage>,
    disk: Arc<dyn Disk>,
}

impl Room {
    pub(super) fn new(
        dir: PathBuf,
        max_bytes: u64,
        min_free_bytes: u64,
        used_bytes: u64,
        disk: Arc<dyn Disk>,
    ) -> Self {
        let room = Self {
            dir,
            max_bytes,
            min_free_bytes,
            used_bytes: AtomicU64::new(used_bytes),
            free_bytes: AtomicU64::new(u64::MAX),
            index_waits: AtomicBool::new(false),
            shortage: Arc::default(),
            disk,
        };
        room.measure();
        room
    }

    /// Whether requests from outside can be taken, as last measured. Cheap.
    pub(super) fn state(&self) -> RoomState {
        let used_bytes = self.used_bytes();
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        if used_bytes >= self.max_bytes / 10 * 9 {
            return RoomState::JournalFull {
                used_bytes,
                max_bytes: self.max_bytes,
            };
        }
        if free_bytes < self.min_free_bytes {
            return RoomState::DiskFull {
                free_bytes,
                min_free_bytes: self.min_free_bytes,
            };
        }
        if self.index_waits.load(Ordering::Acquire) {
            return RoomState::IndexWaits;
        }
        RoomState::Free
    }

    /// Whether the index found room when it was written last. While it did not,
    /// more from outside would only wait behind it, and the writer with it.
    pub(super) fn index_has_room(&self, has_room: bool) {
        self.index_waits.store(!has_room, Ordering::Release);
    }

    /// The reason to refuse a request of this origin, if there is one. The
    /// inside is refused only when the disk itself has no room for a segment.
    pub(super) fn refusal(&self, origin: Origin) -> Option<String> {
        match (origin, self.state()) {
            (Origin::Inside, _) | (Origin::Outside, RoomState::Free) => None,
            (
                Origin::Outside,
                state @ (RoomState::JournalFull { .. }
                | RoomState::DiskFull { .. }
                | RoomState::IndexWaits),
            ) => Some(state.reason()),
        }
    }

    /// Asks the disk. A disk that does not answer is taken for what it was.
    pub(super) fn measure(&self) {
        if let Ok(free) = self.disk.free_bytes(&self.dir) {
            self.free_bytes.store(free, Ordering::Relaxed);
            self.shortage.note(free < self.min_free_bytes);
            metrics::gauge!("mimamori_journal_disk_free_bytes").set(free as f64);
        }
        metrics::gauge!("mimamori_journal_used_bytes").set(self.used_bytes() as f64);
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(super) fn take(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
