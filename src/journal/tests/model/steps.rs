//! Does what an action says to the real journal, and looks whether it kept its word.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use mimamori_actors::domain::Position;
use mimamori_actors::ports::{AppendError, Batch, Journal as _, Origin, ReadError};
use tempfile::TempDir;

use super::super::{CONSUMERS, DAY_MS, HandClock, text_of};
use super::actions::{Action, IndexFate, Loss, Request};
use super::disk::FaultyDisk;
use super::expect::{Expected, Held, holds};
use super::files;
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::journal::{FileJournal, JournalOptions, JournalReport};

const MAX_BYTES: u64 = 40 << 10;
const SEGMENT_BYTES: u64 = 4096;
const SERIES: usize = 2;

/// The journal with its disk, its consumers, and what is expected of it.
pub(super) struct Rig {
    base: TempDir,
    generation: u32,
    clock: Arc<HandClock>,
    disk: Arc<FaultyDisk>,
    journal: Option<FileJournal>,
    /// How far each consumer is, as its store knows.
    offsets: [u64; 3],
    /// Frames up to here are known to the index for good.
    vouched: u64,
    expected: Expected,
}

impl Rig {
    pub(super) fn new() -> Self {
        // in memory where there is such a directory: thousands of syncs
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() {
            tempfile::tempdir_in(shm)
        } else {
            tempfile::tempdir()
        };
        let clock = Arc::new(HandClock::default());
        clock.set(1000 * DAY_MS);
        let mut rig = Self {
            base: base.unwrap(),
            generation: 0,
            clock,
            disk: Arc::default(),
            journal: None,
            offsets: [0; 3],
            vouched: 0,
            expected: Expected::default(),
        };
        rig.open().unwrap();
        rig
    }

    fn dir(&self) -> PathBuf {
        self.base.path().join(self.generation.to_string())
    }

    fn index(&self) -> PathBuf {
        self.dir().join("index")
    }

    fn remembered_index(&self) -> PathBuf {
        self.base.path().join("remembered")
    }

    fn journal(&self) -> &FileJournal {
        self.journal.as_ref().unwrap()
    }

    fn open(&mut self) -> Result<JournalReport, String> {
        let dir = self.dir();
        fs::create_dir_all(&dir).unwrap();
        let highest = self.offsets.into_iter().max().unwrap_or(0);
        let options = JournalOptions {
            dir,
            max_bytes: MAX_BYTES,
            min_free_bytes: 1,
            dedup_days: 7,
            consumers: CONSUMERS.to_vec(),
            begin_after: Position(highest),
            clock: self.clock.clone(),
            segment_bytes: SEGMENT_BYTES,
            disk: self.disk.clone(),
        };
        let (journal, report) = FileJournal::open(options, &mut |_, _| {})
            .map_err(|error| format!("it does not open: {error}"))?;
        // as the writers and the router do when they begin
        for (consumer, offset) in CONSUMERS.iter().zip(self.offsets) {
            journal.committed(consumer.name, Position(offset));
        }
        self.journal = Some(journal);
        if report.index_rebuilt.is_some() {
            self.expected.index_was_rebuilt(report.oldest.0);
        }
        self.vouched = report.end.0;
        Ok(report)
    }

    /// Ends it as a signal does.
    fn close(&mut self) {
        drop(self.journal.take());
    }

    pub(super) async fn act(&mut self, action: &Action) -> Held {
        match action {
            Action::Append(requests) => self.append(requests).await,
            Action::Read { after, limit } => self.read(*after, *limit).await,
            Action::Consume { consumer, limit } => self.consume(*consumer, *limit).await,
            Action::Tick => self.tick(),
            Action::Restart => self.restart(),
            Action::Crash {
                requests,
                syncs,
                loses,
                is_sudden,
            } => self.crash(requests, *syncs, loses, *is_sudden).await,
            Action::FlipFrame {
                frame,
                bit,
                is_running,
            } => self.flip_frame(*frame, *bit, *is_running),
            Action::LoseTail { at, is_cut } => self.lose_tail(*at, *is_cut),
            Action::FlipHeader { segment, bit } => self.flip_header(*segment, *bit),
            Action::DiskFull(is_full) => {
                self.disk.set_full(*is_full);
                Ok(())
            }
            Action::DiskLow(is_low) => {
                self.disk.set_low(*is_low);
                self.tick()
            }
            Action::Index(fate) => self.change_index(*fate),
            Action::RememberIndex => self.remember_index(),
        }
    }

