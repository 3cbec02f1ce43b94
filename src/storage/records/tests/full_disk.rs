use super::*;

use std::time::Duration;

use mimamori_actors::domain::Position;
use mimamori_actors::ports::StoreError;

use crate::storage::small_disk::SmallDisk;

/// Tries of a writer that waits for the store.
const TRIES: usize = 50;

/// As whoever reads sees them: what is not committed is not among them.
async fn events_and_offset(records: &Records) -> (i64, Option<Position>) {
    let mut sql = Sql::new("SELECT COUNT(*) AS events FROM events");
    let row = records
        .reading
        .query_one_raw(sql.statement(records.dialect))
        .await;
    let events = row.unwrap().unwrap().try_get("", "events").unwrap();
    (events, records.offset(&journal()).await.unwrap())
}

#[tokio::test]
async fn what_a_full_disk_refused_is_committed_when_there_is_room_however_often_it_was_tried() {
    let Some(disk) = SmallDisk::new() else {
        return;
    };
    let at = RecordsAt::Dir(disk.dir().to_owned());
    let records = Records::open(&at).await.unwrap();
    let mut last = 0;
    for (pages, tries) in [(0, 1), (0, 2), (1, 3), (8, 2), (40, 2), (100, 3), (200, 2)] {
        let before: Vec<_> = (last + 1..=last + 50).map(|n| executed(n, n % 9)).collect();
        write(&records, &before).await;
        let during: Vec<_> = (last + 51..=last + 650)
            .map(|n| executed(n, n % 9))
            .collect();
        let through = Position(last + 650);
        disk.fill(pages);
        for _ in 0..tries {
            let refused = records.write(&journal(), &during, through).await;
            assert!(
                matches!(refused, Err(StoreError::Unavailable(_))),
                "{refused:?}"
            );
        }
        let left = events_and_offset(&records).await;
        assert_eq!(left, (last as i64 + 50, Some(Position(last + 50))));

        disk.give_back();

        let mut tried = 0;
        while let Err(error) = records.write(&journal(), &during, through).await {
            tried += 1;
            assert!(tried < TRIES, "with {pages} pages left: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        last += 650;
        let all = events_and_offset(&records).await;
        assert_eq!(all, (last as i64, Some(through)), "with {pages} pages left");
    }
    // nothing is closed in order: what a kill leaves
    drop(records);

    let again = Records::open(&at).await.unwrap();
    let all = events_and_offset(&again).await;
    assert_eq!(all, (last as i64, Some(Position(last))));
    again.close().await.unwrap();
}
