use super::*;

use std::fs::OpenOptions;

/// The files as a crash at this moment leaves them.
fn crashed(bench: &Bench) -> Bench {
    let crashed = Bench::new();
    for part in ["journal", "index"] {
        let to = crashed.dir.path().join(part);
        append::copy_dir(&bench.dir.path().join(part), &to);
    }
    crashed
}

#[tokio::test]
async fn what_was_not_in_the_index_when_the_process_died_is_known_again() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["in the index", "too"]).await;
    indexed(&journal).await;
    append(&journal, &["not yet", "not either"]).await;

    let crashed = crashed(&bench);
    let (survivor, report) = crashed.open();
    let verdicts = append(
        &survivor,
        &["in the index", "too", "not yet", "not either", "new"],
    )
    .await;

    assert_eq!((report.reindexed_entries, report.index_rebuilt), (2, None));
    assert_eq!(verdicts[..4], [Verdict::Duplicate; 4]);
    assert_eq!(verdicts[4], Verdict::Accepted(Position(5)));
}

#[tokio::test]
async fn an_identity_is_known_in_memory_in_the_index_and_across_both() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a", "b"]).await;

    let in_memory = append(&journal, &["a"]).await;
    indexed(&journal).await;
    let in_the_index = append(&journal, &["a", "c"]).await;
    let across = append(&journal, &["b", "c"]).await;
    let other = journal
        .append(vec![saying("a", "x"), saying("c", "x")], Origin::Outside)
        .await;

    assert_eq!(in_memory, [Verdict::Duplicate]);
    assert_eq!(
        in_the_index,
        [Verdict::Duplicate, Verdict::Accepted(Position(3))]
    );
    assert_eq!(across, [Verdict::Duplicate; 2]);
    assert_eq!(other.unwrap(), [Verdict::Conflict; 2]);
}

#[tokio::test]
async fn an_index_that_the_disk_has_no_room_for_is_written_when_there_is_room_again() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    let has_no_room = &journal.shared.index.has_no_room;
    has_no_room.store(true, Ordering::SeqCst);
    append(&journal, &["a"]).await;
    while !journal.shared.backlog.reaches(Position(1)) {
        tokio::task::yield_now().await;
    }
    journal.index_now();

    // who is outside is told, and does not wait; the inside goes on
    while journal.room().is_free() {
        tokio::task::yield_now().await;
    }
    let outside = journal.append(vec![named("b")], Origin::Outside).await;
    let inside = journal
        .append(vec![named("a"), named("b")], Origin::Inside)
        .await;
    has_no_room.store(false, Ordering::SeqCst);
    indexed(&journal).await;

    assert!(
        matches!(outside, Err(AppendError::NoRoom(_))),
        "{outside:?}"
    );
    assert_eq!(
        inside.unwrap(),
        [Verdict::Duplicate, Verdict::Accepted(Position(2))]
    );
    assert!(journal.failed().borrow().is_none());
    assert_eq!(append(&journal, &["a", "b"]).await, [Verdict::Duplicate; 2]);
}

#[tokio::test]
async fn an_index_that_has_no_room_to_the_end_is_caught_up_at_the_next_start() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    journal
        .shared
        .index
        .has_no_room
        .store(true, Ordering::SeqCst);
    append(&journal, &["a", "b"]).await;
    journal.close().await;
    let failed = journal.failed().borrow().clone();
    drop(journal);

    let (journal, report) = bench.open();

    assert_eq!(failed, None);
    assert_eq!((report.reindexed_entries, report.index_rebuilt), (2, None));
    assert_eq!(append(&journal, &["a", "b"]).await, [Verdict::Duplicate; 2]);
}

#[tokio::test]
async fn an_end_that_was_noted_and_is_missing_is_damage_though_the_index_never_had_it() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b", "c"]).await;
    drop(journal);
    for file in std::fs::read_dir(bench.index_dir()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "run") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let path = bench.segment_files()[0].clone();
    let last = *frames_of(&path).last().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(last + 50).unwrap();

    let (journal, report) = bench.open();

    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].lost_entries(), 2);
    let next = append(&journal, &["d"]).await;
    assert_eq!(next, [Verdict::Accepted(Position(4))]);
}

#[tokio::test]
async fn a_segment_that_is_full_is_indexed_by_itself_so_that_it_can_be_let_go() {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    let mut through = journal.shared.indexed_through.subscribe();

    while journal.shared.segments.all().len() < 2 {
        append(&journal, &[&format!("{:0900}", journal.end().borrow().0)]).await;
    }
    let closed = Position(journal.shared.segments.all()[1].first.0 - 1);

    through
        .wait_for(|through| *through >= closed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_damaged_run_costs_no_identity_of_the_others_nor_of_what_the_journal_has() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        let (journal, _) = bench.open();
        append(&journal, &[name]).await;
    }
    let mut runs: Vec<_> = std::fs::read_dir(bench.index_dir())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "run"))
        .collect();
    runs.sort();
    flip_bit(runs.last().unwrap(), 50);

    let (journal, report) = bench.open();
    let verdicts = append(&journal, &["a", "b"]).await;
    drop(journal);

    assert_eq!(report.reindexed_entries, 2);
    assert!(report.index_rebuilt.is_some());
    assert_eq!(verdicts, [Verdict::Duplicate; 2]);
    let (_, report) = bench.open();
    assert_eq!((report.index_rebuilt, report.reindexed_entries), (None, 0));
}