    /// Hands all requests over in one moment.
    async fn append(&mut self, requests: &[Request]) -> Held {
        let room_before = self.journal().room().is_free();
        let used_before = self.journal().used_bytes();
        let said: Vec<_> = requests
            .iter()
            .map(|request| self.expected.say(&request.records))
            .collect();
        let journal = self.journal();
        let appends = requests.iter().zip(&said).map(|(request, said)| {
            let batch = said.iter().map(super::expect::Said::record).collect();
            journal.append(batch, request.origin)
        });
        let answers = join_all(appends).await;
        let bytes: usize = said
            .iter()
            .flatten()
            .map(|said| said.text.len() + 400)
            .sum();
        let is_near_limit = used_before + bytes as u64 >= MAX_BYTES / 10 * 9;
        let may_refuse = !room_before || is_near_limit || self.disk.is_low();
        let is_full = |used: u64| used >= MAX_BYTES / 10 * 9;
        let was_full = is_full(used_before) && is_full(journal.used_bytes());
        for (request, answer) in requests.iter().zip(&answers) {
            let may_be_taken =
                request.origin == Origin::Inside || !(was_full || self.disk.is_low());
            holds(answer.is_err() || may_be_taken, || {
                format!("taken from outside at {used_before} bytes")
            })?;
            let Err(AppendError::NoRoom(reason)) = answer else {
                continue;
            };
            // a twin shares the fate of the one it waits for
            let is_from_outside = requests.iter().any(|one| one.origin == Origin::Outside);
            holds(
                self.disk.is_full() || (may_refuse && is_from_outside),
                || format!("{:?} is refused: {reason}", request.origin),
            )?;
        }
        self.expected.answered(said.into_iter().zip(answers))
    }

    async fn read(&mut self, after: u64, limit: usize) -> Held {
        let (oldest, end) = (self.expected.oldest, self.expected.end);
        let after = oldest.saturating_sub(1) + after % (end + 2 - oldest);
        match self.batch(after, limit).await? {
            Some(batch) => self.look_at(after, &batch),
            None => Ok(()),
        }
    }

    /// Nothing if the journal was trimmed meanwhile, as it may be at any moment.
    async fn batch(&mut self, after: u64, limit: usize) -> Result<Option<Batch>, String> {
        match self.journal().read(Position(after), limit).await {
            Ok(batch) => Ok(Some(batch)),
            Err(ReadError::Trimmed { oldest }) if oldest.0 > self.expected.oldest => {
                self.check_trimmed()?;
                Ok(None)
            }
            Err(error) => Err(format!("after {after}: {error}")),
        }
    }

    fn look_at(&self, after: u64, batch: &Batch) -> Held {
        let through = batch.through.0;
        holds(
            through > after || (through == after && after >= self.expected.end),
            || {
                format!(
                    "read after {after} through {through} of {}",
                    self.expected.end
                )
            },
        )?;
        self.expected.read(after, through, &texts(batch))
    }

