use super::*;

use std::time::Duration;

fn kept_everywhere(journal: &FileJournal) {
    let end = *journal.shared.end.borrow();
    for consumer in CONSUMERS {
        journal.committed(consumer.name, end);
    }
}

/// Waits until the keeper has noted that everything up to there may go.
async fn noted(bench: &Bench, free_to: u64) {
    let path = bench.journal_dir().join("offsets.json");
    let noted = async {
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let noted: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if noted["freeTo"] == free_to {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), noted)
        .await
        .unwrap();
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
    // the keeper has looked twice
    for nth in 21..=22 {
        kept_everywhere(&journal);
        indexed(&journal).await;
        noted(&bench, nth - 1).await;
        append(&journal, &["one more"]).await;
    }

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
