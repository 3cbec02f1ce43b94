use super::*;

use std::time::Duration;

use mimamori_actors::domain::{Heard, TimerCause};

/// Appends entries of about 300 bytes, one a request.
async fn fill(journal: &FileJournal, range: std::ops::Range<u32>) {
    for n in range {
        append(journal, &[&format!("{n:0200}")]).await;
    }
    indexed(journal).await;
}

async fn trimmed(journal: &FileJournal, is_enough: impl Fn(Position) -> bool) {
    let mut oldest = journal.shared.oldest.subscribe();
    tokio::time::timeout(
        Duration::from_secs(10),
        oldest.wait_for(|oldest| is_enough(*oldest)),
    )
    .await
    .expect("nothing was trimmed")
    .unwrap();
}

#[tokio::test]
async fn entries_are_read_across_segments_from_files() {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    fill(&journal, 0..100).await;
    drop(journal);
    let (journal, report) = bench.open();

    let read = read_all(&journal).await;

    assert!(report.segments > 5, "{} segments", report.segments);
    assert_eq!(report.reindexed_entries, 0);
    assert_eq!(read.len(), 100);
    assert!(read.iter().map(|(position, _)| *position).eq(1..=100));
    assert_eq!(journal.damaged(), []);
}

/// The program before wrote the fixture: 16 entries, a line of a class with help, errors and timers.
#[tokio::test]
async fn a_journal_of_the_version_before_is_read_and_goes_on_in_ours() {
    let bench = Bench::new();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal");
    std::fs::create_dir(bench.journal_dir()).unwrap();
    std::fs::copy(
        fixtures.join("00000000000000000001.v1.seg"),
        bench.journal_dir().join("00000000000000000001.seg"),
    )
    .unwrap();
    let (journal, report) = bench.open();

    append(&journal, &["x"]).await;

    let batch = journal.read(Position::ZERO, 100).await.unwrap();
    let (old, new) = batch.entries.split_at(16);
    assert_eq!((report.end, report.damaged), (Position(16), vec![]));
    assert_eq!(report.last_accepted, old[15].moment());
    let heard = |entry: &Entry| entry.heard_at == Heard::of_wall(entry.received_at);
    assert!(old.iter().all(|entry| heard(entry)));
    let is_help_timer = |record: &Record| matches!(record, Record::Timer(timer) if matches!(timer.cause, TimerCause::HelpSilent { .. }));
    assert!(old.iter().any(|entry| is_help_timer(&entry.record)));
    assert_eq!(text_of(&new[0]), "x");
    assert!(new[0].heard_at >= old[15].heard_at && new[0].received_at >= old[15].received_at);
    drop(journal);
    assert_eq!(bench.open().1.last_accepted, new[0].moment());
}

#[tokio::test]
async fn both_times_go_on_over_a_restart_whether_the_index_knows_them_or_not() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    bench.clock.set(1000 * DAY_MS + 50_000);
    bench.clock.absent.store(40_000, Ordering::SeqCst);
    append(&journal, &["a"]).await;
    let last = journal.read(Position::ZERO, 1).await.unwrap().entries[0].moment();
    drop(journal);

    let (journal, known) = bench.open();
    drop(journal);
    bench.lose_index();
    let (_journal, read_again) = bench.open();

    assert_eq!(last.at.as_millis() - last.heard.as_millis(), 40_000);
    assert_eq!(known.last_accepted, last);
    assert_eq!(read_again.last_accepted, last);
}

#[tokio::test]
async fn a_record_larger_than_a_segment_gets_one_of_its_own_size() {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    let large = "x".repeat(50_000);

    append(&journal, &["a", &large]).await;
    append(&journal, &["b"]).await;
    drop(journal);
    let (journal, _) = bench.open();

    assert_eq!(read_all(&journal).await, expected(&["a", &large, "b"]));
}

#[tokio::test]
async fn what_the_consumers_kept_is_trimmed_in_whole_segments_once_all_that_hold_back_reported() {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    fill(&journal, 0..60).await;
    let files = bench.segment_files().len();

    journal.committed("series", Position(50));
    journal.committed("sessions", Position(55));
    journal.shared.trim();
    assert_eq!(journal.oldest(), Position(1));
    journal.committed("records", Position(40));
    // the segment that holds position 41 is the oldest that is needed
    let segments = journal.shared.segments.all();
    let holds_41 = segments.partition_point(|segment| segment.first <= Position(41)) - 1;
    let oldest_left = segments[holds_41].first;
    trimmed(&journal, |oldest| oldest == oldest_left).await;

    let oldest = journal.oldest();
    assert!(bench.segment_files().len() < files);
    let gone = journal.shared.read_files(Position::ZERO, 10).unwrap_err();
    assert_eq!(gone, ReadError::Trimmed { oldest });
    assert_eq!(read_all(&journal).await.len() as u64, 61 - oldest.0);
    drop(journal);
    assert_eq!(bench.open().1.oldest, oldest);
}

