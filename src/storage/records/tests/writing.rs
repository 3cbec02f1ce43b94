use mimamori_actors::domain::{EventId, JournalId, Position, Record};
use mimamori_actors::ports::{Store, StoreError};
use sea_orm::ConnectionTrait;

use super::*;
use crate::storage::records::sqlite::connect;
use crate::storage::records::{ExecutionFilter, write_batch};
use crate::storage::samples::execution;

on_either!(
    the_same_batch_twice_leaves_what_once_leaves,
    a_replay_from_the_start_into_a_store_that_lost_its_offset_changes_nothing,
    what_was_written_is_there_after_a_restart,
    an_offset_moves_without_entries_and_never_goes_back,
    a_batch_that_ends_before_its_commit_leaves_nothing,
    two_events_at_one_position_are_refused_and_nothing_of_the_batch_is_kept,
    a_position_beyond_what_a_column_holds_is_refused,
    an_event_that_comes_again_after_its_journal_forgot_it_is_kept_once,
    a_student_keeps_the_last_name_that_was_sent,
    what_came_back_into_the_journal_is_read_again,
    a_database_that_knows_less_than_was_written_takes_nothing_before_it_was_asked,
);

async fn the_same_batch_twice_leaves_what_once_leaves(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &mixed()).await;
    let once = everything(&records).await;

    write(&records, &mixed()).await;

    assert!(once.len() > 13, "{once:#?}");
    assert_eq!(everything(&records).await, once);
}

async fn a_replay_from_the_start_into_a_store_that_lost_its_offset_changes_nothing(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &mixed()).await;
    let once = everything(&records).await;
    tamper(&records, "DELETE FROM offsets").await;

    for entry in mixed() {
        write(&records, &[entry]).await;
    }

    assert_eq!(everything(&records).await, once);
}

async fn what_was_written_is_there_after_a_restart(on: On) {
    let (home, records) = records(on).await;
    write(&records, &mixed()).await;
    let before = everything(&records).await;
    records.close().await.unwrap();

    let again = Records::open(&home.at).await.unwrap();

    assert_eq!(everything(&again).await, before);
    assert_eq!(again.offset(&journal()).await.unwrap(), Some(Position(13)));
    assert_eq!(again.highest_position().await.unwrap(), Position(13));
}

async fn an_offset_moves_without_entries_and_never_goes_back(on: On) {
    let (_home, records) = records(on).await;

    records.write(&journal(), &[], Position(9)).await.unwrap();
    records.write(&journal(), &[], Position(4)).await.unwrap();

    let other = JournalId::new("journal-2");
    assert_eq!(records.offset(&journal()).await.unwrap(), Some(Position(9)));
    assert_eq!(records.offset(&other).await.unwrap(), None);
}

async fn a_batch_that_ends_before_its_commit_leaves_nothing(on: On) {
    let (_home, records) = records(on).await;
    let entries = mixed();
    let mut batch = records.writing.begin().await.unwrap();
    write_batch(
        &mut batch,
        &journal(),
        (&entries, Position::ZERO, Position(13)),
        None,
    )
    .await
    .unwrap();

    drop(batch);

    assert_eq!(everything(&records).await, Vec::<String>::new());
    assert_eq!(records.offset(&journal()).await.unwrap(), None);
    write(&records, &entries).await;
    assert_eq!(
        records.offset(&journal()).await.unwrap(),
        Some(Position(13))
    );
}

