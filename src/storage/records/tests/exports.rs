//! What exports read.

use mimamori_actors::domain::Timestamp;

use super::*;
use crate::storage::records::{History, TimeKey};

on_either!(
    events_are_exported_once_in_the_order_of_their_time,
    who_is_not_for_research_is_in_no_export,
    histories_are_exported_with_their_ends,
);

/// Positions of all events, page by page.
async fn positions(records: &Records, only_executions: bool, range: TimeRange) -> Vec<i64> {
    let mut positions = Vec::new();
    let mut after: Option<TimeKey> = None;
    loop {
        let found = records
            .exported_events(&room(), range, only_executions, after, 2)
            .await
            .unwrap();
        positions.extend(found.rows.iter().map(|row| row.position));
        after = found.rows.last().map(|row| row.key());
        if !found.has_more {
            return positions;
        }
    }
}

async fn events_are_exported_once_in_the_order_of_their_time(on: On) {
    let (_home, records) = records(on).await;
    let mut late = crate::storage::samples::execution(9, 2);
    late.time = at(2);
    let entries = [
        executed(1, 1),
        executed(3, 2),
        event(4, 1, help_beat(4, 1)),
        failed(5, 1, "NameError: x"),
        event(9, 2, late),
    ];
    write(&records, &entries).await;
    let part = TimeRange {
        from: at(3),
        to: Some(at(5)),
    };

    assert_eq!(positions(&records, false, ALL_DAY).await, [1, 9, 3, 4, 5]);
    assert_eq!(positions(&records, true, ALL_DAY).await, [1, 9, 3, 5]);
    assert_eq!(positions(&records, false, part).await, [3, 4]);
    let count = records.count_to_export(&room(), ALL_DAY, true).await;
    assert_eq!(count.unwrap(), 4);
    let all = records
        .exported_events(&room(), ALL_DAY, false, None, 10)
        .await
        .unwrap();
    assert_eq!(all.rows[4].status.as_deref(), Some("error"));
    assert_eq!(
        all.rows[4].event.error_message.as_deref(),
        Some("NameError: x")
    );
    assert_eq!(all.rows[3].status, None);
}

async fn who_is_not_for_research_is_in_no_export(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &mixed()).await;
    let now = Timestamp::from_millis(1);
    let first = student(1);
    assert!(records.is_student(&first).await.unwrap());
    assert!(!records.is_student(&student(99)).await.unwrap());

    for _ in 0..2 {
        records.set_for_research(&first, false, now).await.unwrap();
    }

    assert!(!records.is_for_research(&first).await.unwrap());
    assert_eq!(records.left_out(&room()).await.unwrap(), 1);
    assert_eq!(positions(&records, false, ALL_DAY).await, [5]);
    for (history, rows) in [
        (History::Sessions, 0),
        (History::Help, 0),
        (History::Lessons, 1),
    ] {
        let found = records
            .exported_spans(history, &room(), ALL_DAY, None, 10)
            .await
            .unwrap();
        assert_eq!(found.rows.len(), rows, "{history:?}");
    }
    records.set_for_research(&first, true, now).await.unwrap();
    assert_eq!(records.left_out(&room()).await.unwrap(), 0);
    assert_eq!(positions(&records, false, ALL_DAY).await, [1, 4, 5]);
}

async fn histories_are_exported_with_their_ends(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &mixed()).await;
    write(&records, &[help_opened(20, "hlp_2")]).await;

    let first = records
        .exported_spans(History::Help, &room(), ALL_DAY, None, 1)
        .await
        .unwrap();
    let key = first.rows[0].key();
    let second = records
        .exported_spans(History::Help, &room(), ALL_DAY, Some(key), 1)
        .await
        .unwrap();
    let sessions = records
        .exported_spans(History::Sessions, &room(), ALL_DAY, None, 9)
        .await
        .unwrap();

    assert!(first.has_more && !second.has_more);
    let told = |row: &crate::storage::records::ExportedSpan| {
        (row.id.clone(), row.ended_ms, row.ended_by.clone())
    };
    let ended = Some(at(10).as_millis());
    let by = Some("silence".to_owned());
    assert_eq!(told(&first.rows[0]), ("hlp_1".to_owned(), ended, by));
    assert_eq!(told(&second.rows[0]), ("hlp_2".to_owned(), None, None));
    assert_eq!(sessions.rows[0].events, Some(3));
}
