//! The records in a real file and on a real server: one suite for both.

use crate::spoken; // for `server`
use std::sync::Arc;

use mimamori_actors::domain::{
    Alert, AlertId, AlertKind, AlertState, EndedBy, Entry, FactKind, HelpId, LessonId, SessionId,
};
use mimamori_actors::ports::Store;
use sea_orm::sqlx::{self, Connection as _, PgConnection};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tempfile::TempDir;

use super::read::TimeRange;
use super::{Dialect, PostgresAddress, Records, RecordsAt, Sql, Writing};
use crate::storage::samples::{
    MORNING, at, dead_letter, event, executed, fact, failed, help_beat, journal, rejection, room,
    student,
};

mod cells;
mod counting;
mod dumped;
mod editions;
mod expiry;
mod exports;
mod forget;
mod full_disk;
mod months;
mod newer;
mod plans;
mod postgres_only;
mod reading;
mod replicated;
// the tests of the whole program do more with it
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/it/harness/postgres.rs"]
pub(crate) mod server;
mod writing;

pub(super) const ALL_DAY: TimeRange = TimeRange {
    from: MORNING,
    to: None,
};

/// The database of a test.
#[derive(Debug, Clone, Copy)]
enum On {
    Sqlite,
    Postgres,
    /// Written to a server, read at its replica.
    Replica,
}

/// Where a test's records are; what is made for them goes with it.
struct Home {
    at: RecordsAt,
    _dir: Option<TempDir>,
}

impl Home {
    fn new(on: On) -> Self {
        let dir = tempfile::tempdir().unwrap();
        match on {
            On::Sqlite => Self {
                at: RecordsAt::Dir(dir.path().to_owned()),
                _dir: Some(dir),
            },
            On::Postgres | On::Replica => Self {
                at: at_url(&server::database()),
                _dir: None,
            },
        }
    }
}

fn at_url(url: &str) -> RecordsAt {
    RecordsAt::Postgres(PostgresAddress {
        url: url.parse().unwrap(),
        max_connections: 4,
    })
}

/// Makes of each function a test on either database.
macro_rules! on_either {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Postgres).await;
            })*
        }
    };
}
use on_either;

/// Makes of each function a test on either database, and one that reads at a replica; of
/// those behind the semicolon not this one.
macro_rules! on_each {
    ($($test:ident),* $(,)? $(; $($either:ident),* $(,)?)?) => {
        on_either!($($test,)* $($($either),*)?);
        mod at_a_replica {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Replica).await;
            })*
        }
    };
}
use on_each;

async fn records(on: On) -> (Home, Records) {
    if matches!(on, On::Replica) {
        return replicated::records().await;
    }
    let home = Home::new(on);
    let records = Records::open(&home.at).await.unwrap();
    (home, records)
}

/// Changes what is there behind the program's back, which takes it for what it wrote.
async fn tamper(records: &Records, sql: &str) {
    *records.written() = None;
    match &records.writing {
        Writing::Sqlite(connection) => {
            connection.execute_unprepared(sql).await.unwrap();
        }
        Writing::Postgres(writer) => {
            let mut session = PgConnection::connect_with(writer.options()).await.unwrap();
            let sql = sqlx::AssertSqlSafe(sql.to_owned());
            sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
        }
    }
    replicated::caught_up(records).await;
}

pub(super) async fn write(records: &Records, entries: &[Arc<Entry>]) {
    let through = entries.last().unwrap().position;
    records.write(&journal(), entries, through).await.unwrap();
    replicated::caught_up(records).await;
}

/// Where they are read.
fn reading(records: &Records) -> DatabaseConnection {
    let visit = records.visit();
    visit.map_or_else(|| records.reading.clone(), |visit| visit.pool())
}

