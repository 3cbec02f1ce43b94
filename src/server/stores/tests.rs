use std::ffi::OsString;
use std::path::Path;

use mimamori_actors::domain::{ClassroomId, JournalId, Record, Rejection};
use mimamori_actors::ports::{AppendError, NewRecord, Origin, Snapshots, Verdict};

use super::*;
use crate::clock::SystemClock;

async fn open(dir: &Path) -> anyhow::Result<Stores> {
    let environment = [
        ("MIMAMORI_STORAGE__DIR", dir.as_os_str().to_owned()),
        ("MIMAMORI_STORAGE__MIN_FREE_BYTES", OsString::from("1")),
    ];
    let environment = environment.map(|(name, value)| (name.into(), value));
    let loaded = Config::load(None, environment.into_iter()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Stores::open(&loaded.config, &clock).await
}

async fn append(stores: &Stores) -> Result<Vec<Verdict>, AppendError> {
    let rejection = Rejection {
        classroom: ClassroomId::new("default"),
        index: 0,
        code: "bad_time".to_owned(),
        detail: String::new(),
        pointer: String::new(),
        event_id: None,
        payload: String::new(),
    };
    let record = NewRecord::repeatable(Record::Rejection(rejection));
    stores.journal.append(vec![record], Origin::Outside).await
}

async fn close(stores: Stores) {
    stores.close(Duration::from_secs(60)).await.unwrap();
}

#[test]
fn a_store_may_be_at_the_end_of_the_journal_and_not_beyond() {
    let at = |number| Some(Position(number));
    let cases = [
        ([None, None, None], None),
        ([at(10), at(10), at(10)], None),
        ([at(11), at(10), None], Some(("records", 11))),
        ([at(3), at(12), at(13)], Some(("series", 12))),
        ([None, at(0), at(13)], Some(("snapshots", 13))),
    ];
    for ([records, series, snapshots], expected) in cases {
        let offsets = [
            ("records", records),
            ("series", series),
            ("snapshots", snapshots),
        ];

        let beyond = none_beyond(Position(10), &offsets).err();

        let found = beyond.map(|beyond| (beyond.store, beyond.offset.0));
        assert_eq!(found, expected, "{offsets:?}");
    }
}

#[tokio::test]
async fn an_older_journal_beside_newer_stores_stops_the_start_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    let parts = ["journal", "index"];
    let stores = open(dir.path()).await.unwrap();
    append(&stores).await.unwrap();
    close(stores).await;
    for part in parts {
        copy_dir(&dir.path().join(part), &aside.path().join(part));
    }
    let stores = open(dir.path()).await.unwrap();
    append(&stores).await.unwrap();
    let id = stores.journal.id();
    stores.series.write(&id, &[], Position(2)).await.unwrap();
    close(stores).await;
    for part in parts {
        std::fs::remove_dir_all(dir.path().join(part)).unwrap();
        copy_dir(&aside.path().join(part), &dir.path().join(part));
    }

    let refusal = open(dir.path()).await.err().unwrap().to_string();

    for said in ["the series", "position 2", "ends at 1", "storage.dir"] {
        assert!(refusal.contains(said), "{refusal}");
    }
    assert!(!refusal.contains('\n'), "{refusal}");
    // what it says to do helps
    for part in parts {
        std::fs::remove_dir_all(dir.path().join(part)).unwrap();
    }
    let stores = open(dir.path()).await.unwrap();
    assert_eq!(
        append(&stores).await,
        Ok(vec![Verdict::Accepted(Position(3))])
    );
}

#[tokio::test]
async fn a_new_journal_goes_on_behind_the_snapshots_too() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = FjallSnapshots::open(&dir.path().join("snapshots")).unwrap();
    snapshots
        .commit(&JournalId::new("jrn_lost"), b"", Position(41))
        .unwrap();
    drop(snapshots);

    let stores = open(dir.path()).await.unwrap();

    assert_eq!(
        append(&stores).await,
        Ok(vec![Verdict::Accepted(Position(42))])
    );
}

#[tokio::test]
async fn damaged_snapshots_cost_nothing_but_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let stores = open(dir.path()).await.unwrap();
    append(&stores).await.unwrap();
    let id = stores.journal.id();
    close(stores).await;
    for file in std::fs::read_dir(dir.path().join("snapshots")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::write(&path, b"not what was written").unwrap();
        }
    }

    let stores = open(dir.path()).await.unwrap();

    assert_eq!(stores.journal.id(), id);
    assert_eq!(*stores.journal.end().borrow(), Position(1));
    assert!(dir.path().join("snapshots.damaged").is_dir());
}

#[tokio::test]
async fn both_databases_beside_the_journal_hear_what_it_sees_of_the_room_on_their_disk() {
    let dir = tempfile::tempdir().unwrap();

    let stores = open(dir.path()).await.unwrap();

    // the journal's, that of the snapshots, that of the series, and this one
    let shortage = stores.journal.shortage();
    assert_eq!(Arc::strong_count(&shortage), 4);
}

#[tokio::test]
async fn a_journal_that_failed_makes_no_good_end() {
    let dir = tempfile::tempdir().unwrap();
    let failed = open(dir.path()).await.unwrap();
    failed.journal.fail_next_sync();
    append(&failed).await.unwrap_err();

    let closed = failed.close(Duration::from_secs(60)).await;

    let reason = closed.unwrap_err().to_string();
    assert!(reason.contains("made to fail"), "{reason}");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