async fn two_events_at_one_position_are_refused_and_nothing_of_the_batch_is_kept(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &[executed(1, 1)]).await;
    let before = everything(&records).await;
    let other_journal = JournalId::new("journal-2");
    let mut clash = execution(1, 2);
    clash.id = EventId::new("another");

    let refused = records
        .write(
            &other_journal,
            &[executed(2, 1), event(1, 2, clash)],
            Position(2),
        )
        .await;

    assert!(
        matches!(refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(everything(&records).await, before);
}

async fn a_position_beyond_what_a_column_holds_is_refused(on: On) {
    let (_home, records) = records(on).await;

    let refused = records.write(&journal(), &[], Position(u64::MAX)).await;

    assert!(
        matches!(refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_database_that_is_held_by_another_is_unavailable_for_now() {
    let (home, records) = records(On::Sqlite).await;
    let RecordsAt::Dir(dir) = &home.at else {
        panic!("a file is held")
    };
    let other = connect::writing(&dir.join("records.sqlite")).await.unwrap();
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    tamper(&records, "PRAGMA busy_timeout = 10").await;

    let busy = records
        .write(&journal(), &[executed(1, 1)], Position(1))
        .await;

    assert!(matches!(busy, Err(StoreError::Unavailable(_))), "{busy:?}");
    other.execute_unprepared("ROLLBACK").await.unwrap();
    write(&records, &[executed(1, 1)]).await;
}

async fn an_event_that_comes_again_after_its_journal_forgot_it_is_kept_once(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &[executed(1, 1), executed(2, 1)]).await;

    let again = event(3, 1, execution(1, 1));
    write(&records, &[again, executed(4, 1)]).await;

    let events = records.events(&room(), Position::ZERO, 10).await.unwrap();
    let positions: Vec<u64> = events.rows.iter().map(|it| it.position.0).collect();
    assert_eq!(positions, [1, 2, 4]);
    let executions = records
        .executions(&room(), ALL_DAY, &ExecutionFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(executions.rows.len(), 3);
    let totals = records.totals(&room(), ALL_DAY).await.unwrap();
    assert_eq!(totals.executions, 3);
}

async fn a_student_keeps_the_last_name_that_was_sent(on: On) {
    let (_home, records) = records(on).await;
    let mut renamed = execution(2, 1);
    renamed.name = Some("新しい名前".to_owned());
    let mut nameless = execution(3, 1);
    nameless.name = None;
    write(&records, &[executed(1, 1), event(2, 1, renamed)]).await;
    write(&records, &[event(3, 1, nameless)]).await;

    let known = records.students(&room()).await.unwrap();

    assert_eq!(known[0].name.as_deref(), Some("新しい名前"));
    assert_eq!(known[0].last_seen_ms, at(3).as_millis());
}

async fn what_came_back_into_the_journal_is_read_again(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &mixed()).await;
    let before = everything(&records).await;

    let back = records.read_again_after(&journal(), Position(3)).await;
    back.unwrap();

    assert_eq!(records.offset(&journal()).await.unwrap(), Some(Position(3)));
    write(&records, &mixed()).await;
    assert_eq!(everything(&records).await, before);
}

#[test]
fn the_sample_has_every_kind_of_record_but_timers() {
    let kinds = mixed()
        .iter()
        .map(|entry| match entry.record {
            Record::Event(_) => 0,
            Record::Rejection(_) => 1,
            Record::Timer(_) => 2,
            Record::Fact(_) => 3,
            Record::DeadLetter(_) => 4,
        })
        .collect::<std::collections::BTreeSet<_>>();

    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [0, 1, 3, 4]);
}

async fn a_database_that_knows_less_than_was_written_takes_nothing_before_it_was_asked(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &[executed(1, 1), executed(2, 1)]).await;
    tamper(&records, "DELETE FROM executions WHERE position = 2").await;
    tamper(&records, "DELETE FROM events WHERE position = 2").await;
    tamper(&records, "UPDATE offsets SET position = 1").await;
    *records.written() = Some((journal(), Position(2)));

    let forgot = records
        .write(&journal(), &[executed(3, 1)], Position(3))
        .await;
    let offset = records.offset(&journal()).await.unwrap();
    write(&records, &[executed(2, 1), executed(3, 1)]).await;

    assert!(matches!(forgot, Err(StoreError::Forgot(_))), "{forgot:?}");
    assert_eq!(offset, Some(Position(1)));
    assert_eq!(everything(&records).await.len(), {
        let (_home, whole) = super::records(on).await;
        let all = [executed(1, 1), executed(2, 1), executed(3, 1)];
        write(&whole, &all).await;
        everything(&whole).await.len()
    });
}