/// Every row of every table, as text.
async fn everything(records: &Records) -> Vec<String> {
    let mut all = Vec::new();
    for table in [
        "classrooms",
        "students",
        "teams",
        "notebooks",
        "events",
        "executions",
        "executions_hours",
        "executions_cells",
        "lessons",
        "sessions",
        "help",
        "alerts",
        "rejected",
        "dead_letters",
        "offsets",
    ] {
        let text = match records.dialect {
            Dialect::Sqlite => whole_row_of(records, table).await,
            Dialect::Postgres => format!("{table}::text"),
        };
        let mut sql = Sql::new(&format!("SELECT {text} AS line FROM {table} ORDER BY 1"));
        for row in reading(records)
            .query_all_raw(sql.statement(records.dialect))
            .await
            .unwrap()
        {
            let line: String = row.try_get("", "line").unwrap();
            all.push(format!("{table}: {line}"));
        }
    }
    all
}

/// Every column of a table of SQLite, as one text.
async fn whole_row_of(records: &Records, table: &str) -> String {
    let mut sql = Sql::new(&format!("SELECT name FROM pragma_table_info('{table}')"));
    let columns = records
        .reading
        .query_all_raw(sql.statement(records.dialect));
    let columns: Vec<String> = columns
        .await
        .unwrap()
        .iter()
        .map(|row| row.try_get::<String>("", "name").unwrap())
        .map(|name| format!("COALESCE(quote({name}), '')"))
        .collect();
    columns.join("||' '||")
}

fn session_begun(position: u64) -> Arc<Entry> {
    fact(
        position,
        FactKind::SessionBegun {
            session: SessionId::new("ses_1"),
            student: student(1),
            begun: at(position - 1),
        },
    )
}

fn session_ended(position: u64) -> Arc<Entry> {
    fact(
        position,
        FactKind::SessionEnded {
            session: SessionId::new("ses_1"),
            student: student(1),
            begun: at(1),
            ended: at(7),
            events: 3,
        },
    )
}

fn help_opened(position: u64, help: &str) -> Arc<Entry> {
    fact(
        position,
        FactKind::HelpOpened {
            help: HelpId::new(help),
            student: student(1),
            since: at(position),
            cell_id: Some("cell-1".to_owned()),
        },
    )
}

fn help_ended(position: u64, help: &str, since: u64) -> Arc<Entry> {
    fact(
        position,
        FactKind::HelpEnded {
            help: HelpId::new(help),
            student: student(1),
            since: at(since),
            until: at(position),
            ended_by: EndedBy::Silence,
            cell_id: Some("cell-1".to_owned()),
        },
    )
}

fn alert(position: u64, state: AlertState) -> Arc<Entry> {
    fact(
        position,
        FactKind::AlertChanged {
            alert: Alert {
                id: AlertId::new("alr_1"),
                kind: AlertKind::ErrorsInARow,
                student: student(1),
                cell_id: None,
                since: at(3),
                reason: "three errors in a row".to_owned(),
                state,
            },
            at: at(position),
        },
    )
}

fn lesson(position: u64, ended: Option<u64>) -> Arc<Entry> {
    let lesson = LessonId::new("les_1");
    let begun = at(1);
    let kind = match ended {
        None => FactKind::LessonBegun { lesson, begun },
        Some(ended) => FactKind::LessonEnded {
            lesson,
            begun,
            ended: at(ended),
            ended_by: EndedBy::Silence,
        },
    };
    fact(position, kind)
}

/// Something of everything that a journal may hold.
fn mixed() -> Vec<Arc<Entry>> {
    vec![
        executed(1, 1),
        session_begun(2),
        lesson(3, None),
        failed(4, 1, "NameError: name 'x' is not defined"),
        event(5, 2, help_beat(5, 2)),
        help_opened(6, "hlp_1"),
        alert(7, AlertState::Open),
        rejection(8, "{\"eventType\": 7}"),
        dead_letter(9, 4),
        help_ended(10, "hlp_1", 6),
        alert(11, AlertState::Closed),
        session_ended(12),
        lesson(13, Some(7)),
    ]
}
