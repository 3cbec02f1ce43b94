//! The stores on a disk that is full, for real: a small file system of their own.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::storage::samples::{MORNING, at, executed, journal, room};
use crate::storage::series::{Bucket, Series};
use crate::storage::small_disk::SmallDisk;
use crate::storage::snapshots::FjallSnapshots;
use mimamori_actors::domain::{ClassroomId, Entry, JournalId, Position, SessionKey, StudentId};
use mimamori_actors::ports::{Attempt, Snapshots, Store, StoreError};

/// So many pages are left: nothing can be begun, or it is torn in the middle.
const PAGES_LEFT: [usize; 4] = [0, 1, 3, 8];
/// Tries are 200 ms apart.
const TRIES: usize = 50;

async fn counted(series: &Series) -> Vec<Bucket> {
    series
        .activity(&room(), MORNING, Some(at(40_000)), at(40_000), 300)
        .await
        .unwrap()
}

fn entries(positions: std::ops::Range<u64>) -> Vec<Arc<Entry>> {
    positions.map(|n| executed(n, n % 200)).collect()
}

#[tokio::test]
async fn series_that_met_a_full_disk_count_everything_once_without_a_restart() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let whole_dir = tempfile::tempdir().unwrap();
    let whole = Series::open(whole_dir.path()).unwrap();
    let series = Series::open(disk.dir()).unwrap();
    let mut next = 1;
    for pages in PAGES_LEFT {
        let before = entries(next..next + 500);
        let during = entries(next + 500..next + 2_500);
        next += 2_500;
        for store in [&whole, &series] {
            store
                .write(&journal(), &before, Position(next - 2_001))
                .await
                .unwrap();
        }
        let known = counted(&whole).await;
        disk.fill(pages);
        for _ in 0..3 {
            let refused = series.write(&journal(), &during, Position(next - 1)).await;
            assert!(
                matches!(refused, Err(StoreError::Unavailable(_))),
                "{refused:?}"
            );
            assert_eq!(counted(&series).await, known, "with {pages} pages left");
        }

        disk.give_back();

        whole
            .write(&journal(), &during, Position(next - 1))
            .await
            .unwrap();
        let mut tries = 0;
        while let Err(error) = series.write(&journal(), &during, Position(next - 1)).await {
            tries += 1;
            assert!(tries < TRIES, "with {pages} pages left: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(counted(&series).await, counted(&whole).await);
        let offset = series.offset(&journal()).await.unwrap();
        assert_eq!(offset, Some(Position(next - 1)));
    }
    drop(series);

    let again = Series::open(disk.dir()).unwrap();
    assert_eq!(counted(&again).await, counted(&whole).await);
}

fn key(student: usize) -> SessionKey {
    SessionKey {
        classroom: ClassroomId::new("c"),
        student: StudentId::new(format!("s{student}")),
    }
}

/// Unreadable, of a format that is known; the library's log can make nothing shorter of it.
fn state(round: usize) -> Vec<u8> {
    let mut seed = round as u64 + 1;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[0]
    };
    std::iter::once(1)
        .chain((0..20_000).map(|_| next()))
        .collect()
}

/// Tries again, as checkpoints do.
fn until_it_works<E: std::fmt::Display>(mut put: impl FnMut() -> Result<(), E>) {
    let mut tries = 0;
    while let Err(error) = put() {
        tries += 1;
        assert!(tries < TRIES, "{error}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn snapshots_that_met_a_full_disk_have_every_state_without_a_restart() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let dir = disk.dir().join("snapshots");
    let journal = JournalId::new("jrn_a");
    let snapshots = FjallSnapshots::open(&dir).unwrap();
    for (round, pages) in PAGES_LEFT.into_iter().enumerate() {
        let offset = Position(10 * round as u64 + 10);
        for student in 0..20 {
            snapshots
                .put_session(&key(student), &state(2 * round))
                .unwrap();
        }
        snapshots.commit(&journal, b"before", offset).unwrap();
        disk.fill(pages);
        let put: Vec<_> = (0..20)
            .map(|student| snapshots.put_session(&key(student), &state(2 * round + 1)))
            .collect();
        let committed = snapshots.commit(&journal, b"during", Position(offset.0 + 1));
        assert!(put.iter().any(Result::is_err), "with {pages} pages left");
        assert!(committed.is_err());
        let router = snapshots.router(&journal).unwrap();
        assert_eq!(router, Some((b"before".to_vec(), offset)));

        disk.give_back();

        for (student, put) in put.iter().enumerate() {
            let kept = snapshots.session(&key(student)).unwrap();
            assert_eq!(kept, Some(state(2 * round + usize::from(put.is_ok()))));
        }
        until_it_works(|| snapshots.commit(&journal, b"after", Position(offset.0 + 1)));
        for (student, put) in put.iter().enumerate().filter(|(_, put)| put.is_ok()) {
            let kept = snapshots.session(&key(student)).unwrap();
            assert_eq!(kept, Some(state(2 * round + 1)), "{put:?}");
        }
        let attempt = Attempt {
            key: key(round),
            position: offset,
            count: 1,
        };
        snapshots.put_attempts(&journal, &attempt).unwrap();
    }
    for student in 0..20 {
        snapshots.put_session(&key(student), &state(9)).unwrap();
    }
    snapshots.commit(&journal, b"last", Position(50)).unwrap();
    drop(snapshots);

    let again = FjallSnapshots::open(&dir).unwrap();
    let router = again.router(&journal).unwrap();
    assert_eq!(router, Some((b"last".to_vec(), Position(50))));
    assert_eq!(again.attempts(&journal).unwrap().len(), PAGES_LEFT.len());
    for student in 0..20 {
        assert_eq!(again.session(&key(student)).unwrap(), Some(state(9)));
    }
}
