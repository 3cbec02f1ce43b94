//! What it costs to ask whether an event is known, and to start with many of whom the index knows nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mimamori::clock::SystemClock;
use mimamori::journal::unwritten::UnwrittenJournal;
use mimamori::journal::{FileJournal, JournalOptions, JournalReport, RealDisk, SEGMENT_BYTES};
use mimamori_actors::domain::{ClassroomId, Position, Record, Rejection};
use mimamori_actors::ports::{Identity, Journal, NewRecord, Origin, Verdict};
use tokio::time::Instant;

use crate::figures::verdict;
use crate::server::target_dir;

const BATCH: u64 = 10;
const MEASURED: u64 = 200_000;
const MANY: u64 = 10_000_000;
/// Just not enough for a run of the index.
const UNINDEXED: u64 = 60_000;

/// Admission with an empty index and with ten million identities in it; a start after a crash.
pub async fn ten_million() -> anyhow::Result<bool> {
    println!("identities: admission without a journal, one task, batches of {BATCH}");
    let dir = tempfile::tempdir_in(target_dir())?;
    let begun = UnwrittenJournal::begin(dir.path(), Arc::new(SystemClock));
    let journal = begun.map_err(anyhow::Error::msg)?;
    let empty = admit(&journal, 0, false).await?;
    let mut number = MEASURED;
    let filling = Instant::now();
    while number < MANY {
        for batch in batches(number, MEASURED, 1) {
            journal.append(batch, Origin::Outside).await?;
        }
        number += MEASURED;
    }
    println!(
        "  filled with {MANY} identities in {:.1} s",
        filling.elapsed().as_secs_f64()
    );
    // what is being merged is merged
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (files, bytes) = size_of(&dir.path().join("index"))?;
    println!("  the index: {files} runs, {} MB", bytes / 1_000_000);
    let full = admit(&journal, number, false).await?;
    let known = admit(&journal, number / 2, true).await?;
    println!(
        "  a new identity: {empty:.0} ns while the index is empty, {full:.0} ns with {MANY}; a known one: {known:.0} ns"
    );
    drop(journal);
    start_after_a_crash().await
}

/// Nanoseconds an identity.
async fn admit(journal: &dyn Journal, from: u64, is_known: bool) -> anyhow::Result<f64> {
    let all: Vec<_> = batches(from, MEASURED, 1).collect();
    let begun = Instant::now();
    for batch in all {
        let verdicts = journal.append(batch, Origin::Outside).await?;
        let is_right = |verdict: &Verdict| is_known == matches!(verdict, Verdict::Duplicate);
        anyhow::ensure!(verdicts.iter().all(is_right), "a wrong verdict");
    }
    Ok(begun.elapsed().as_nanos() as f64 / MEASURED as f64)
}

async fn start_after_a_crash() -> anyhow::Result<bool> {
    let dir = tempfile::tempdir_in(target_dir())?;
    let crashed = tempfile::tempdir_in(target_dir())?;
    let (journal, _) = open(dir.path())?;
    for batch in batches(0, UNINDEXED, 600) {
        journal.append(batch, Origin::Outside).await?;
    }
    // the files as a kill leaves them
    for part in ["journal", "index"] {
        std::fs::create_dir(crashed.path().join(part))?;
        for file in std::fs::read_dir(dir.path().join(part))? {
            let file = file?;
            std::fs::copy(
                file.path(),
                crashed.path().join(part).join(file.file_name()),
            )?;
        }
    }
    let begun = Instant::now();
    let (_, report) = open(crashed.path())?;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "  a start after a crash read {} entries that the index did not have",
        report.reindexed_entries
    );
    Ok(verdict(
        "opening such a journal, in seconds",
        seconds,
        seconds < 2.0,
        "ready in < 2",
    ))
}

fn open(dir: &Path) -> anyhow::Result<(FileJournal, JournalReport)> {
    let options = JournalOptions {
        dir: dir.to_owned(),
        max_bytes: 64 << 30,
        min_free_bytes: 0,
        dedup_days: 7,
        consumers: Vec::new(),
        begin_after: Position::ZERO,
        clock: Arc::new(SystemClock),
        segment_bytes: SEGMENT_BYTES,
        disk: Arc::new(RealDisk),
    };
    Ok(FileJournal::open(options, &mut |_, _| {})?)
}

fn batches(from: u64, count: u64, bytes: usize) -> impl Iterator<Item = Vec<NewRecord>> {
    (from..from + count)
        .step_by(usize::try_from(BATCH).unwrap_or(1))
        .map(move |first| {
            (first..first + BATCH)
                .map(|number| record(number, bytes))
                .collect()
        })
}

fn record(number: u64, bytes: usize) -> NewRecord {
    let hash = blake3::hash(&number.to_le_bytes());
    let mut identity = Identity {
        key: [0; 16],
        content: [0; 16],
    };
    identity.key.copy_from_slice(&hash.as_bytes()[..16]);
    identity.content.copy_from_slice(&hash.as_bytes()[16..]);
    let rejection = Rejection {
        classroom: ClassroomId::new("default"),
        index: 0,
        code: String::new(),
        detail: String::new(),
        pointer: String::new(),
        event_id: None,
        payload: "x".repeat(bytes),
    };
    NewRecord {
        identity: Some(identity),
        ..NewRecord::repeatable(Record::Rejection(rejection))
    }
}

fn size_of(dir: &Path) -> anyhow::Result<(usize, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        if file.path().extension().is_some_and(|kind| kind == "run") {
            files += 1;
            bytes += file.metadata()?.len();
        }
    }
    Ok((files, bytes))
}
