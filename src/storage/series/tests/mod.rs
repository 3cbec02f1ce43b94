//! The series embedded and on a real server: one suite for both.

use crate::spoken; // for `server`
use std::sync::Arc;

use mimamori_actors::domain::{
    ClassroomId, Entry, FactKind, HelpId, JournalId, Position, Record, Timestamp,
};
use mimamori_actors::ports::{Backfill, Store};
use tempfile::TempDir;

use super::{Bucket, Series, SeriesAt};
use crate::storage::records::{Records, RecordsAt};
use crate::storage::samples::{
    MORNING, at, event, executed, execution, fact, failed, journal, room, student,
};

// the tests of the whole program do more with it
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/it/harness/between.rs"]
mod between;
mod fake;
mod hours;
mod influx;
// the tests of the whole program do more with it
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/it/harness/influxdb.rs"]
pub(crate) mod server;

/// The store of a test.
#[derive(Debug, Clone, Copy)]
enum On {
    Embedded,
    Influx,
}

/// Where a test's series are; what is made for them goes with it.
struct Home {
    at: SeriesAt,
    dir: TempDir,
}

impl Home {
    fn new(on: On) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = match on {
            On::Embedded => SeriesAt::Dir(dir.path().to_owned()),
            On::Influx => at_url(&server::database().url()),
        };
        Self { at, dir }
    }

    fn open(&self) -> Series {
        Series::at(&self.at).unwrap()
    }
}

pub(crate) fn at_url(url: &str) -> SeriesAt {
    // as main does: the client asks for one, for https
    let _ = rustls::crypto::ring::default_provider().install_default();
    SeriesAt::Influx {
        url: Box::new(url.parse().unwrap()),
        token: None,
    }
}

/// Makes of each function a test on either store.
macro_rules! on_either {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Embedded).await;
            })*
        }
        mod influxdb {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Influx).await;
            })*
        }
    };
}

mod forget;

on_either!(
    minutes_count_runs_errors_help_and_distinct_students,
    the_same_batch_again_and_a_part_of_it_change_nothing,
    counts_and_offset_outlive_the_process,
    a_journal_that_is_not_known_has_no_offset,
    a_long_range_counts_what_its_minutes_count,
    a_range_without_anything_and_one_the_wrong_way_round,
    a_name_that_looks_like_a_key_stays_in_its_own_cell,
    a_clock_that_is_years_off_counts_when_it_was_received,
    without_an_end_the_buckets_reach_to_now_and_to_what_lies_in_the_future,
    what_the_journal_no_longer_has_is_counted_from_the_records_as_if_it_had_been_there,
);

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

async fn minutes_count_runs_errors_help_and_distinct_students(on: On) {
    let home = Home::new(on);
    let series = home.open();

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

async fn the_same_batch_again_and_a_part_of_it_change_nothing(on: On) {
    let home = Home::new(on);
    let series = home.open();
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

async fn counts_and_offset_outlive_the_process(on: On) {
    let home = Home::new(on);
    let series = home.open();
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    let before = first_hour(&series).await;
    drop(series);

    let again = home.open();

    assert_eq!(first_hour(&again).await, before);
    assert_eq!(again.offset(&journal()).await.unwrap(), Some(Position(70)));
    assert_eq!(again.highest_position().await.unwrap(), Position(70));
}

async fn a_journal_that_is_not_known_has_no_offset(on: On) {
    let home = Home::new(on);
    let series = home.open();

    assert_eq!(series.reach(&journal()).await.unwrap(), None);
    assert_eq!(series.highest_position().await.unwrap(), Position::ZERO);
    assert_eq!(series.offset(&journal()).await.unwrap(), None);
    let old = JournalId::new("jrn_old");
    series.write(&old, &batch(), Position(70)).await.unwrap();
    assert_eq!(series.reach(&journal()).await.unwrap(), None);
    assert_eq!(series.highest_position().await.unwrap(), Position(70));
}

async fn a_long_range_counts_what_its_minutes_count(on: On) {
    let home = Home::new(on);
    let series = home.open();
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

async fn a_name_that_looks_like_a_key_stays_in_its_own_cell(on: On) {
    let home = Home::new(on);
    let series = home.open();
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

async fn without_an_end_the_buckets_reach_to_now_and_to_what_lies_in_the_future(on: On) {
    let home = Home::new(on);
    let series = home.open();
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

async fn what_the_journal_no_longer_has_is_counted_from_the_records_as_if_it_had_been_there(
    on: On,
) {
    let [home, other] = [Home::new(on), Home::new(on)];
    let [whole, cut_off] = [home.open(), other.open()];
    let records = Records::open(&RecordsAt::Dir(home.dir.path().to_owned()))
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

async fn a_range_without_anything_and_one_the_wrong_way_round(on: On) {
    let home = Home::new(on);
    let series = home.open();
    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();
    let room = room();
    let range = async |from, to| {
        let read = series.activity(&room, from, to, at(3600), 300);
        read.await.unwrap().len()
    };

    assert_eq!(range(at(7_200), Some(at(3_600))).await, 0);
    assert_eq!(range(at(7_200), Some(at(7_200))).await, 0);
    assert_eq!(range(at(7_200), Some(at(9_000))).await, 0, "still to come");
    assert_eq!(range(at(600), Some(at(1_200))).await, 10);
    let elsewhere = ClassroomId::new("de' OR 'a' = 'a");
    let read = series.activity(&elsewhere, MORNING, None, at(60), 300);
    let counted: u64 = read.await.unwrap().iter().map(|it| it.executions).sum();
    assert_eq!(counted, 0);
    let year_0 = Timestamp::from_millis(-62_167_219_200_000);
    let since_ever = series.activity(&room, year_0, None, at(3600), 300);
    let since_ever = since_ever.await.unwrap();
    assert!(since_ever.len() <= 300);
    assert_eq!(since_ever.last().unwrap().executions, 4);
}

async fn a_clock_that_is_years_off_counts_when_it_was_received(on: On) {
    let home = Home::new(on);
    let series = home.open();
    let mut off = execution(1, 1);
    off.time = Timestamp::from_millis(0);
    let mut ahead = execution(2, 1);
    ahead.time = at(400 * 24 * 3600);

    let entries = [event(1, 1, off), event(2, 1, ahead)];
    series
        .write(&journal(), &entries, Position(2))
        .await
        .unwrap();

    assert_eq!(first_hour(&series).await[0].executions, 2);
}