#[tokio::test]
async fn identities_survive_a_restart_after_the_segment_they_stand_in_was_trimmed() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a", "b"]).await;
    indexed(&journal).await;
    for consumer in ["sessions", "records", "series"] {
        journal.committed(consumer, Position(2));
    }
    journal.work.send(Work::BeginSegment).unwrap();
    trimmed(&journal, |oldest| oldest == Position(3)).await;
    drop(journal);

    let (journal, report) = bench.open();
    let verdicts = append(&journal, &["a", "b", "c"]).await;

    assert_eq!((report.index_rebuilt, report.segments), (None, 1));
    assert_eq!(
        verdicts,
        [
            Verdict::Duplicate,
            Verdict::Duplicate,
            Verdict::Accepted(Position(3))
        ]
    );
    drop(journal);
    assert_eq!(bench.open().1.index_rebuilt, None);
}

#[tokio::test]
async fn an_index_that_lacks_entries_which_were_trimmed_is_made_anew() {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    drop(journal);
    let old = tempfile::tempdir().unwrap();
    append::copy_dir(&bench.index_dir(), old.path());
    let (journal, _) = bench.open();
    fill(&journal, 0..60).await;
    drop(journal);
    let first = bench.segment_files().remove(0);
    std::fs::remove_file(first).unwrap();
    bench.lose_index();
    append::copy_dir(old.path(), &bench.index_dir());

    let (journal, report) = bench.open();

    assert!(report.index_rebuilt.is_some());
    let twin = append(&journal, &[&format!("{:0200}", 59)]).await;
    assert_eq!(twin, [Verdict::Duplicate]);
}

#[tokio::test]
async fn what_is_not_in_the_index_is_not_trimmed() {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    fill(&journal, 0..60).await;
    // as if only so much were in the index
    journal.shared.indexed_through.send_replace(Position(30));

    for consumer in ["sessions", "records", "series"] {
        journal.committed(consumer, Position(60));
    }
    journal.shared.trim();

    let segments = journal.shared.segments.all();
    assert!(segments.len() > 1 && segments[0].first > Position(1));
    assert!(segments[1].first > Position(31), "{:?}", segments[1].first);
}

#[tokio::test]
async fn a_consumer_that_does_not_hold_back_is_cut_off_at_half_of_the_limit() {
    let mut bench = Bench::with_segments(4096);
    bench.max_bytes = 64 << 10;
    let (journal, _) = bench.open();
    fill(&journal, 0..50).await;
    journal.committed("records", Position(50));
    journal.committed("sessions", Position(50));
    journal.shared.trim();
    assert_eq!(journal.oldest(), Position(1), "series may hold half");

    fill(&journal, 50..110).await;
    journal.committed("sessions", Position(110));
    journal.committed("records", Position(110));
    let half = bench.max_bytes / 2;
    trimmed(&journal, |_| journal.used_bytes() <= half).await;

    assert!(journal.used_bytes() > half - 8192, "no more than needed");
}

#[tokio::test]
async fn files_of_two_journals_in_one_directory_stop_the_start() {
    let bench = Bench::new();
    let other = Bench::new();
    drop(bench.open());
    drop(other.open());
    std::fs::copy(
        &other.segment_files()[0],
        bench.journal_dir().join(segment::file_name(Position(900))),
    )
    .unwrap();

    let error = bench.try_open().err().unwrap();

    assert!(matches!(error, JournalError::Mixed { .. }), "{error}");
}

#[tokio::test]
async fn a_second_process_is_told_that_the_journal_is_in_use() {
    let bench = Bench::new();
    let _open = bench.open();

    let error = bench.try_open().err().unwrap();

    assert!(matches!(error, JournalError::InUse(_)), "{error}");
}

#[tokio::test]
async fn segments_are_allocated_before_they_are_written() {
    let bench = Bench::with_segments(64 << 10);
    let (journal, _) = bench.open();

    append(&journal, &["a"]).await;

    let allocated = std::fs::metadata(&bench.segment_files()[0]).unwrap().len();
    assert_eq!(allocated, 64 << 10);
    assert!(journal.used_bytes() < 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_if_the_process_ends_at_any_moment() {
    // one segment: a copy of several would not be of one moment
    let bench = Bench::with_segments(4 << 20);
    let journal = Arc::new(bench.open().0);
    let writing = Arc::clone(&journal);
    let writer = tokio::spawn(async move {
        for n in 0.. {
            let batch = vec![named(&format!("{n}")), named(&format!("{n} too"))];
            if writing.append(batch, Origin::Outside).await.is_err() {
                return;
            }
        }
    });
    let mut end = journal.end();

    for round in 1..=3 {
        end.wait_for(|end| end.0 >= round * 200).await.unwrap();
        let answered = *end.borrow();
        // files as a crash would leave them: nothing was closed, the index is behind
        let crashed = Bench::with_segments(4 << 20);
        for part in ["index", "journal"] {
            let to = crashed.dir.path().join(part);
            append::copy_dir(&bench.dir.path().join(part), &to);
        }
        let (survivor, report) = crashed.open();

        assert!(report.end >= answered);
        assert_eq!(report.damaged, []);
        let read = read_all(&survivor).await;
        assert!(read.iter().map(|(n, _)| *n).eq(1..=report.end.0));
        let repeated = append(&survivor, &["0", &read[read.len() - 1].1]).await;
        assert_eq!(repeated, [Verdict::Duplicate; 2]);
    }
    journal.close().await;
    writer.await.unwrap();
}
