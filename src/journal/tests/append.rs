use super::*;

use Verdict::{Accepted, Conflict, Duplicate};

#[tokio::test]
async fn what_was_appended_is_read_back_before_and_after_a_restart() {
    let bench = Bench::new();
    let (journal, report) = bench.open();

    let first = append(&journal, &["a", "b"]).await;
    let second = append(&journal, &["c"]).await;

    assert!(report.is_new);
    assert_eq!(first, [Accepted(Position(1)), Accepted(Position(2))]);
    assert_eq!(second, [Accepted(Position(3))]);
    assert_eq!(read_all(&journal).await, expected(&["a", "b", "c"]));
    assert_eq!(*journal.end().borrow(), Position(3));
    let id = journal.id();
    drop(journal);
    let (journal, report) = bench.open();
    assert_eq!((report.id, report.end), (id, Position(3)));
    assert_eq!(report.reindexed_entries, 0);
    assert_eq!(read_all(&journal).await, expected(&["a", "b", "c"]));
    assert_eq!(append(&journal, &["d"]).await, [Accepted(Position(4))]);
}

#[tokio::test]
async fn reading_begins_after_any_position_and_ends_empty_at_the_end() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a", "b", "c"]).await;
    drop(journal);
    let (journal, _) = bench.open();

    let middle = journal.read(Position(1), 10).await.unwrap();
    let end = journal.read(Position(3), 10).await.unwrap();

    let texts: Vec<_> = middle.entries.iter().map(|entry| text_of(entry)).collect();
    assert_eq!((texts, middle.through), (vec!["b", "c"], Position(3)));
    assert!(end.entries.is_empty());
    assert_eq!(end.through, Position(3));
}

#[tokio::test]
async fn times_never_run_backwards_even_when_the_clock_does() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;

    bench.clock.set(5);
    append(&journal, &["b"]).await;
    drop(journal);
    let (journal, _) = bench.open();
    append(&journal, &["c"]).await;

    let batch = journal.read(Position::ZERO, 10).await.unwrap();
    let more = journal.read(batch.through, 10).await.unwrap();
    let mut entries = batch.entries;
    entries.extend(more.entries);
    let times: Vec<_> = entries.iter().map(|entry| entry.received_at).collect();
    assert_eq!(times, [Timestamp::from_millis(1000 * DAY_MS); 3]);
}

#[tokio::test]
async fn a_new_journal_begins_after_what_stores_know() {
    let mut bench = Bench::new();
    bench.begin_after = Position(41);

    let (journal, report) = bench.open();
    let verdicts = append(&journal, &["a"]).await;

    assert_eq!((report.oldest, report.end), (Position(42), Position(41)));
    assert_eq!(verdicts, [Accepted(Position(42))]);
    let before = journal.read(Position(3), 10).await.unwrap_err();
    let oldest = Position(42);
    assert_eq!(before, ReadError::Trimmed { oldest });
}

#[tokio::test]
async fn a_second_one_is_a_duplicate_or_a_conflict_in_a_batch_in_flight_and_on_disk() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let twins = vec![named("a"), named("a"), saying("a", "other")];

    let (one, two) = tokio::join!(
        journal.append(twins, Origin::Outside),
        journal.append(vec![named("a"), named("b")], Origin::Outside),
    );
    let later = journal
        .append(vec![named("a"), saying("b", "other")], Origin::Inside)
        .await;

    assert_eq!(one.unwrap(), [Accepted(Position(1)), Duplicate, Conflict]);
    assert_eq!(two.unwrap(), [Duplicate, Accepted(Position(2))]);
    assert_eq!(later.unwrap(), [Duplicate, Conflict]);
    assert_eq!(read_all(&journal).await, expected(&["a", "b"]));
}

#[tokio::test]
async fn duplicates_are_known_after_a_restart_and_without_the_index() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a", "b"]).await;
    drop(journal);

    let (journal, _) = bench.open();
    let after_restart = append(&journal, &["a"]).await;
    drop(journal);
    bench.lose_index();
    let (journal, report) = bench.open();
    let after_loss = append(&journal, &["b", "c"]).await;

    assert_eq!(after_restart, [Duplicate]);
    assert_eq!(after_loss, [Duplicate, Accepted(Position(3))]);
    assert_eq!(report.reindexed_entries, 2);
    assert!(report.index_rebuilt.is_some());
}

