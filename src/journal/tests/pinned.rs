use super::*;

use std::time::Duration;

fn kept_everywhere(journal: &FileJournal) {
    let end = *journal.shared.end.borrow();
    for consumer in CONSUMERS {
        journal.committed(consumer.name, end);
    }
}

async fn trimmed(journal: &FileJournal) {
    let mut oldest = journal.shared.oldest.subscribe();
    let trimmed = oldest.wait_for(|oldest| *oldest > Position(1));
    tokio::time::timeout(Duration::from_secs(10), trimmed)
        .await
        .expect("nothing was trimmed")
        .unwrap();
}

#[tokio::test]
async fn while_it_is_copied_nothing_is_trimmed_and_then_it_is() {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    let pin = journal.pin().unwrap();
    for n in 0..20 {
        append(&journal, &[&format!("{n:01000}")]).await;
    }
    kept_everywhere(&journal);
    indexed(&journal).await;

    assert!(journal.shared.trimmable().is_some());
    assert!(journal.shared.is_held());
    assert_eq!(journal.oldest(), Position(1));
    drop(pin);
    trimmed(&journal).await;
}

#[tokio::test]
async fn a_copy_that_takes_too_much_room_is_given_up_before_an_event_is_refused() {
    let mut bench = Bench::with_segments(4096);
    bench.max_bytes = 64 << 10;
    let (journal, _) = bench.open();
    let pin = journal.pin().unwrap();
    for n in 0..44 {
        append(&journal, &[&format!("{n:01000}")]).await;
    }
    assert!(journal.room().is_free());

    kept_everywhere(&journal);
    trimmed(&journal).await;

    assert!(pin.is_lost());
}