    async fn consume(&mut self, consumer: usize, limit: usize) -> Held {
        let offset = self.offsets[consumer];
        let read = self.journal().read(Position(offset), limit).await;
        let through = match read {
            Ok(batch) => {
                holds(offset + 1 >= self.expected.oldest, || {
                    format!("read on after {offset} as if nothing were trimmed")
                })?;
                self.look_at(offset, &batch)?;
                batch.through.0
            }
            Err(ReadError::Trimmed { oldest }) if consumer == SERIES => oldest.0 - 1,
            Err(error) => return Err(format!("{consumer} after {offset}: {error}")),
        };
        self.offsets[consumer] = through;
        let name = CONSUMERS[consumer].name;
        self.journal().committed(name, Position(through));
        Ok(())
    }

    /// What its second thread does on its own a few times a second.
    fn tick(&mut self) -> Held {
        let journal = self.journal();
        let (oldest, used) = (journal.oldest().0, journal.used_bytes());
        journal.shared.room.measure();
        journal.shared.trim();
        let now = journal.oldest().0;
        let is_cut_off = now > oldest && now > self.offsets[SERIES] + 1;
        holds(!is_cut_off || used > MAX_BYTES / 2, || {
            format!("series are cut off at {used} bytes")
        })
    }

    fn restart(&mut self) -> Held {
        self.close();
        let report = self.open()?;
        let is_at_once = report.index_rebuilt.is_none() && report.reindexed_entries == 0;
        holds(is_at_once, || format!("a restart read again: {report:?}"))?;
        holds(report.torn_bytes == 0, || format!("torn: {report:?}"))
    }

    async fn crash(
        &mut self,
        requests: &[Request],
        syncs: u32,
        loses: &Loss,
        is_sudden: bool,
    ) -> Held {
        if self.end_is_known_to_the_index_alone() {
            return Ok(());
        }
        self.disk.fail_after(syncs);
        self.append(requests).await?;
        let before = self.dir();
        if !is_sudden {
            self.close();
        }
        self.generation += 1;
        let inodes = files::inodes(&before.join("journal"));
        files::copy(&before, &self.dir());
        self.close();
        self.disk.heal();
        for unsynced in self.disk.take_unsynced() {
            if let Some((_, name)) = inodes.iter().find(|(inode, _)| *inode == unsynced.inode) {
                files::lose(&self.dir().join("journal").join(name), unsynced, loses);
            }
        }
        fs::remove_dir_all(before).unwrap();
        self.open().map(drop)
    }

    fn flip_frame(&mut self, frame: u64, bit: u64, is_running: bool) -> Held {
        if !is_running {
            self.close();
        }
        let frames = files::frames(&self.dir().join("journal"));
        let known = frames
            .iter()
            .filter(|frame| !is_running || frame.last <= self.vouched);
        let known: Vec<_> = known.collect();
        if !known.is_empty() {
            let frame = known[usize::try_from(frame).unwrap_or(0) % known.len()];
            if files::flip(&frame.path, frame.offset + bit / 8 % frame.bytes, bit) {
                self.expected.damage(frame.first, frame.last);
            }
        }
        if is_running {
            return Ok(());
        }
        self.open().map(drop)
    }

    fn lose_tail(&mut self, at: u64, is_cut: bool) -> Held {
        self.close();
        let mut frames = files::frames(&self.dir().join("journal"));
        if let Some(last) = frames.pop() {
            frames.retain(|frame| frame.path == last.path);
            frames.push(last);
            let begin = frames[0].offset;
            let end = frames.last().map_or(begin, |last| last.offset + last.bytes);
            let from = begin + at % (end - begin);
            for lost in frames.iter().filter(|one| one.offset + one.bytes > from) {
                self.expected.damage(lost.first, lost.last);
            }
            files::lose_behind(&frames[0].path, from, is_cut);
        }
        self.open().map(drop)
    }

    fn flip_header(&mut self, segment: u64, bit: u64) -> Held {
        self.close();
        let journal = self.dir().join("journal");
        let mut segments = crate::journal::segment::list(&journal).unwrap();
        // one must say whose they are
        segments.pop();
        if !segments.is_empty() {
            let (_, path) = &segments[usize::try_from(segment).unwrap_or(0) % segments.len()];
            files::flip(path, bit / 8 % SEGMENT_HEADER_BYTES, bit);
        }
        self.open().map(drop)
    }

