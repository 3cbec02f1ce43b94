//! What is past its term goes, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use mimamori_actors::domain::{AcceptedEvent, AlertState, ClassroomId, EventId, Record, Timestamp};

use super::cells::assert_cells_are_counted;
use super::*;
use crate::storage::placed_at;
use crate::storage::records::Step;
use crate::storage::samples::{entry, execution};

on_either!(
    nothing_goes_that_is_not_past_its_term_however_wrong_clocks_are,
    everything_of_a_day_goes_when_its_term_is_over,
    what_is_open_stays_while_its_student_is_heard_of,
    a_batch_has_at_most_so_many_rows,
);

const DAY: Duration = Duration::from_secs(86_400);

/// The same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A time that a client may say when it is `now`.
fn said(numbers: &mut Numbers, now: Timestamp) -> Timestamp {
    let hour = Duration::from_secs(3_600);
    let some = hour * u32::try_from(numbers.below(120)).unwrap();
    match numbers.below(9) {
        0 => Timestamp::from_millis(-62_000_000_000_000),
        1 => Timestamp::from_millis(0),
        2 => Timestamp::from_millis(253_000_000_000_000),
        3 => now.minus(DAY * 400),
        4 => now.plus(DAY * 400),
        5 => now.plus(some),
        6 | 7 => now.minus(some),
        _ => now,
    }
}

async fn expire_all(records: &Records, classroom: &ClassroomId, before: Timestamp, now: Timestamp) {
    let terms = [
        (classroom.clone(), Some(before)),
        (ClassroomId::new("kept"), None),
    ];
    records.drop_months(&terms, now).await.unwrap();
    for step in Step::ALL {
        while records.expire(step, classroom, before, 7).await.unwrap() == 7 {}
    }
}

/// Classroom, position and table of all that is there.
async fn there(records: &Records) -> BTreeSet<(String, i64, &'static str)> {
    let mut all = BTreeSet::new();
    for table in ["events", "executions"] {
        let mut sql = Sql::new(&format!("SELECT classroom, position FROM {table}"));
        let rows = records
            .reading
            .query_all_raw(sql.statement(records.dialect));
        for row in rows.await.unwrap() {
            let classroom = row.try_get("", "classroom").unwrap();
            all.insert((classroom, row.try_get("", "position").unwrap(), table));
        }
    }
    all
}

async fn nothing_goes_that_is_not_past_its_term_however_wrong_clocks_are(on: On) {
    let (_home, records) = records(on).await;
    let mut numbers = Numbers(20_261_122);
    let mut now = MORNING;
    let mut model = Vec::new();
    let mut entries = Vec::new();
    for position in 1..=400 {
        now = now.plus(Duration::from_secs(numbers.below(8 * 3_600)));
        let mut event = execution(position, numbers.below(5));
        event.id = EventId::new(format!("e{position}"));
        event.time = said(&mut numbers, now);
        let classroom = ["default", "kept"][usize::from(position % 5 == 0)];
        let at = placed_at(event.time, now);
        model.push((classroom, i64::try_from(position).unwrap(), at));
        let accepted = AcceptedEvent {
            classroom: ClassroomId::new(classroom),
            student: student(position % 5),
            event,
        };
        entries.push(entry(position, now, Record::Event(Box::new(accepted))));
    }
    write(&records, &entries).await;
    assert_eq!(there(&records).await.len(), 800);

    for days in [120, 90, 60, 31, 30, 7, 2, 1] {
        let before = now.minus(DAY * days);
        expire_all(&records, &room(), before, now).await;

        let left: BTreeSet<_> = model
            .iter()
            .filter(|(classroom, _, at)| *classroom == "kept" || *at >= before)
            .flat_map(|(classroom, position, _)| {
                ["events", "executions"].map(|table| ((*classroom).to_owned(), *position, table))
            })
            .collect();
        assert_eq!(there(&records).await, left, "{days} days");
        assert_cells_are_counted(&records).await;
    }
}

async fn everything_of_a_day_goes_when_its_term_is_over(on: On) {
    let (_home, records) = records(on).await;
    write(&records, &mixed()).await;
    let all = everything(&records).await;

    expire_all(&records, &room(), at(0), at(0)).await;
    assert_eq!(everything(&records).await, all);
    // what events name is named for 48 h more
    expire_all(&records, &room(), at(20).plus(2 * DAY).plus(DAY), at(20)).await;

    let left = everything(&records).await;
    let tables: Vec<&str> = left
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(tables, ["classrooms", "offsets"], "{left:#?}");
}

