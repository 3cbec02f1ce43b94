//! Whole hours in InfluxDB: that charts read them, and that they are never wrong.

use std::collections::BTreeSet;

use mimamori_actors::domain::SessionKey;

use super::server::{Database, database};
use super::*;

const HOUR: u64 = 3_600;
/// When the last entry of the two days was received.
const HEARD: u64 = 49 * HOUR;

fn on(database: &Database) -> Series {
    Series::at(&at_url(&database.url())).unwrap()
}

/// A run at this second, received at that.
fn ran(position: u64, of: u64, at_second: u64, received: u64) -> Arc<Entry> {
    let mut run = execution(position, of);
    run.time = at(at_second);
    let mut entry = Arc::unwrap_or_clone(event(position, of, run));
    entry.received_at = at(received);
    Arc::new(entry)
}

async fn write(series: &Series, entry: Arc<Entry>) {
    let through = entry.position;
    series.write(&journal(), &[entry], through).await.unwrap();
}

/// Two days with a run each half hour, by five students, and what closes them.
async fn two_days(database: &Database) -> Series {
    let series = on(database);
    let mut entries: Vec<_> = (1..96)
        .map(|n| ran(n, n % 5, n * 1_800, n * 1_800))
        .collect();
    entries.push(ran(96, 0, HEARD, HEARD));
    let journal = journal();
    let written = series.write(&journal, &entries, Position(96));
    written.await.unwrap();
    series
}

/// The same, all of their hours counted, and read since.
async fn two_counted_days(database: &Database) -> Series {
    let series = two_days(database).await;
    counted(database, &series, HEARD, 48).await;
    chart(&series).await;
    series
}

/// In buckets of six hours.
async fn chart(series: &Series) -> Vec<Bucket> {
    let end = Some(at(48 * HOUR));
    let chart = series.activity(&room(), MORNING, end, at(HEARD), 10).await;
    chart.unwrap()
}

/// The second day, in buckets of five minutes.
async fn day(series: &Series) -> Vec<Bucket> {
    let (from, end) = (at(24 * HOUR), Some(at(48 * HOUR)));
    let chart = series.activity(&room(), from, end, at(HEARD), 300).await;
    chart.unwrap()
}

fn executions(chart: &[Bucket]) -> u64 {
    chart.iter().map(|bucket| bucket.executions).sum()
}

/// Has a chart missed hours, they are counted when this returns; so many stand there then that
/// were counted when this second had been heard.
async fn counted(database: &Database, series: &Series, heard: u64, hours: u64) {
    chart(series).await;
    series.counted().await;
    let heard = at(heard).as_millis();
    let counting = format!("SELECT COUNT(heard) FROM mimamori_hours WHERE heard >= {heard}");
    assert_eq!(database.count(&counting), hours);
}

/// The eras by which hours were counted.
fn eras(database: &Database) -> BTreeSet<String> {
    let rows = database.ask("SELECT era FROM mimamori_hours");
    let eras = rows.iter().filter_map(|row| row.rsplit(',').next());
    eras.map(str::to_owned).collect()
}

/// The same for all of 48 hours, in another era than these.
async fn counted_anew(database: &Database, series: &Series, before: &BTreeSet<String>) {
    counted(database, series, HEARD, 48).await;
    assert!(eras(database).is_disjoint(before));
}

/// What is kept of the hour of this number, as a statement that writes it again.
fn hour_again(database: &Database, nth: u64) -> String {
    let columns = "heard, era, counts, students";
    let rows = database.ask(&format!(
        "SELECT {columns} FROM mimamori_hours LIMIT 1 OFFSET {nth}"
    ));
    let row: Vec<_> = rows[0].split(',').collect();
    let [_, time, heard, era, counts, students] = row[..] else {
        panic!("{row:?}");
    };
    format!(
        "INSERT mimamori_hours,classroom=default heard={heard}i,era={era}i,counts=\"{counts}\",students=\"{students}\" {time}"
    )
}

fn nobody_left(database: &Database) {
    database.ask("DELETE FROM mimamori_events");
}

