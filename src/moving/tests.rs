//! From a real PostgreSQL into either database.

use mimamori_actors::domain::{Position, StudentId, Timestamp};
use mimamori_actors::ports::Store as _;
use sea_orm::ConnectionTrait as _;
use tempfile::TempDir;

use super::*;
use crate::storage::records::tests::server::{PASSWORD, ask, database};
use crate::storage::records::{
    ExecutionFilter, ExecutionRow, PostgresAddress, RecordsAt, TimeRange,
};
use crate::storage::samples;
use crate::storage::series::{Series, SeriesAt};

/// The tables of the former service, as it makes them, with the quirks that its data has.
const FORMER_SERVICE: &str = r#"
    CREATE TABLE teams (id serial PRIMARY KEY, team_name varchar);
    CREATE TABLE students (id serial PRIMARY KEY, email varchar, name varchar, team_id int);
    CREATE TABLE notebooks (id serial PRIMARY KEY, path varchar);
    CREATE TABLE cells (id serial PRIMARY KEY, cell_id varchar, notebook_id int);
    CREATE TABLE cell_executions (execution_id varchar, notebook_id int, cell_id int,
        student_id int, executed_at timestamp, execution_count int, status varchar,
        duration double precision, error_message text, output text, code_content text,
        cell_index int, cell_type varchar);
    INSERT INTO teams (team_name) VALUES ('チームA'), (NULL), (repeat('長', 4000));
    INSERT INTO students (email, name, team_id) VALUES
        ('hanako@example.ac.jp', '山田花子', 1),
        (' Hanako@Example.AC.jp', 'Hanako', NULL),
        ('taro@example.ac.jp', repeat('x', 10000), 3),
        (NULL, 'nobody', 1),
        ('', 'empty', 2),
        ('idle@example.ac.jp', '''; drop table students', 99);
    INSERT INTO notebooks (path) VALUES ('week1/課題.ipynb'), (E'a\nb.ipynb'), (NULL);
    INSERT INTO cells (cell_id, notebook_id) VALUES ('cell-one', 1), (NULL, 1);
    INSERT INTO cell_executions VALUES
        ('x-1', 1, 1, 1, '2026-04-10 01:00:00', 1, 'success', 12.5, NULL, '2', '1 + 1', 0, 'code'),
        ('x-2', 1, 1, 1, '2026-04-10 01:01:00.5', 2, 'error', NULL, 'NameError: x', NULL, 'x', 0, 'code'),
        ('x-3', 1, 2, 2, '2026-04-10 01:02:00', 3, 'success', NULL, NULL, NULL, 'Y', NULL, NULL),
        ('x-4', 2, NULL, 3, '2026-04-10 01:03:00', NULL, 'success', 'NaN', NULL, NULL, 'never ran', 1, 'code'),
        ('x-5', 3, 1, 3, '2026-04-10 01:04:00', 4, 'weird', NULL, NULL, NULL, 'y', 1, 'magic'),
        (NULL, 1, 1, 3, '2026-04-10 01:05:00', 5, 'success', NULL, NULL, NULL, 'z', 1, 'code'),
        ('no-student', 1, 1, 77, '2026-04-10 01:06:00', 1, 'success', NULL, NULL, NULL, 'a', 1, 'code'),
        ('no-student-2', 1, 1, NULL, '2026-04-10 01:06:00', 1, 'success', NULL, NULL, NULL, 'a', 1, 'code'),
        ('no-address', 1, 1, 4, '2026-04-10 01:06:00', 1, 'success', NULL, NULL, NULL, 'a', 1, 'code'),
        ('no-notebook', 77, 1, 1, '2026-04-10 01:06:00', 1, 'success', NULL, NULL, NULL, 'a', 1, 'code'),
        ('no-time', 1, 1, 1, NULL, 1, 'success', NULL, NULL, NULL, 'a', 1, 'code'),
        ('for-ever', 1, 1, 1, 'infinity', 1, 'success', NULL, NULL, NULL, 'a', 1, 'code'),
        (repeat('i', 3000), 1, 1, 1, '2026-04-10 01:07:00', 6, 'success', NULL, NULL, repeat('o', 400000), 'b', 1, 'code');
"#;

/// The database of a test.
#[derive(Debug, Clone, Copy)]
enum On {
    Sqlite,
    Postgres,
}

macro_rules! on_either {
    ($($test:ident),* $(,)?) => {
        mod into_sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Sqlite).await;
            })*
        }
        mod into_postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Postgres).await;
            })*
        }
    };
}

// behind the macro, which they use
mod allowed;
mod charts;
mod rows;

on_either!(
    everything_that_can_be_read_comes_over_and_the_rest_is_named,
    a_second_run_adds_nothing_and_a_later_one_what_is_new,
    a_dry_run_tells_what_would_be_and_keeps_nothing,
    what_is_known_from_here_stays_as_it_is,
    what_came_over_is_read_where_it_happened,
);

struct House {
    dir: TempDir,
    records: Records,
    series: Series,
    cache: Cache,
    former: String,
    key: StudentKey,
}

impl House {
    async fn new(on: On) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let series = SeriesAt::Dir(dir.path().to_owned());
        Self::with(on, dir, &series).await
    }

    async fn with(on: On, dir: TempDir, series: &SeriesAt) -> Self {
        let at = match on {
            On::Sqlite => RecordsAt::Dir(dir.path().to_owned()),
            On::Postgres => RecordsAt::Postgres(PostgresAddress {
                url: database().parse().unwrap(),
                max_connections: 3,
            }),
        };
        let former = database();
        ask(&former, FORMER_SERVICE);
        Self {
            records: Records::open(&at).await.unwrap(),
            series: Series::at(series).unwrap(),
            cache: Cache::new(1 << 20),
            key: StudentKey::from_bytes([7; 32]),
            dir,
            former,
        }
    }

    async fn bring(&self, is_dry_run: bool) -> Report {
        self.bring_as(is_dry_run, true, "UTC").await.unwrap()
    }

    async fn bring_as(
        &self,
        is_dry_run: bool,
        keeps_code: bool,
        zone: &str,
    ) -> Result<Report, MoveError> {
        let target = Target {
            keeps_code,
            ..self.target()
        };
        self.bring_to(&target, is_dry_run, zone).await
    }

    async fn bring_to(
        &self,
        target: &Target<'_>,
        is_dry_run: bool,
        zone: &str,
    ) -> Result<Report, MoveError> {
        let zone = zone.parse().unwrap();
        let mut source = Source::open(&self.former.parse().unwrap(), zone).await?;
        move_in(&mut source, target, is_dry_run, &mut |_| {}).await
    }

    /// As an installation without terms has it.
    fn target(&self) -> Target<'_> {
        Target {
            records: &self.records,
            series: &self.series,
            cache: &self.cache,
            student_key: self.key.clone(),
            classroom: samples::room(),
            keeps_code: true,
            allowed: Allowed::default(),
        }
    }

    fn student(&self, address: &str) -> StudentId {
        self.key.student(address)
    }

    async fn executions(&self) -> Vec<ExecutionRow> {
        let always = TimeRange {
            from: Timestamp::from_millis(0),
            to: None,
        };
        let filter = ExecutionFilter::default();
        let room = samples::room();
        let found = self.records.executions(&room, always, &filter, None, 1_000);
        found.await.unwrap().rows
    }

    async fn runs_counted(&self) -> u64 {
        let from = time("2026-04-10T00:00:00Z");
        let to = time("2026-04-11T00:00:00Z");
        let buckets = self
            .series
            .activity(&samples::room(), from, Some(to), to, 300)
            .await
            .unwrap();
        buckets.iter().map(|bucket| bucket.executions).sum()
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

async fn everything_that_can_be_read_comes_over_and_the_rest_is_named(on: On) {
    let house = House::new(on).await;

    let report = house.bring(false).await;

    let told = report.to_string();
    assert!(report.adds_up(), "{told}");
    assert_eq!((report.read, report.added), (13, 7), "{told}");
    for line in [
        "students              6             3",
        "teams                 3             2",
        "notebooks             3             2",
        "executions           13             7",
        "executions left out: 6",
        "  2 because their student is missing: no-student, no-student-2",
        "  1 because their student has no address: no-address",
        "  1 because their notebook is missing: no-notebook",
        "  2 because they have no time: for-ever, no-time",
        "1 students are one with another: their addresses differ in case only",
        "2 students have no address and are left out",
        "1 executions have a status other than success and error",
        "counted in the records: 7 more than before; all adds up",
    ] {
        assert!(
            told.lines().any(|it| it == line),
            "{line:?} is not in\n{told}"
        );
    }
    let rows = house.executions().await;
    let status = |id: &str| {
        let row = rows.iter().find(|row| row.event_id == id).unwrap();
        (row.status.clone(), row.cell_id.clone(), row.at_ms)
    };
    let at = |text| time(text).as_millis();
    let one = Some("cell-one".to_owned());
    assert_eq!(
        status("x-1"),
        ("ok".to_owned(), one.clone(), at("2026-04-10T01:00:00Z"))
    );
    assert_eq!(
        status("x-2"),
        ("error".to_owned(), one, at("2026-04-10T01:01:00.500Z"))
    );
    assert_eq!(status("x-4").0, "skipped");
    assert_eq!(status("x-5").0, "unknown");
    let students: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.student).collect();
    assert_eq!(
        students.len(),
        2,
        "one student by two spellings of an address"
    );
}

async fn a_second_run_adds_nothing_and_a_later_one_what_is_new(on: On) {
    let house = House::new(on).await;
    house.bring(false).await;
    let before = house.executions().await.len();

    let second = house.bring(false).await;
    ask(
        &house.former,
        "INSERT INTO cell_executions VALUES ('x-9', 1, 1, 6, '2026-04-10 02:00:00', 1, \
         'success', NULL, NULL, NULL, 'new', 0, 'code')",
    );
    let third = house.bring(false).await;

    assert_eq!((second.added, second.there_already), (0, 7), "{second}");
    assert_eq!((third.added, third.there_already), (1, 7), "{third}");
    assert!(second.adds_up() && third.adds_up());
    assert_eq!(house.executions().await.len(), before + 1);
    assert_eq!(house.runs_counted().await, 6, "five runs, and the new one");
}

async fn a_dry_run_tells_what_would_be_and_keeps_nothing(on: On) {
    let house = House::new(on).await;

    let report = house.bring(true).await;

    let told = report.to_string();
    assert!(
        told.contains("students              6             3"),
        "{told}"
    );
    assert!(
        told.contains("executions           13             7"),
        "{told}"
    );
    assert!(told.ends_with("a dry run: nothing was kept"), "{told}");
    assert_eq!(house.executions().await.len(), 0);
    assert_eq!(
        house.records.student_count(&samples::room()).await.unwrap(),
        0
    );
}

async fn what_is_known_from_here_stays_as_it_is(on: On) {
    let house = House::new(on).await;
    let mut event = samples::execution(1, 1);
    "hanako@example.ac.jp".clone_into(&mut event.address);
    event.name = Some("now".to_owned());
    let accepted = AcceptedEvent {
        classroom: samples::room(),
        student: house.student(&event.address),
        event,
    };
    let entry = samples::entry(
        1,
        samples::at(1),
        mimamori_actors::domain::Record::Event(Box::new(accepted)),
    );
    let journal = samples::journal();
    house
        .records
        .write(&journal, &[entry], Position(1))
        .await
        .unwrap();

    house.bring(false).await;

    let students = house.records.students(&samples::room()).await.unwrap();
    let hanako = students
        .iter()
        .find(|it| it.student_id() == house.student("hanako@example.ac.jp"))
        .unwrap();
    assert_eq!(hanako.name.as_deref(), Some("now"));
    assert_eq!(hanako.last_seen_ms, samples::at(1).as_millis());
    // what follows the journal meets nothing of it
    let events = house
        .records
        .events(&samples::room(), Position::ZERO, 100)
        .await
        .unwrap();
    assert_eq!(events.rows.len(), 1);
    assert_eq!(house.records.highest_position().await.unwrap(), Position(1));
    assert_eq!(
        house.records.offset(&journal).await.unwrap(),
        Some(Position(1))
    );
}

async fn what_came_over_is_read_where_it_happened(on: On) {
    let house = House::new(on).await;
    house.bring(false).await;
    let room = samples::room();
    let hour = TimeRange {
        from: time("2026-04-10T01:00:00Z"),
        to: Some(time("2026-04-10T02:00:00Z")),
    };

    let totals = house.records.totals(&room, hour).await.unwrap();

    assert_eq!((totals.executions, totals.errors, totals.active), (5, 1, 2));
    assert_eq!(house.runs_counted().await, 5);
}

#[tokio::test]
async fn what_the_records_took_and_do_not_have_afterwards_is_told() {
    let house = House::new(On::Sqlite).await;
    let file = house.dir.path().join("records.sqlite");
    let hands = sea_orm::Database::connect(format!("sqlite://{}", file.display()));
    let lost = "CREATE TRIGGER lose BEFORE INSERT ON executions WHEN NEW.code = 'Y' \
         BEGIN SELECT RAISE(IGNORE); END";
    hands.await.unwrap().execute_unprepared(lost).await.unwrap();

    let told = house.bring(false).await.to_string();

    let end = "counted in the records: 6 more than before; IT DOES NOT ADD UP";
    assert!(told.ends_with(end), "{told}");
}

#[tokio::test]
async fn times_without_a_zone_stand_in_the_one_that_is_given() {
    let house = House::new(On::Sqlite).await;

    house.bring_as(false, true, "Asia/Tokyo").await.unwrap();
    let unknown = house.bring_as(true, true, "Nowhere/City").await;

    let rows = house.executions().await;
    let first = rows.iter().find(|row| row.event_id == "x-1").unwrap();
    assert_eq!(first.at_ms, time("2026-04-10T01:00:00+09:00").as_millis());
    assert!(matches!(
        unknown,
        Err(MoveError::Source(SourceError::TimeZone))
    ));
}

#[tokio::test]
async fn times_with_a_zone_and_a_cell_that_is_named_by_a_text_are_taken_as_they_are() {
    let house = House::new(On::Sqlite).await;
    ask(
        &house.former,
        "ALTER TABLE cell_executions ALTER executed_at TYPE timestamptz \
         USING executed_at AT TIME ZONE 'Asia/Tokyo', ALTER cell_id TYPE varchar; \
         UPDATE cell_executions SET cell_id = '5c1a8d6e'; \
         ALTER TABLE cell_executions DROP duration, DROP cell_type",
    );

    house.bring_as(false, true, "Europe/Paris").await.unwrap();

    let rows = house.executions().await;
    let first = rows.iter().find(|row| row.event_id == "x-1").unwrap();
    assert_eq!(first.at_ms, time("2026-04-10T01:00:00+09:00").as_millis());
    assert_eq!(first.cell_id.as_deref(), Some("5c1a8d6e"));
}

#[tokio::test]
async fn a_classroom_that_keeps_no_code_gets_none() {
    let house = House::new(On::Sqlite).await;

    house.bring_as(false, false, "UTC").await.unwrap();

    for row in house.executions().await {
        assert!(
            row.code.as_deref().unwrap_or_default().is_empty(),
            "{row:?}"
        );
        assert_eq!(row.result, None);
    }
}

#[tokio::test]
async fn another_database_is_told_by_what_it_lacks_and_no_password_is_shown() {
    let house = House::new(On::Sqlite).await;
    ask(&house.former, "ALTER TABLE students DROP email");

    let fault = house.bring_as(false, true, "UTC").await.unwrap_err();

    let told = fault.to_string();
    assert!(
        told.contains("no table students with a column email"),
        "{told}"
    );
    let url = house.former.replace(PASSWORD, "wrong-secret");
    let refused = Source::open(&url.parse().unwrap(), "UTC".parse().unwrap()).await;
    let told = refused.err().unwrap().to_string();
    assert!(!told.contains("wrong-secret"), "{told}");
    drop(house.dir);
}
