//! Takes entries out of closed segments: their places stay, and nothing of what they said.
//!
//! A segment is written anew beside its file, every frame where it was and as
//! long as it was, and takes its name in one step; whoever still reads the old
//! file reads on in it. Damaged bytes may be anybody's: where a segment is
//! written anew, zeros take their place, and the pieces of it in
//! `journal/damaged` are removed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mimamori_actors::domain::{Position, Record};
use mimamori_actors::ports::{AppendError, Batch, ReadError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::FileJournal;
use super::damage::DAMAGED;
use super::error::JournalError;
use super::frame::{self, FrameHeader};
use super::index::IndexError;
use super::keeper::Task;
use super::scan::{Found, ScanError, Scanner};
use super::segment::{
    ERASED_IN_THE_MAKING, HeaderFound, SEGMENT_HEADER_BYTES, Segment, SegmentHeader,
};
use super::shared::Shared;
use super::writer::Work;
use crate::files::sync_dir;

/// Bytes written between two syncs, after each of which others get their turn at the disk.
const WRITTEN_AT_ONCE: u64 = 4 << 20;
const PAUSE: Duration = Duration::from_millis(10);
/// So long whoever reads in the old file may take to be done.
const OTHERS_LEAVE_WITHIN: Duration = Duration::from_secs(30);
/// The keeper writes a run of the index in far less.
const INDEXED_WITHIN: Duration = Duration::from_secs(30);

/// Whose an entry is. Asked in the order of positions.
pub type Owns<'a> = &'a mut (dyn FnMut(Position, &Record) -> bool + Send);

/// Looks for entries; `id` stands in every event, timer and fact that is looked for.
pub struct Search<'a> {
    /// Entries behind this position are left alone.
    pub through: Position,
    /// What every record of theirs has in it, but refused requests and dead letters.
    pub id: &'a str,
    /// Whether a record is theirs.
    pub owns: Owns<'a>,
}

impl Search<'_> {
    /// Which entries of a frame are to be erased; nothing if none are.
    fn flags(&mut self, header: &FrameHeader, payload: &[u8]) -> Option<Vec<bool>> {
        if header.first > self.through || !self.may_concern(payload) {
            return None;
        }
        let found = frame::records(header, payload).ok()?;
        let flags: Vec<bool> = (header.first.0..)
            .zip(&found)
            .map(|(position, found)| match found {
                frame::Found::Record(record) if position <= self.through.0 => {
                    (self.owns)(Position(position), record)
                }
                frame::Found::Record(_) | frame::Found::Erased | frame::Found::Unreadable => false,
            })
            .collect();
        flags.contains(&true).then_some(flags)
    }

    /// Reading every record of gigabytes would take minutes.
    fn may_concern(&self, payload: &[u8]) -> bool {
        [self.id, r#"{"rejection""#, r#"{"dead_letter""#]
            .iter()
            .any(|word| memchr::memmem::find(payload, word.as_bytes()).is_some())
    }
}