#[tokio::test]
async fn a_chart_is_made_of_hours_that_are_over_and_stays_the_same() {
    let database = database();
    let writer = two_days(&database).await;
    // as a node of consoles: it has never written
    let reader = on(&database);

    let of_points = (chart(&reader).await, day(&writer).await);
    writer.counted().await;
    counted(&database, &reader, HEARD, 48).await;
    nobody_left(&database);
    let of_hours = (chart(&on(&database)).await, day(&writer).await);

    assert_eq!(executions(&of_points.0), 95);
    assert!(of_points.0.iter().all(|bucket| bucket.active == 5));
    assert_eq!((of_points.1.len(), executions(&of_points.1)), (288, 48));
    assert_eq!(of_hours, of_points);
}

#[tokio::test]
async fn a_range_that_begins_and_ends_within_hours_is_of_hours_and_points() {
    let database = database();
    let series = two_counted_days(&database).await;
    let part = async |series: &Series| {
        let (from, to) = (at(1_860), Some(at(47 * HOUR + 1_860)));
        let chart = series.activity(&room(), from, to, at(HEARD), 10).await;
        chart.unwrap()
    };

    let of_both = part(&series).await;
    database.ask("DELETE FROM mimamori_hours");
    let of_points = part(&on(&database)).await;

    assert_eq!(executions(&of_points), 94);
    assert_eq!(of_both, of_points);
}

#[tokio::test]
async fn the_texts_of_an_hour_are_read_once() {
    let database = database();
    let series = two_counted_days(&database).await;
    let before = chart(&series).await;
    let hour = hour_again(&database, 3);

    nobody_left(&database);
    database.ask(&hour.replace("counts=\"", "counts=\"not a number "));

    assert_eq!(chart(&series).await, before);
    // where it was never read it is no hour
    assert_eq!(executions(&chart(&on(&database)).await), 95 - 2);
}

#[tokio::test]
async fn the_hours_of_a_long_range_are_read_in_parts() {
    const HOURS: u64 = 300;
    let database = database();
    let writer = on(&database);
    let entries: Vec<_> = (0..HOURS)
        .map(|n| ran(n + 1, n % 5, n * HOUR, n * HOUR))
        .chain([ran(HOURS + 1, 0, (HOURS + 1) * HOUR, (HOURS + 1) * HOUR)])
        .collect();
    let (journal, through) = (journal(), Position(HOURS + 1));
    writer.write(&journal, &entries, through).await.unwrap();
    let all = async |series: &Series| {
        let (to, now) = (Some(at(HOURS * HOUR)), at((HOURS + 1) * HOUR));
        series
            .activity(&room(), MORNING, to, now, 20)
            .await
            .unwrap()
    };

    let of_points = all(&writer).await;
    writer.counted().await;
    nobody_left(&database);
    let of_hours = [all(&writer).await, all(&on(&database)).await];

    assert_eq!(executions(&of_points), HOURS);
    assert_eq!(of_hours, [of_points.clone(), of_points]);
}

#[tokio::test]
async fn the_minutes_of_an_hour_that_a_range_begins_or_ends_in_are_read_once() {
    let database = database();
    let series = two_counted_days(&database).await;
    // from within hour 3 to within hour 46, in which something happened at the half hours
    let part = async |series: &Series, from: u64, to: u64| {
        let (from, to) = (at(3 * HOUR + from), Some(at(46 * HOUR + to)));
        let chart = series.activity(&room(), from, to, at(HEARD), 10).await;
        executions(&chart.unwrap())
    };
    let parts = async |series: &Series| {
        [
            part(series, 60, 60).await,
            part(series, 1_860, 60).await,
            part(series, 60, 1_860).await,
        ]
    };

    let of_points = parts(&on(&database)).await;
    let before = part(&series, 120, 120).await;
    nobody_left(&database);
    let remembered = parts(&series).await;
    // where they were never read there is nothing but whole hours
    let of_hours = parts(&on(&database)).await;
    write(&series, ran(97, 7, 3 * HOUR + 1_900, HEARD + 10)).await;
    let late = parts(&series).await;

    assert_eq!((of_points, before), ([86, 85, 87], 86));
    assert_eq!(remembered, of_points);
    assert_eq!(of_hours, [84; 3]);
    // of an hour that holds no more it counts what is there
    assert_eq!(late, [86, 86, 87]);
}