#[tokio::test]
async fn a_damaged_index_is_made_anew() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    drop(journal);

    for file in std::fs::read_dir(bench.index_dir()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::write(&path, b"not what was written").unwrap();
        }
    }
    let (journal, report) = bench.open();

    assert!(report.index_rebuilt.is_some());
    assert_eq!(append(&journal, &["a"]).await, [Duplicate]);
}

#[tokio::test]
async fn an_index_that_is_behind_catches_up_from_the_tail() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    drop(journal);
    let aside = bench.dir.path().join("aside");
    copy_dir(&bench.index_dir(), &aside);
    let (journal, _) = bench.open();
    append(&journal, &["b", "c"]).await;
    drop(journal);

    bench.lose_index();
    std::fs::rename(&aside, bench.index_dir()).unwrap();
    let (journal, report) = bench.open();

    assert_eq!((report.reindexed_entries, report.index_rebuilt), (2, None));
    assert_eq!(append(&journal, &["a", "c"]).await, [Duplicate, Duplicate]);
}

#[tokio::test]
async fn an_identity_is_known_for_the_days_it_must_be_and_then_dropped() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let index = &journal.shared.index;
    for (day, id) in [(1000, "a"), (1001, "b"), (1002, "c")] {
        bench.clock.set(day * DAY_MS);
        append(&journal, &[id]).await;
        indexed(&journal).await;
    }

    index.expire(3);
    let within = append(&journal, &["a"]).await;
    index.expire(2);
    let beyond = append(&journal, &["a", "b"]).await;

    assert_eq!(within, [Duplicate]);
    assert_eq!(beyond, [Accepted(Position(4)), Duplicate]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_an_fsync() {
    let bench = Bench::new();
    let journal = Arc::new(bench.open().0);

    let appends = (0..500).map(|n| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { append(&journal, &[&format!("{n}")]).await })
    });
    for appended in appends.collect::<Vec<_>>() {
        assert!(matches!(appended.await.unwrap()[..], [Accepted(_)]));
    }

    let syncs = journal.shared.syncs.load(Ordering::Relaxed);
    assert!(syncs < 250, "{syncs} fsyncs for 500 requests");
    assert_eq!(read_all(&journal).await.len(), 500);
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_is_taken_any_more_and_the_process_is_told() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    let mut failed = journal.failed();

    journal.shared.fails_next_sync.store(true, Ordering::SeqCst);
    let in_hand = journal.append(vec![named("b")], Origin::Outside).await;
    journal
        .shared
        .fails_next_sync
        .store(false, Ordering::SeqCst);
    let later = journal.append(vec![named("c")], Origin::Inside).await;

    assert!(matches!(in_hand, Err(AppendError::Failed(_))));
    assert!(matches!(later, Err(AppendError::Failed(_))));
    assert!(failed.wait_for(Option::is_some).await.is_ok());
    assert_eq!(*journal.end().borrow(), Position(1));
}

#[tokio::test]
async fn closing_writes_what_waits_and_refuses_what_comes() {
    let bench = Bench::new();
    let (journal, _) = bench.open();

    let (appended, ()) = tokio::join!(
        journal.append(vec![named("a")], Origin::Outside),
        journal.close(),
    );
    let later = journal.append(vec![named("b")], Origin::Inside).await;

    assert_eq!(appended.unwrap(), [Accepted(Position(1))]);
    assert_eq!(later, Err(AppendError::Closed));
    drop(journal);
    assert_eq!(read_all(&bench.open().0).await, expected(&["a"]));
}

#[tokio::test]
async fn a_full_queue_refuses_the_outside_at_once() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let held = journal.submitter.hold_all_places();

    let outside = journal.append(vec![named("a")], Origin::Outside).await;
    let (inside, ()) = tokio::join!(journal.append(vec![named("b")], Origin::Inside), async {
        drop(held)
    },);

    assert_eq!(outside, Err(AppendError::Overloaded));
    assert_eq!(inside.unwrap(), [Accepted(Position(1))]);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_claim_behind() {
    let bench = Bench::new();
    let (journal, _) = bench.open();

    let mut gone = Box::pin(journal.append(vec![named("a")], Origin::Outside));
    let _ = futures_util::poll!(gone.as_mut());
    drop(gone);
    let verdicts = append(&journal, &["a"]).await;

    assert_eq!(verdicts, [Duplicate]);
}

/// Copies a directory that may be in use: what vanishes meanwhile was temporary.
pub(super) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &target);
        } else if let Err(error) = std::fs::copy(&path, &target) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}