    fn change_index(&mut self, fate: IndexFate) -> Held {
        if self.end_is_known_to_the_index_alone() {
            return Ok(());
        }
        self.close();
        let (index, remembered) = (self.index(), self.remembered_index());
        match fate {
            IndexFate::Lost => fs::remove_dir_all(index).unwrap(),
            IndexFate::Damaged(seed) => files::damage(&index, seed),
            IndexFate::Older if remembered.is_dir() => {
                fs::remove_dir_all(&index).unwrap();
                files::copy(&remembered, &index);
            }
            IndexFate::Older => {}
        }
        self.open().map(drop)
    }

    /// Two faults at once: the last frame is damaged, no segment's name says
    /// that there was one, and now the index would go. Then only the stores know
    /// which positions were given.
    fn end_is_known_to_the_index_alone(&self) -> bool {
        let segments = crate::journal::segment::list(&self.dir().join("journal")).unwrap();
        let newest = segments.last().map_or(0, |(first, _)| first.0);
        self.expected.end_is_damaged() && newest <= self.expected.end
    }

    fn remember_index(&mut self) -> Held {
        self.close();
        let remembered = self.remembered_index();
        if remembered.is_dir() {
            fs::remove_dir_all(&remembered).unwrap();
        }
        files::copy(&self.index(), &remembered);
        self.open().map(drop)
    }

    /// What is promised at any moment.
    pub(super) async fn check(&mut self) -> Held {
        if let Some(reason) = self.journal().failed().borrow().clone() {
            return Err(format!("it failed: {reason}"));
        }
        self.check_trimmed()?;
        let end = self.journal().end().borrow().0;
        let mut found = Vec::new();
        let mut after = self.expected.oldest - 1;
        while after < end {
            let Some(batch) = self.batch(after, 7).await? else {
                found.clear();
                after = self.expected.oldest - 1;
                continue;
            };
            holds(batch.through.0 > after, || format!("no way past {after}"))?;
            found.extend(texts(&batch));
            after = batch.through.0;
        }
        let missing = self.expected.found(&found, end)?;
        self.check_named(&missing)
    }

    fn check_trimmed(&mut self) -> Held {
        let oldest = self.journal().oldest().0;
        holds(oldest >= self.expected.oldest, || {
            format!("begins at {oldest}, and began at {}", self.expected.oldest)
        })?;
        for (consumer, offset) in CONSUMERS.iter().zip(self.offsets) {
            holds(!consumer.holds_back || oldest <= offset + 1, || {
                format!("begins at {oldest}, {} is at {offset}", consumer.name)
            })?;
        }
        self.expected.trimmed_to(oldest);
        Ok(())
    }

    /// Whatever is missing is told of, and kept aside.
    fn check_named(&self, missing: &[u64]) -> Held {
        let spots = self.journal().damaged();
        for position in missing {
            let is_named = spots.iter().any(|spot| {
                spot.after.0 < *position && spot.before.is_none_or(|before| *position < before.0)
            });
            holds(is_named, || {
                format!("{position} is missing, and not named: {spots:?}")
            })?;
        }
        let aside = self.dir().join("journal").join("damaged");
        for spot in spots.iter().filter(|spot| spot.bytes > 0) {
            let name = format!("{:020}-{}-{}.bin", spot.segment.0, spot.offset, spot.bytes);
            let kept = aside.join(name);
            let bytes = fs::metadata(&kept).map_or(0, |file| file.len());
            holds(bytes == spot.bytes, || {
                format!("{bytes} bytes are kept of {spot:?}")
            })?;
        }
        Ok(())
    }
}

fn texts(batch: &Batch) -> Vec<(u64, String)> {
    let entries = batch.entries.iter();
    entries
        .map(|entry| (entry.position.0, text_of(entry).to_owned()))
        .collect()
}