#[tokio::test]
async fn a_range_without_a_beginning_begins_with_what_is_there_and_with_what_comes_before_it() {
    let database = database();
    let series = on(&database);
    let now = at(60 * HOUR).plus(std::time::Duration::from_secs(40 * 24 * HOUR));
    let since = async |begin| {
        let chart = series.activity(&room(), begin, Some(now), now, 300).await;
        executions(&chart.unwrap())
    };
    let ever = async || since("2020-01-01T00:00:00Z".parse().unwrap()).await;
    write(&series, ran(1, 1, 20 * HOUR, 20 * HOUR)).await;
    write(&series, ran(2, 1, 40 * HOUR, 40 * HOUR)).await;
    write(&series, ran(3, 1, 60 * HOUR, 60 * HOUR)).await;
    let first = [since(at(30 * HOUR)).await, ever().await, ever().await];

    write(&series, ran(4, 2, 15 * HOUR, 60 * HOUR + 1)).await;
    let late = [ever().await, ever().await];
    let former = JournalId::new(crate::storage::series::FORMER);
    let before = [ran(1, 8, 5 * HOUR, 5 * HOUR)];
    let import = on(&database);
    import.write(&former, &before, Position(1)).await.unwrap();
    let moved_in = [ever().await, ever().await];

    assert_eq!((first, late, moved_in), ([2, 3, 3], [4, 4], [5, 5]));
}

#[tokio::test]
async fn a_beginning_in_an_hour_that_is_not_over_may_move_back() {
    let database = database();
    let series = on(&database);
    let ever = async || {
        let (begin, now) = ("2020-01-01T00:00:00Z".parse().unwrap(), at(2 * HOUR));
        let chart = series.activity(&room(), begin, None, now, 300).await;
        executions(&chart.unwrap())
    };
    write(&series, ran(1, 1, HOUR + 60, HOUR + 60)).await;
    let first = ever().await;

    // into the hour before, which is over for nobody yet: it is not told as late
    write(&series, ran(2, 2, 60, HOUR + 90)).await;
    let then = ever().await;

    assert_eq!((first, then), (1, 2));
}

#[tokio::test]
async fn what_comes_late_into_an_hour_counts_at_once_and_once() {
    let database = database();
    let series = two_counted_days(&database).await;

    let late = ran(97, 7, 3 * HOUR + 60, HEARD + 10);
    // by a process that knows nothing of what was counted, and again by the first
    for series in [&on(&database), &series] {
        write(series, Arc::clone(&late)).await;
    }
    let at_once = chart(&series).await;
    write(&series, ran(98, 0, HEARD + 700, HEARD + 700)).await;
    counted(&database, &series, HEARD + 700, 1).await;
    nobody_left(&database);
    let of_hours = chart(&series).await;

    assert_eq!((at_once[0].executions, at_once[0].active), (12, 6));
    assert_eq!(executions(&at_once), 96);
    assert_eq!(of_hours, at_once);
}

#[tokio::test]
async fn an_hour_that_was_counted_before_and_is_written_behind_what_came_late_holds_no_more() {
    let database = database();
    let series = two_counted_days(&database).await;
    let counted_before = hour_again(&database, 3);

    write(&series, ran(97, 7, 3 * HOUR + 60, HEARD + 10)).await;
    write(&series, ran(98, 0, HEARD + 700, HEARD + 700)).await;
    counted(&database, &series, HEARD + 700, 1).await;
    database.ask(&counted_before);

    assert_eq!(executions(&chart(&series).await), 96);
}

#[tokio::test]
async fn what_comes_late_while_hours_are_over_for_nobody_yet_counts_with_them() {
    let database = database();
    let series = on(&database);
    write(&series, ran(1, 1, 60, 60)).await;
    chart(&series).await;
    // the first hour is not over for who wrote it: it may not be counted yet
    assert_eq!(database.count("SELECT COUNT(heard) FROM mimamori_hours"), 0);

    write(&series, ran(2, 2, 120, HOUR + 90)).await;
    write(&series, ran(3, 3, 180, HOUR + 130)).await;
    write(&series, ran(4, 4, HEARD, HEARD)).await;

    assert_eq!(executions(&chart(&series).await), 3);
    counted(&database, &series, HEARD, 48).await;
    assert_eq!(executions(&chart(&series).await), 3);
    assert_eq!(database.count("SELECT COUNT(until) FROM mimamori_late"), 1);
}

