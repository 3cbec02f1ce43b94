//! A run: identities of one day, sorted by their key, in a file that is never changed.
//!
//! ```text
//!    0  magic      "\xff\xfeMIMAX\n"
//!    8  version    u32, 1
//!   12  filter     u32, CRC-32 of the filter
//!   16  identities u64
//!   24  blocks     u64, of the filter
//!   32  day        i64, of acceptance, counted since 1970
//!   40  checkpoint position u64, received i64, segment u64, offset u64, heard i64,
//!                  journal 36 bytes (zeros: there is none)
//!  116  zeros
//! 4092  crc        u32, CRC-32 of the 4,092 bytes above
//! 4096  pages of 4,096 bytes: 127 times key and content of 16 bytes each, zeros, CRC-32
//!       the filter, blocks of 64 bytes
//! ```
//!
//! Numbers are little endian. The header is written last and a file gets its
//! name when it is whole, so a run is there or it is not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mimamori_actors::domain::{Heard, JournalId, Moment, Position, Timestamp};

use crate::files::sync_dir;
use crate::journal::frame::{u32_at, u64_at};
use crate::storage::format::check_version;

use super::filter::{self, BLOCK_BYTES, Filter};
use super::{Checkpoint, IndexError};

/// Bytes of the header and of every page.
const PAGE_BYTES: usize = 4096;
/// Bytes of the header.
pub const HEADER_BYTES: usize = PAGE_BYTES;
const CRC_AT: usize = PAGE_BYTES - 4;
/// Identities of a page.
pub(super) const PAGE_PAIRS: usize = 127;
const PAIR_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"\xFF\xFEMIMAX\n";
const VERSION: u32 = 1;
const CHECKPOINT_AT: usize = 40;
const ID_AT: usize = 80;
const ID_BYTES: usize = 36;
/// Pages read at once when a run is read as a whole.
const READ_PAGES: u64 = 64;
/// Guesses by the key's value, before the rest is halved.
const GUESSES: u32 = 3;

/// A key and the content that stands under it.
pub(super) type Pair = ([u8; 16], [u8; 16]);

/// A run, open for reading.
#[derive(Debug)]
pub(super) struct Run {
    /// Its number: a later run has a higher one.
    pub(super) number: u64,
    /// Where it is.
    pub(super) path: PathBuf,
    /// The day of acceptance of all in it.
    pub(super) day: i64,
    /// How many identities.
    pub(super) identities: u64,
    /// Up to where the journal was in the index with it.
    pub(super) checkpoint: Option<Checkpoint>,
    file: File,
    filter_blocks: u64,
    filter: Option<Filter>,
}

impl Run {
    /// Opens a file; a filter that may not be kept in memory is read where it is.
    pub(super) fn open(
        path: PathBuf,
        number: u64,
        filter_may_take: u64,
    ) -> Result<Self, IndexError> {
        let file = File::open(&path)?;
        let header = Header::read(&path, &file)?;
        let pages = header.identities.div_ceil(PAGE_PAIRS as u64);
        let filter_at = (1 + pages) * PAGE_BYTES as u64;
        let filter_bytes = header.filter_blocks * BLOCK_BYTES as u64;
        if header.filter_blocks == 0 || file.metadata()?.len() != filter_at + filter_bytes {
            return Err(damaged(&path, "its length is wrong"));
        }
        let mut run = Self {
            number,
            path,
            day: header.day,
            identities: header.identities,
            checkpoint: header.checkpoint,
            file,
            filter_blocks: header.filter_blocks,
            filter: None,
        };
        if filter_bytes <= filter_may_take {
            run.load_filter(filter_at, filter_bytes, header.filter_crc)?;
        }
        Ok(run)
    }

    fn load_filter(&mut self, at: u64, bytes: u64, crc: u32) -> Result<(), IndexError> {
        let length = usize::try_from(bytes).map_err(|_| damaged(&self.path, "it is too long"))?;
        let mut filter = vec![0; length];
        self.file.read_exact_at(&mut filter, at)?;
        if crc32fast::hash(&filter) != crc {
            return Err(damaged(&self.path, "its filter is damaged"));
        }
        self.filter = Some(Filter::from_bytes(&filter));
        Ok(())
    }

