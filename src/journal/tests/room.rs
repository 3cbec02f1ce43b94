use super::*;

use std::time::Duration;

async fn fill_until_refused(journal: &FileJournal) -> (u64, AppendError) {
    for n in 1.. {
        let batch = vec![named(&format!("{n:0500}"))];
        if let Err(error) = journal.append(batch, Origin::Outside).await {
            return (n - 1, error);
        }
    }
    unreachable!("a bounded journal refuses")
}

#[tokio::test]
async fn at_90_percent_the_outside_is_refused_and_the_inside_is_not_and_it_heals_by_itself() {
    let mut bench = Bench::with_segments(4096);
    bench.max_bytes = 64 << 10;
    let (journal, _) = bench.open();

    let (last, error) = fill_until_refused(&journal).await;
    let inside = journal.append(vec![named("inside")], Origin::Inside).await;
    let room = journal.room();
    let mut oldest = journal.shared.oldest.subscribe();
    journal.committed("records", Position(last));
    journal.committed("sessions", Position(last));
    journal.committed("series", Position(last));
    let trimmed = oldest.wait_for(|oldest| oldest.0 > last / 2);
    tokio::time::timeout(Duration::from_secs(10), trimmed)
        .await
        .unwrap()
        .unwrap();

    assert!(matches!(error, AppendError::NoRoom(_)), "{error}");
    assert_eq!(inside.unwrap(), [Verdict::Accepted(Position(last + 1))]);
    assert!(matches!(room, RoomState::JournalFull { .. }));
    assert!(journal.room().is_free());
    append(&journal, &["again"]).await;
}

#[tokio::test]
async fn a_limit_that_one_segment_fills_heals_too() {
    let mut bench = Bench::new();
    bench.max_bytes = 64 << 10;
    let (journal, _) = bench.open();
    append(&journal, &[&"x".repeat(60_000)]).await;
    assert!(!journal.room().is_free());

    let mut oldest = journal.shared.oldest.subscribe();
    journal.committed("records", Position(1));
    journal.committed("sessions", Position(1));
    journal.committed("series", Position(1));
    let trimmed = oldest.wait_for(|oldest| oldest.0 > 1);
    tokio::time::timeout(Duration::from_secs(10), trimmed)
        .await
        .unwrap()
        .unwrap();

    let verdicts = append(&journal, &["again"]).await;
    assert_eq!(verdicts, [Verdict::Accepted(Position(2))]);
}

#[tokio::test]
async fn below_the_free_space_mark_the_outside_is_refused_and_the_inside_is_not() {
    let mut bench = Bench::new();
    bench.min_free_bytes = u64::MAX;
    let (journal, _) = bench.open();

    let outside = journal.append(vec![named("a")], Origin::Outside).await;
    let inside = journal.append(vec![named("b")], Origin::Inside).await;

    assert!(matches!(outside, Err(AppendError::NoRoom(_))));
    assert!(matches!(journal.room(), RoomState::DiskFull { .. }));
    assert_eq!(inside.unwrap(), [Verdict::Accepted(Position(1))]);
    // and the databases beside it hear of it
    let shortage = journal.shortage();
    assert!(shortage.times() == 1 && shortage.was_since(1));
}