#[tokio::test]
async fn who_is_erased_is_in_no_hour_any_more() {
    let database = database();
    let series = two_counted_days(&database).await;
    let (before, counted_before) = (eras(&database), hour_again(&database, 0));
    let person = SessionKey {
        classroom: room(),
        student: student(1),
    };

    let nothing = |_, _| Vec::new();
    let (journal, through) = (journal(), Position(96));
    let erased = series.erase(&journal, &person, through, nothing);
    erased.await.unwrap();
    let left = database.count("SELECT COUNT(heard) FROM mimamori_hours");
    // what was on its way there
    database.ask(&counted_before);
    let without = chart(&series).await;
    counted_anew(&database, &series, &before).await;

    assert_eq!(left, 0);
    assert_eq!(executions(&without), 95 - 19);
    assert!(without.iter().all(|bucket| bucket.active == 4));
    assert_eq!(chart(&on(&database)).await, without);
}

#[tokio::test]
async fn who_counts_beside_an_erasure_leaves_nothing_of_the_erased() {
    let database = database();
    let series = two_days(&database).await;
    let person = SessionKey {
        classroom: room(),
        student: student(1),
    };
    let journal = journal();
    let nothing = |_, _| Vec::new();
    let erasing = async {
        let erased = series.erase(&journal, &person, Position(96), nothing);
        erased.await.unwrap();
    };
    let first = MORNING.as_millis() / 3_600_000;
    let hours: Vec<i64> = (first..first + 48).collect();

    series.count_while(&room(), &hours, erasing).await;

    let left = database.count("SELECT COUNT(heard) FROM mimamori_hours");
    assert_eq!(left, 0);
    // and by what stands there then
    series.count_while(&room(), &hours, async {}).await;
    let counted = database.count("SELECT COUNT(heard) FROM mimamori_hours");
    assert_eq!(counted, 48);
}

#[tokio::test]
async fn what_is_past_its_term_is_in_no_hour_any_more_and_the_others_hold() {
    let database = database();
    let series = two_counted_days(&database).await;
    let all = chart(&series).await;
    let counted_before = hour_again(&database, 0);

    for _ in 0..2 {
        series.expire(&room(), at(12 * HOUR + 1), 10).await.unwrap();
        let kept = database.count("SELECT COUNT(heard) FROM mimamori_hours");
        assert_eq!(kept, 35);
        // what was on its way there: the next round takes it away
        database.ask(&counted_before);
    }
    let after = chart(&series).await;
    nobody_left(&database);
    let of_hours = chart(&series).await;

    assert_eq!((after[0].executions, after[1].executions), (0, 0));
    assert_eq!(after[2].executions, all[2].executions - 1);
    assert_eq!(after[3..], all[3..]);
    assert_eq!(of_hours[3..], all[3..]);
}

#[tokio::test]
async fn hours_hold_no_more_when_another_journal_is_written_or_the_points_are_filled_in() {
    for is_another in [true, false] {
        let database = database();
        two_counted_days(&database).await;
        let mut other = JournalId::new("another");
        if !is_another {
            other = journal();
            database.ask("DELETE FROM mimamori_offsets");
        }

        let entries = [ran(1, 1, HEARD, HEARD)];
        let series = on(&database);
        series.offset(&other).await.unwrap();
        series.write(&other, &entries, Position(1)).await.unwrap();
        nobody_left(&database);

        assert_eq!(executions(&chart(&series).await), 0);
    }
}

#[tokio::test]
async fn what_was_before_this_server_counts_in_hours_that_were_counted() {
    let database = database();
    let series = two_counted_days(&database).await;
    let before = eras(&database);

    // by a process of its own, as an import is
    let former = JournalId::new(crate::storage::series::FORMER);
    let entries = [ran(1, 8, 3 * HOUR + 60, 3 * HOUR + 60)];
    let import = on(&database);
    import.write(&former, &entries, Position(1)).await.unwrap();
    let at_once = chart(&series).await;
    counted_anew(&database, &series, &before).await;
    nobody_left(&database);
    let of_hours = chart(&series).await;

    assert_eq!((at_once[0].executions, at_once[0].active), (12, 6));
    assert_eq!(of_hours, at_once);
}