async fn what_is_open_stays_while_its_student_is_heard_of(on: On) {
    let (_home, records) = records(on).await;
    let open = [
        executed(1, 1),
        session_begun(2),
        lesson(3, None),
        help_opened(4, "hlp_1"),
        alert(5, AlertState::Open),
        executed(500, 1),
    ];
    write(&records, &open).await;
    let of_facts = |all: Vec<String>| {
        let is_fact = |line: &String| {
            ["sessions", "lessons", "help", "alerts", "students"]
                .iter()
                .any(|table| line.starts_with(&format!("{table}:")))
        };
        all.into_iter().filter(is_fact).count()
    };

    expire_all(&records, &room(), at(400), at(500)).await;
    assert_eq!(of_facts(everything(&records).await), 5);
    expire_all(&records, &room(), at(501), at(501)).await;
    // its student is named for 48 h more
    assert_eq!(of_facts(everything(&records).await), 1);
}

async fn a_batch_has_at_most_so_many_rows(on: On) {
    let (_home, records) = records(on).await;
    let entries: Vec<_> = (1..=10).map(|position| executed(position, 1)).collect();
    write(&records, &entries).await;
    let late = at(1_000);
    assert_eq!(
        records.overdue(&room(), late).await.unwrap(),
        Duration::from_secs(999)
    );

    let first = records
        .expire(Step::Events, &room(), late, 4)
        .await
        .unwrap();

    let left: BTreeSet<_> = there(&records).await.into_iter().map(|row| row.1).collect();
    assert_eq!(first, 4);
    assert_eq!(
        left,
        (5..=10).collect(),
        "the oldest go first, with their executions"
    );
}

/// The months of events that there are.
async fn months(records: &Records) -> Vec<String> {
    let mut sql = Sql::new(
        "SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent IN ('events'::regclass, 'executions'::regclass) ORDER BY 1",
    );
    let rows = records
        .reading
        .query_all_raw(sql.statement(records.dialect));
    let rows = rows.await.unwrap();
    rows.iter()
        .map(|row| row.try_get("", "name").unwrap())
        .collect()
}

#[tokio::test]
async fn a_month_is_dropped_when_no_row_in_it_is_within_its_term() {
    let (_home, records) = records(On::Postgres).await;
    let late = at(70 * 86_400);
    let mut sent_late = execution(2, 2);
    sent_late.time = at(2);
    let accepted = AcceptedEvent {
        classroom: ClassroomId::new("other"),
        student: student(2),
        event: sent_late,
    };
    // filed in November, placed where it was received
    let sent_late = entry(2, late, Record::Event(Box::new(accepted)));
    write(&records, &[executed(1, 1), sent_late]).await;
    let next_year = at(300 * 86_400);
    let december = "2026-12-15T00:00:00Z".parse().unwrap();
    let other = ClassroomId::new("other");
    let has_november = async || {
        let months = months(&records).await;
        ["events_2026_11", "executions_2026_11"].map(|name| months.contains(&name.to_owned()))
    };
    let before = months(&records).await.len();

    let unknown = [(room(), Some(december))];
    let for_ever = [(room(), Some(december)), (other.clone(), None)];
    let sooner = [(room(), Some(december)), (other.clone(), Some(late))];
    for terms in [&unknown[..], &for_ever, &sooner] {
        records.drop_months(terms, next_year).await.unwrap();
        assert_eq!(has_november().await, [true; 2], "{terms:?}");
    }
    let past = late.plus(Duration::from_millis(1));
    let all = [(room(), Some(december)), (other, Some(past))];
    // months around now stay, however short the term
    records.drop_months(&all, at(0)).await.unwrap();
    assert_eq!(has_november().await, [true; 2]);
    let dropped = records.drop_months(&all, next_year).await.unwrap();

    assert_eq!(has_november().await, [false; 2]);
    assert!(there(&records).await.is_empty());
    // what is counted of it goes with it, though no trigger fires
    assert_cells_are_counted(&records).await;
    let totals = records.totals(&room(), ALL_DAY).await.unwrap();
    assert_eq!((totals.executions, totals.active), (0, 0));
    assert!(dropped >= 1 && months(&records).await.len() < before);
    assert!(
        months(&records)
            .await
            .contains(&"events_default".to_owned())
    );
}