impl FileJournal {
    /// Begins a new segment, and says which was the last position before it:
    /// everything up to there stands in segments that nobody writes to.
    ///
    /// # Errors
    /// As an append.
    pub async fn roll(&self) -> Result<Position, AppendError> {
        let (told, rolled) = oneshot::channel();
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        // there is room beside the requests' places
        self.work
            .try_send(Work::Roll(told))
            .map_err(|_| AppendError::Overloaded)?;
        rolled.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Sees to it that everything up to `through` stands in segments that nobody writes to.
    /// A start goes on in the segment that was the last one, and in a restored journal
    /// that may be the one in which an erasure ends.
    ///
    /// # Errors
    /// As an append.
    pub async fn close_through(&self, through: Position) -> Result<(), AppendError> {
        let active = self.shared.segments.all().pop();
        if active.is_some_and(|active| active.first <= through) {
            self.roll().await?;
        }
        Ok(())
    }

    /// As [`mimamori_actors::ports::Journal::read`], for whoever may block on the disk.
    ///
    /// # Errors
    /// As that.
    pub fn read_now(&self, after: Position, limit: usize) -> Result<Batch, ReadError> {
        let batch = match self.shared.read_memory(after, limit) {
            Some(batch) => batch,
            None => self.shared.read_files(after, limit)?,
        };
        Ok(self.shared.without_hidden(batch))
    }

    /// Waits until the identities of all entries up to `through` are in the index.
    ///
    /// # Errors
    /// When that takes too long, because the disk has no room.
    pub async fn indexed(&self, through: Position) -> Result<(), JournalError> {
        let mut indexed = self.shared.indexed_through.subscribe();
        let look = async {
            while *indexed.borrow_and_update() < through {
                let _ = self.keeper.try_send(Task::Index);
                let _ = timeout(PAUSE * 5, indexed.changed()).await;
            }
        };
        let is_in = timeout(INDEXED_WITHIN, look).await;
        is_in.map_err(|_| JournalError::Index("it has not caught up in time".to_owned()))
    }

    /// The keys of the identities of entries, as far as the journal still has them. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn identities_of(
        &self,
        search: &mut Search<'_>,
    ) -> Result<BTreeSet<[u8; 16]>, JournalError> {
        let mut keys = BTreeSet::new();
        for segment in self.closed_through(search.through) {
            walk(&segment, &mut |found, payload| {
                let Found::Frame { header, .. } = found else {
                    return Ok(());
                };
                if let Some(flags) = search.flags(&header, payload) {
                    let of = |position: Position| (position.0 - header.first.0) as usize;
                    keys.extend(
                        frame::identities(&header, payload)
                            .into_iter()
                            .filter(|(position, _)| flags[of(*position)])
                            .map(|(_, identity)| identity.key),
                    );
                }
                Ok(())
            })?;
        }
        Ok(keys)
    }

    /// Takes identities out of the index: what has them is new when it comes again. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk fails, or has no room: then some of them may be out.
    pub fn forget_identities(&self, keys: &BTreeSet<[u8; 16]>) -> Result<(), JournalError> {
        self.shared
            .index
            .forget(keys)
            .map_err(|error: IndexError| JournalError::Index(error.to_string()))
    }

    /// Erases entries from the segment files, and everything damaged that may
    /// have been theirs. `told` hears of segments done and segments in all.
    /// Done again, it finds nothing. Blocks on the disk, and leaves it to others in between.
    ///
    /// # Errors
    /// When the disk fails, or has no room: every segment is as it was, or erased.
    pub fn erase(
        &self,
        search: &mut Search<'_>,
        told: &mut dyn FnMut(usize, usize),
    ) -> Result<(), JournalError> {
        let segments = self.closed_through(search.through);
        let all = segments.len();
        for (done, segment) in segments.into_iter().enumerate() {
            told(done, all);
            if is_concerned(&segment, search)? {
                rewrite(&self.shared, segment, search)?;
            }
        }
        told(all, all);
        remove_pieces(&self.shared, search.through)
    }

    /// The segments that nobody writes to and that begin at or before `through`.
    fn closed_through(&self, through: Position) -> Vec<Arc<Segment>> {
        let mut segments = self.shared.segments.all();
        segments.pop();
        segments.retain(|segment| segment.first <= through);
        segments
    }
}

type Visit<'a> = &'a mut dyn FnMut(Found, &[u8]) -> io::Result<()>;

fn walk(segment: &Segment, visit: Visit<'_>) -> Result<(), JournalError> {
    let mut scanner = Scanner::new(&segment.file, SEGMENT_HEADER_BYTES, segment.durable());
    let mut go = || -> Result<(), ScanError> {
        while let Some(found) = scanner.next()? {
            visit(found, scanner.payload())?;
        }
        Ok(())
    };
    go().map_err(|error| error.at(&segment.path))
}

fn is_concerned(segment: &Segment, search: &mut Search<'_>) -> Result<bool, JournalError> {
    let mut is_concerned = false;
    walk(segment, &mut |found, payload| {
        is_concerned |= match found {
            Found::Frame { header, .. } => search.flags(&header, payload).is_some(),
            Found::Damaged { .. } | Found::Torn { .. } => true,
        };
        Ok(())
    })?;
    Ok(is_concerned)
}