    /// Bytes of memory that its filter takes.
    pub(super) fn filter_bytes(&self) -> u64 {
        self.filter
            .as_ref()
            .map_or(0, |_| self.filter_blocks * BLOCK_BYTES as u64)
    }

    /// The content under a key. Touches the file only for a key that is there, or one in 800.
    pub(super) fn find(&self, key: &[u8; 16]) -> Result<Option<[u8; 16]>, IndexError> {
        let may_hold = match &self.filter {
            Some(filter) => filter.may_hold(key),
            None => self.may_hold_on_disk(key)?,
        };
        if may_hold { self.search(key) } else { Ok(None) }
    }

    fn may_hold_on_disk(&self, key: &[u8; 16]) -> Result<bool, IndexError> {
        let at = (1 + self.pages()) * PAGE_BYTES as u64
            + filter::block_of(key, self.filter_blocks) * BLOCK_BYTES as u64;
        let mut block = [0; BLOCK_BYTES];
        self.file.read_exact_at(&mut block, at)?;
        Ok(filter::may_hold(&filter::block_from(&block), key))
    }

    /// Keys are spread evenly, so a key's value says about where it stands.
    fn search(&self, key: &[u8; 16]) -> Result<Option<[u8; 16]>, IndexError> {
        let (mut from, mut to) = (0, self.pages());
        let (mut low, mut high) = (0, u64::MAX);
        let wanted = leading(key);
        let mut page = vec![0; PAGE_BYTES];
        let mut steps = 0;
        while from < to {
            let at = if steps < GUESSES {
                guess(wanted, low, high, from, to)
            } else {
                from + (to - from) / 2
            };
            steps += 1;
            let pairs = self.read_page(at, &mut page)?;
            let (Some(first), Some(last)) = (pairs.first(), pairs.last()) else {
                return Err(damaged(&self.path, "a page is empty"));
            };
            if key[..] < first[..16] {
                (to, high) = (at, leading(first));
            } else if key[..] > last[..16] {
                (from, low) = (at + 1, leading(last));
            } else {
                let found = pairs.binary_search_by(|pair| pair[..16].cmp(key));
                return Ok(found.ok().map(|place| content_of(&pairs[place])));
            }
        }
        Ok(None)
    }

    fn pages(&self) -> u64 {
        self.identities.div_ceil(PAGE_PAIRS as u64)
    }

    /// How many identities a page holds.
    fn pairs_of(&self, page: u64) -> usize {
        let left = self.identities - page * PAGE_PAIRS as u64;
        usize::try_from(left).map_or(PAGE_PAIRS, |left| left.min(PAGE_PAIRS))
    }

    fn read_page<'a>(
        &self,
        page: u64,
        bytes: &'a mut [u8],
    ) -> Result<&'a [[u8; PAIR_BYTES]], IndexError> {
        self.file
            .read_exact_at(bytes, (1 + page) * PAGE_BYTES as u64)?;
        self.checked(page, bytes)
    }

    fn checked<'a>(
        &self,
        page: u64,
        bytes: &'a [u8],
    ) -> Result<&'a [[u8; PAIR_BYTES]], IndexError> {
        if crc32fast::hash(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(damaged(&self.path, "a page is damaged"));
        }
        let (pairs, _) = bytes.as_chunks();
        Ok(&pairs[..self.pairs_of(page)])
    }

    /// Reads all of it.
    pub(super) fn check(&self) -> Result<(), IndexError> {
        let mut pairs = self.pairs();
        while pairs.next()?.is_some() {}
        Ok(())
    }

    /// All of it, in the order of the keys.
    pub(super) fn pairs(&self) -> Pairs<'_> {
        Pairs {
            run: self,
            next_page: 0,
            read: Vec::new(),
            place: 0,
        }
    }
}

/// Whether the header of the run at `path` is one that this program reads.
pub(super) fn check_format(path: &Path) -> Result<(), IndexError> {
    Header::read(path, &File::open(path)?).map(drop)
}

/// Up to where the journal is in the index with the run in this file.
pub(super) fn checkpoint_of(path: &Path, file: &File) -> Result<Option<Checkpoint>, IndexError> {
    Ok(Header::read(path, file)?.checkpoint)
}

