use std::sync::Arc;

use mimamori_actors::domain::{Entry, FactKind, HelpId, Position};
use mimamori_actors::ports::{Backfill, Store, StoreError};
use tempfile::TempDir;

use super::{Bucket, Series};
use crate::storage::records::{Records, RecordsAt};
use crate::storage::samples::{
    MORNING, at, event, executed, execution, fact, failed, journal, room, student,
};

fn series() -> (TempDir, Series) {
    let dir = tempfile::tempdir().unwrap();
    let series = Series::open(dir.path()).unwrap();
    (dir, series)
}

async fn first_hour(series: &Series) -> Vec<Bucket> {
    series
        .activity(&room(), MORNING, Some(at(3600)), at(3600), 300)
        .await
        .unwrap()
}

fn opened(position: u64, of: u64) -> Arc<Entry> {
    fact(
        position,
        FactKind::HelpOpened {
            help: HelpId::new(format!("hlp_{position}")),
            student: student(of),
            since: at(position),
            cell_id: None,
        },
    )
}

fn batch() -> Vec<Arc<Entry>> {
    vec![
        executed(1, 1),
        failed(2, 1, "ZeroDivisionError: division by zero"),
        executed(3, 2),
        opened(4, 2),
        executed(70, 1),
    ]
}

#[tokio::test]
async fn minutes_count_runs_errors_help_and_distinct_students() {
    let (_dir, series) = series();

    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();

    let buckets = first_hour(&series).await;
    let first = Bucket {
        at: MORNING,
        executions: 3,
        errors: 1,
        help: 1,
        active: 2,
    };
    let second = Bucket {
        at: at(60),
        executions: 1,
        errors: 0,
        help: 0,
        active: 1,
    };
    assert_eq!(buckets.len(), 60);
    assert_eq!(buckets[..2], [first, second]);
    assert!(buckets[2..].iter().all(|bucket| bucket.active == 0));
}

#[tokio::test]
async fn the_same_batch_again_and_a_part_of_it_change_nothing() {
    let (_dir, series) = series();
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    let once = first_hour(&series).await;

    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    series
        .write(&journal(), &batch()[..2], Position(2))
        .await
        .unwrap();
    let mut overlapping = batch();
    overlapping.push(executed(71, 3));
    series
        .write(&journal(), &overlapping, Position(71))
        .await
        .unwrap();

    let then = first_hour(&series).await;
    assert_eq!(then[0], once[0]);
    assert_eq!(then[1].executions, 2);
    assert_eq!(series.offset(&journal()).await.unwrap(), Some(Position(71)));
}

#[tokio::test]
async fn counts_and_offset_outlive_the_process() {
    let (dir, series) = series();
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    let before = first_hour(&series).await;
    drop(series);

    let again = Series::open(dir.path()).unwrap();

    assert_eq!(first_hour(&again).await, before);
    assert_eq!(again.offset(&journal()).await.unwrap(), Some(Position(70)));
    assert_eq!(again.highest_position().await.unwrap(), Position(70));
}

#[tokio::test]
async fn a_journal_that_is_not_known_has_no_offset() {
    let (_dir, series) = series();

    assert_eq!(series.offset(&journal()).await.unwrap(), None);
    assert_eq!(series.highest_position().await.unwrap(), Position::ZERO);
}

#[tokio::test]
async fn a_long_range_counts_what_its_minutes_count() {
    let (_dir, series) = series();
    let mut entries = Vec::new();
    for number in 1..=400 {
        let mut late = execution(number, number % 5);
        let received = at(number * 3_607);
        late.time = received;
        let accepted = event(number, number % 5, late);
        let mut entry = Arc::unwrap_or_clone(accepted);
        entry.received_at = received;
        entries.push(Arc::new(entry));
    }
    series
        .write(&journal(), &entries, Position(400))
        .await
        .unwrap();

    let from = at(3_607 + 1);
    let to = at(400 * 3_607);
    let coarse = series
        .activity(&room(), from, Some(to), to, 300)
        .await
        .unwrap();

    // the first lies in the minute that the range begins in, the last in the one it ends before
    let total: u64 = coarse.iter().map(|bucket| bucket.executions).sum();
    assert!(coarse.len() <= 300);
    assert_eq!(total, 400);
    assert!(coarse.iter().all(|bucket| bucket.active <= 5));
}

#[tokio::test]
async fn a_name_that_looks_like_a_key_stays_in_its_own_cell() {
    let (_dir, series) = series();
    let mut hostile = execution(1, 1);
    hostile.team = Some("\u{1}m\u{0}\u{7}default, \n\"' = \\".to_owned());

    series
        .write(&journal(), &[event(1, 1, hostile)], Position(1))
        .await
        .unwrap();

    let buckets = first_hour(&series).await;
    assert_eq!(
        buckets.iter().map(|bucket| bucket.executions).sum::<u64>(),
        1
    );
}

#[tokio::test]
async fn without_an_end_the_buckets_reach_to_now_and_to_what_lies_in_the_future() {
    let (_dir, series) = series();
    let mut fast = execution(1, 1);
    fast.time = at(7_200);
    series
        .write(&journal(), &[event(1, 1, fast)], Position(1))
        .await
        .unwrap();

    let buckets = series
        .activity(&room(), MORNING, None, at(60), 300)
        .await
        .unwrap();

    assert_eq!(buckets.last().unwrap().at, at(7_200));
    assert_eq!(buckets.last().unwrap().executions, 1);
}

