mod append;
mod damage;
mod erase;
mod files;
mod identities;
mod model;
mod pinned;
mod repair;
mod room;

use std::path::Path;
use std::sync::atomic::AtomicI64;

use mimamori_actors::domain::{ClassroomId, Entry, Heard, Record, Rejection, Timestamp};
use mimamori_actors::ports::Identity;
use tempfile::TempDir;

use super::*;

/// A clock that is set by hand.
#[derive(Default)]
pub(super) struct HandClock {
    now: AtomicI64,
    /// For how long nothing was heard, in milliseconds.
    absent: AtomicI64,
}

impl HandClock {
    fn set(&self, millis: i64) {
        self.now.store(millis, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn heard(&self) -> Heard {
        let absent = self.absent.load(Ordering::SeqCst);
        Heard::from_millis(self.now.load(Ordering::SeqCst) - absent)
    }
}

const DAY_MS: i64 = 86_400_000;
const CONSUMERS: [Consumer; 3] = [
    Consumer {
        name: "sessions",
        holds_back: true,
    },
    Consumer {
        name: "records",
        holds_back: true,
    },
    Consumer {
        name: "series",
        holds_back: false,
    },
];

/// A storage directory and how it is opened.
struct Bench {
    dir: TempDir,
    clock: Arc<HandClock>,
    segment_bytes: u64,
    max_bytes: u64,
    min_free_bytes: u64,
    begin_after: Position,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(HandClock::default());
        clock.set(1000 * DAY_MS);
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock,
            segment_bytes: 1 << 20,
            max_bytes: 1 << 30,
            min_free_bytes: 0,
            begin_after: Position::ZERO,
        }
    }

    fn with_segments(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            ..Self::new()
        }
    }

    fn try_open(&self) -> Result<(FileJournal, JournalReport), JournalError> {
        self.open_on(Arc::new(RealDisk))
    }

    fn open_on(&self, disk: Arc<dyn Disk>) -> Result<(FileJournal, JournalReport), JournalError> {
        let options = JournalOptions {
            dir: self.dir.path().to_path_buf(),
            max_bytes: self.max_bytes,
            min_free_bytes: self.min_free_bytes,
            dedup_days: 7,
            consumers: CONSUMERS.to_vec(),
            begin_after: self.begin_after,
            clock: self.clock.clone(),
            segment_bytes: self.segment_bytes,
            disk,
        };
        FileJournal::open(options, &mut |_, _| {})
    }

    fn open(&self) -> (FileJournal, JournalReport) {
        self.try_open().unwrap()
    }

    fn journal_dir(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn index_dir(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    fn lose_index(&self) {
        std::fs::remove_dir_all(self.index_dir()).unwrap();
    }

    fn segment_files(&self) -> Vec<PathBuf> {
        let found = segment::list(&self.journal_dir()).unwrap();
        found.into_iter().map(|(_, path)| path).collect()
    }
}

fn identity(name: &str, content: &str) -> Identity {
    let half = |text: &str| {
        *blake3::hash(text.as_bytes())
            .as_bytes()
            .first_chunk()
            .unwrap()
    };
    Identity {
        key: half(name),
        content: half(content),
    }
}

/// A record that says its own name.
fn named(name: &str) -> NewRecord {
    saying(name, name)
}

fn saying(name: &str, content: &str) -> NewRecord {
    NewRecord {
        record: Record::Rejection(Rejection {
            classroom: ClassroomId::new("default"),
            index: 0,
            code: "bad_time".to_owned(),
            detail: String::new(),
            pointer: String::new(),
            event_id: None,
            payload: content.to_owned(),
        }),
        identity: Some(identity(name, content)),
        json: None,
    }
}

fn text_of(entry: &Entry) -> &str {
    match &entry.record {
        Record::Rejection(rejection) => &rejection.payload,
        Record::Event(_) | Record::Timer(_) | Record::Fact(_) | Record::DeadLetter(_) => "",
    }
}

async fn append(journal: &FileJournal, names: &[&str]) -> Vec<Verdict> {
    let batch = names.iter().map(|name| named(name)).collect();
    journal.append(batch, Origin::Outside).await.unwrap()
}

/// Waits until every identity is in the index, which is behind the answers.
async fn indexed(journal: &FileJournal) {
    let end = *journal.end().borrow();
    let mut through = journal.shared.indexed_through.subscribe();
    // the writer answers first and then hands over
    while *through.borrow() < end && !journal.shared.backlog.reaches(end) {
        tokio::task::yield_now().await;
    }
    journal.index_now();
    through.wait_for(|through| *through >= end).await.unwrap();
}

/// Reads everything, in batches.
async fn read_all(journal: &FileJournal) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut after = Position(journal.oldest().0 - 1);
    loop {
        let batch = journal.read(after, 7).await.unwrap();
        if batch.through == after {
            return found;
        }
        after = batch.through;
        for entry in batch.entries {
            found.push((entry.position.0, text_of(&entry).to_owned()));
        }
    }
}

fn expected(names: &[&str]) -> Vec<(u64, String)> {
    (1..).zip(names.iter().map(ToString::to_string)).collect()
}

fn flip_bit(path: &Path, offset: u64) {
    use std::os::unix::fs::FileExt;

    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 4;
    file.write_all_at(&byte, offset).unwrap();
}

/// Where each frame of a segment file begins.
fn frames_of(path: &Path) -> Vec<u64> {
    let file = std::fs::File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut scanner = scan::Scanner::new(&file, segment::SEGMENT_HEADER_BYTES, length);
    let mut found = Vec::new();
    while let Some(scan::Found::Frame { offset, .. }) = scanner.next().unwrap() {
        found.push(offset);
    }
    found
}