/// A run's header in which the journal `old` is called `new`; other journals keep their names.
///
/// # Errors
/// When it is no header that this program knows.
pub fn renamed(
    header: &[u8; HEADER_BYTES],
    old: &JournalId,
    new: &JournalId,
) -> io::Result<[u8; HEADER_BYTES]> {
    let read = Header::decode(Path::new("a run"), header);
    let mut read = read.map_err(|error| io::Error::other(error.to_string()))?;
    if let Some(checkpoint) = &mut read.checkpoint
        && checkpoint.journal == *old
    {
        checkpoint.journal = new.clone();
    }
    let mut bytes = [0; HEADER_BYTES];
    bytes.copy_from_slice(&read.encode());
    Ok(bytes)
}

/// Reads a run from its beginning to its end.
pub(super) struct Pairs<'a> {
    run: &'a Run,
    next_page: u64,
    read: Vec<Pair>,
    place: usize,
}

impl Pairs<'_> {
    /// The next pair.
    pub(super) fn next(&mut self) -> Result<Option<Pair>, IndexError> {
        if self.place == self.read.len() {
            self.fill()?;
        }
        let pair = self.read.get(self.place).copied();
        self.place += 1;
        Ok(pair)
    }

    fn fill(&mut self) -> Result<(), IndexError> {
        self.read.clear();
        self.place = 0;
        let count = (self.run.pages() - self.next_page).min(READ_PAGES);
        let mut bytes = vec![0; usize::try_from(count).expect("at most 64") * PAGE_BYTES];
        let at = (1 + self.next_page) * PAGE_BYTES as u64;
        self.run.file.read_exact_at(&mut bytes, at)?;
        for page in bytes.chunks_exact(PAGE_BYTES) {
            let pairs = self.run.checked(self.next_page, page)?;
            self.read
                .extend(pairs.iter().map(|pair| (key_of(pair), content_of(pair))));
            self.next_page += 1;
        }
        Ok(())
    }
}

/// Writes a run.
pub(super) struct RunWriter {
    path: PathBuf,
    file: io::BufWriter<File>,
    filter: Filter,
    page: Vec<u8>,
    identities: u64,
    last: Option<[u8; 16]>,
    is_finished: bool,
}

impl RunWriter {
    /// Begins a run of at most so many identities, under a name that no run has.
    pub(super) fn begin(path: &Path, at_most: u64) -> Result<Self, IndexError> {
        let path = path.with_extension("tmp");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let mut file = io::BufWriter::with_capacity(256 << 10, file);
        file.write_all(&[0; PAGE_BYTES])?;
        Ok(Self {
            path,
            file,
            filter: Filter::for_keys(at_most),
            page: Vec::with_capacity(PAGE_BYTES),
            identities: 0,
            last: None,
            is_finished: false,
        })
    }

    /// Adds a pair, in the order of keys; the first one of a key counts.
    pub(super) fn add(&mut self, (key, content): &Pair) -> Result<(), IndexError> {
        if self.last.as_ref() == Some(key) {
            return Ok(());
        }
        self.last = Some(*key);
        self.filter.insert(key);
        self.page.extend_from_slice(key);
        self.page.extend_from_slice(content);
        self.identities += 1;
        if self.page.len() == PAGE_PAIRS * PAIR_BYTES {
            self.end_page()?;
        }
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), IndexError> {
        self.page.resize(CRC_AT, 0);
        let crc = crc32fast::hash(&self.page);
        self.page.extend_from_slice(&crc.to_le_bytes());
        self.file.write_all(&self.page)?;
        self.page.clear();
        Ok(())
    }