#[tokio::test]
async fn a_damaged_database_is_set_aside_and_begun_anew() {
    let (dir, series) = series();
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    drop(series);
    let path = dir.path().join("series");
    for file in std::fs::read_dir(&path).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            std::fs::write(file, b"not a database").unwrap();
        }
    }

    let anew = Series::open(dir.path()).unwrap();

    assert_eq!(anew.offset(&journal()).await.unwrap(), None);
    anew.write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    assert_eq!(first_hour(&anew).await[0].executions, 3);
    assert!(dir.path().join("series.damaged").exists());
}

#[tokio::test]
async fn a_cell_that_cannot_be_read_is_refused_and_only_what_belongs_into_it_is_lost() {
    let (_dir, series) = series();
    series
        .write(&journal(), &[executed(1, 1)], Position(1))
        .await
        .unwrap();
    let files = series.inner.files.reading().unwrap();
    for cell in files.counts.iter() {
        let key = cell.key().unwrap();
        files.counts.insert(key, "no counts").unwrap();
    }

    let into_it = series
        .write(&journal(), &[executed(2, 1)], Position(2))
        .await;
    let past_it = series.write(&journal(), &[], Position(2)).await;
    let elsewhere = series
        .write(&journal(), &[executed(3, 2)], Position(3))
        .await;

    assert!(
        matches!(into_it, Err(StoreError::Refused(_))),
        "{into_it:?}"
    );
    past_it.unwrap();
    elsewhere.unwrap();
    let offset = series.offset(&journal()).await.unwrap();
    assert_eq!(offset, Some(Position(3)));
}

/// A request for help that a student opened at this position, and its end two positions later.
fn help(position: u64, of: u64) -> [Arc<Entry>; 2] {
    let id = HelpId::new(format!("hlp_{position}"));
    let ended = FactKind::HelpEnded {
        help: id.clone(),
        student: student(of),
        since: at(position),
        until: at(position + 2),
        ended_by: mimamori_actors::domain::EndedBy::Student,
        cell_id: None,
    };
    [opened(position, of), fact(position + 2, ended)]
}

#[tokio::test]
async fn what_the_journal_no_longer_has_is_counted_from_the_records_as_if_it_had_been_there() {
    let (_dir, whole) = series();
    let (dir, cut_off) = series();
    let records = Records::open(&RecordsAt::Dir(dir.path().to_owned()))
        .await
        .unwrap();
    let mut entries: Vec<_> = (1..=200)
        .filter(|n| n % 20 > 4)
        .map(|n| match n % 3 {
            0 => failed(n, n % 5, "NameError: name 'x' is not defined"),
            _ => executed(n, n % 5),
        })
        .collect();
    entries.extend((1..=10).flat_map(|n| help(n * 20 - 19, n % 5)));
    entries.sort_by_key(|entry| entry.position);
    let all = Position(200);
    whole.write(&journal(), &entries, all).await.unwrap();
    records.write(&journal(), &entries, all).await.unwrap();
    let had: Vec<_> = entries.iter().take(30).cloned().collect();
    let mut offset = had.last().unwrap().position;
    cut_off.write(&journal(), &had, offset).await.unwrap();

    while offset < all {
        let batch = Backfill::read(&records, offset, all, 7).await.unwrap();
        // the same again changes nothing
        for _ in 0..2 {
            cut_off
                .write(&journal(), &batch.entries, batch.through)
                .await
                .unwrap();
        }
        assert!(batch.through > offset);
        offset = batch.through;
    }

    assert_eq!(first_hour(&cut_off).await, first_hour(&whole).await);
    assert_eq!(cut_off.offset(&journal()).await.unwrap(), Some(all));
}

#[tokio::test]
async fn a_new_journal_is_counted_on_from_where_the_one_before_was_left() {
    let (_dir, series) = series();
    let old = mimamori_actors::domain::JournalId::new("jrn_old");
    series.write(&old, &batch(), Position(70)).await.unwrap();

    let known = series.offset(&journal()).await.unwrap();
    let mut overlapping = batch();
    overlapping.push(executed(71, 3));
    series
        .write(&journal(), &overlapping, Position(71))
        .await
        .unwrap();

    assert_eq!(known, Some(Position(70)));
    assert_eq!(series.reach(&journal()).await.unwrap(), Some(Position(71)));
    assert_eq!(first_hour(&series).await[1].executions, 2);
}

#[tokio::test]
async fn series_that_know_less_than_was_written_take_nothing_more() {
    let (_dir, series) = series();
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    // as if the batch behind it had been lost with the handle that wrote it
    *series.inner.writing.lock().unwrap() = Some((journal(), Position(71)));

    let refused = series
        .write(&journal(), &[executed(72, 1)], Position(72))
        .await;

    assert!(
        matches!(&refused, Err(StoreError::Unavailable(reason)) if reason.contains("71")),
        "{refused:?}"
    );
    assert_eq!(series.offset(&journal()).await.unwrap(), Some(Position(70)));
}