fn rewrite(
    shared: &Shared,
    old: Arc<Segment>,
    search: &mut Search<'_>,
) -> Result<(), JournalError> {
    let making = shared.dir.path().join(ERASED_IN_THE_MAKING);
    let at = JournalError::io;
    let written = make(shared, &making, &old, search);
    let file = written.inspect_err(|_| drop(fs::remove_file(&making)))?;
    // opened before the name is there: what fails for want of a file has changed nothing
    let names = File::open(shared.dir.path()).map_err(at(shared.dir.path()))?;
    let new = old.in_file(file);
    let rename = || fs::rename(&making, &old.path);
    let replaced = shared.segments.replace(&old, new, rename);
    if replaced.map_err(at(&old.path))? {
        metrics::counter!("mimamori_journal_erased_segments_total").increment(1);
    } else {
        // trimmed meanwhile
        let _ = fs::remove_file(&making);
    }
    names.sync_all().map_err(at(shared.dir.path()))?;
    let until = Instant::now() + OTHERS_LEAVE_WITHIN;
    while Arc::strong_count(&old) > 1 && Instant::now() < until {
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Writes the segment anew into a file of its own, and syncs it.
fn make(
    shared: &Shared,
    making: &std::path::Path,
    old: &Segment,
    search: &mut Search<'_>,
) -> Result<File, JournalError> {
    let at = || JournalError::io(making);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(making)
        .map_err(at())?;
    let disk = &shared.disk;
    disk.allocate(&file, 0, old.durable()).map_err(at())?;
    disk.write(&file, &header_of(old).map_err(at())?, 0)
        .map_err(at())?;
    let mut unsynced = 0;
    walk(old, &mut |found, payload| {
        // what is damaged stays zeros
        let Found::Frame { offset, header } = found else {
            return Ok(());
        };
        let mut frame = vec![0; header.frame_bytes()];
        old.file
            .read_exact_at(&mut frame[..frame::HEADER_BYTES], offset)?;
        frame[frame::HEADER_BYTES..].copy_from_slice(payload);
        if let Some(flags) = search.flags(&header, payload) {
            frame::erase(&mut frame, &header, &flags).map_err(io::Error::other)?;
        }
        disk.write(&file, &frame, offset)?;
        unsynced += frame.len() as u64;
        if unsynced >= WRITTEN_AT_ONCE {
            unsynced = 0;
            disk.sync(&file)?;
            thread::sleep(PAUSE);
        }
        Ok(())
    })?;
    disk.sync(&file).map_err(at())?;
    Ok(file)
}

/// That of the segment, and that entries in it were erased; a damaged one stays as it is.
fn header_of(old: &Segment) -> io::Result<Vec<u8>> {
    if let HeaderFound::Whole(header) = SegmentHeader::read(&old.file)? {
        return Ok(header.encode_erased().to_vec());
    }
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES as usize];
    old.file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// What stands in `journal/damaged` of segments that begin up to there may be anybody's.
fn remove_pieces(shared: &Shared, through: Position) -> Result<(), JournalError> {
    let dir = shared.dir.path().join(DAMAGED);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(JournalError::io(&dir))?,
    };
    let mut removed = 0_u64;
    for entry in entries {
        let path = entry.map_err(JournalError::io(&dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let segment = name
            .and_then(|name| name.split(['-', '.']).next())
            .and_then(|digits| digits.parse().ok());
        // a name that says nothing may be a segment of anything
        if segment.is_none_or(|segment| Position(segment) <= through) {
            fs::remove_file(&path).map_err(JournalError::io(&path))?;
            removed += 1;
        }
    }
    if removed > 0 {
        tracing::warn!(
            pieces = removed,
            "pieces in journal/damaged that may have been of a person who was erased were removed"
        );
    }
    sync_dir(&dir).map_err(JournalError::io(&dir))
}