    /// Makes it a run that stays, whatever happens to the power.
    pub(super) fn finish(
        mut self,
        day: i64,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), IndexError> {
        if !self.page.is_empty() {
            self.end_page()?;
        }
        let filter = self.filter.to_bytes();
        self.file.write_all(&filter)?;
        let header = Header {
            filter_crc: crc32fast::hash(&filter),
            identities: self.identities,
            filter_blocks: (filter.len() / BLOCK_BYTES) as u64,
            day,
            checkpoint: checkpoint.cloned(),
        };
        self.file.flush()?;
        self.file.get_ref().write_all_at(&header.encode(), 0)?;
        self.file.get_ref().sync_all()?;
        let run = self.path.with_extension("run");
        fs::rename(&self.path, &run)?;
        self.is_finished = true;
        sync_dir(run.parent().unwrap_or(&run))
            // nobody knows of it, and it would be written again under another name
            .inspect_err(|_| drop(fs::remove_file(&run)))?;
        Ok(())
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // what was not written must not take the room that it lacked; else the next start removes it
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What a run says of itself.
struct Header {
    filter_crc: u32,
    identities: u64,
    filter_blocks: u64,
    day: i64,
    checkpoint: Option<Checkpoint>,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PAGE_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.filter_crc.to_le_bytes());
        bytes.extend_from_slice(&self.identities.to_le_bytes());
        bytes.extend_from_slice(&self.filter_blocks.to_le_bytes());
        bytes.extend_from_slice(&self.day.to_le_bytes());
        if let Some(checkpoint) = &self.checkpoint {
            bytes.extend_from_slice(&checkpoint.position.0.to_le_bytes());
            bytes.extend_from_slice(&checkpoint.accepted.at.as_millis().to_le_bytes());
            bytes.extend_from_slice(&checkpoint.segment.0.to_le_bytes());
            bytes.extend_from_slice(&checkpoint.offset.to_le_bytes());
            bytes.extend_from_slice(&checkpoint.accepted.heard.as_millis().to_le_bytes());
            let id = checkpoint.journal.as_str().as_bytes();
            bytes.extend_from_slice(&id[..id.len().min(ID_BYTES)]);
        }
        bytes.resize(CRC_AT, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn read(path: &Path, file: &File) -> Result<Self, IndexError> {
        let mut bytes = [0; PAGE_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        Self::decode(path, &bytes)
    }

    fn decode(path: &Path, bytes: &[u8; PAGE_BYTES]) -> Result<Self, IndexError> {
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(damaged(path, "its header is damaged"));
        }
        let version = u32_at(bytes, 8);
        check_version(path, version, VERSION)?;
        Ok(Self {
            filter_crc: u32_at(bytes, 12),
            identities: u64_at(bytes, 16),
            filter_blocks: u64_at(bytes, 24),
            day: u64_at(bytes, 32).cast_signed(),
            checkpoint: checkpoint_in(bytes)?,
        })
    }
}

fn checkpoint_in(header: &[u8; PAGE_BYTES]) -> Result<Option<Checkpoint>, IndexError> {
    if header[ID_AT] == 0 {
        return Ok(None);
    }
    let id = std::str::from_utf8(&header[ID_AT..ID_AT + ID_BYTES])
        .map_err(|_| IndexError::damaged("the name of its journal is no text"))?;
    Ok(Some(Checkpoint {
        journal: JournalId::new(id.trim_end_matches('\0')),
        position: Position(u64_at(header, CHECKPOINT_AT)),
        accepted: Moment {
            at: Timestamp::from_millis(u64_at(header, CHECKPOINT_AT + 8).cast_signed()),
            heard: Heard::from_millis(u64_at(header, CHECKPOINT_AT + 32).cast_signed()),
        },
        segment: Position(u64_at(header, CHECKPOINT_AT + 16)),
        offset: u64_at(header, CHECKPOINT_AT + 24),
    }))
}

/// About where a key stands among pages of which only the ends are known.
fn guess(wanted: u64, low: u64, high: u64, from: u64, to: u64) -> u64 {
    let wanted = wanted.clamp(low, high);
    let share = u128::from(wanted - low) * u128::from(to - from);
    let at = from + u64::try_from(share / (u128::from(high - low) + 1)).unwrap_or(0);
    at.min(to - 1)
}

fn leading(bytes: &[u8]) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(raw)
}

fn key_of(pair: &[u8; PAIR_BYTES]) -> [u8; 16] {
    let (halves, _) = pair.as_chunks::<16>();
    halves[0]
}

fn content_of(pair: &[u8; PAIR_BYTES]) -> [u8; 16] {
    let (halves, _) = pair.as_chunks::<16>();
    halves[1]
}

fn damaged(path: &Path, what: &str) -> IndexError {
    IndexError::Damaged(format!("{}: {what}", path.display()))
}
