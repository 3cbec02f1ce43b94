//! A backup while a class works at 500 events/s, restored and held against where it came from.

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _};
use serde_json::Value;
use tokio::time::Instant;

use super::{backup, manifest, place, restore};
use crate::harness::postgres::{ask, database};
use crate::harness::{
    Counted, PATIENCE, Pace, Run, Senders, Server, ensure, event_id, eventually, run,
};

/// 500 events/s.
const CLASS: Pace = Pace {
    connections: 2,
    batch: 10,
    every: Duration::from_millis(40),
};

/// Where records are.
#[derive(Debug, Clone)]
pub enum Kept {
    /// In a file.
    Sqlite,
    /// In a database at this address.
    Postgres(String),
}

impl Kept {
    /// In a new database.
    pub fn in_postgres() -> Self {
        Self::Postgres(database())
    }

    pub fn env(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Sqlite => Vec::new(),
            Self::Postgres(url) => vec![("MIMAMORI_RECORDS__URL", url)],
        }
    }

    /// What the database's own client reads: one text a row.
    pub async fn rows(&self, storage: &Path, sql: &str) -> Vec<String> {
        match self {
            Self::Postgres(url) => ask(url, sql).lines().map(str::to_owned).collect(),
            Self::Sqlite => {
                let options = SqliteConnectOptions::new()
                    .filename(storage.join("records.sqlite"))
                    .read_only(true);
                let mut client = SqliteConnection::connect_with(&options).await.unwrap();
                let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
                let rows = query.fetch_all(&mut client).await.unwrap();
                client.close().await.unwrap();
                rows
            }
        }
    }

    /// Rows up to a position that never change.
    async fn written(&self, storage: &Path, through: u64) -> Vec<String> {
        let mut all = Vec::new();
        for (table, columns) in [
            (
                "events",
                "event_id || ' ' || student || ' ' || at_ms || ' ' || received_at_ms || ' ' || body",
            ),
            (
                "executions",
                "student || ' ' || at_ms || ' ' || status || ' ' || cell_id || ' ' || code",
            ),
        ] {
            let sql = format!(
                "SELECT '{table} ' || position || ' ' || {columns} FROM {table} \
                 WHERE position <= {through} ORDER BY position"
            );
            all.extend(self.rows(storage, &sql).await);
        }
        all
    }
}

/// Until the records have every event up to this position that the server tells.
async fn level(server: &Server, kept: &Kept, end: u64) -> Vec<String> {
    let last = "SELECT CAST(MAX(position) AS TEXT) FROM offsets";
    eventually("the records are level", PATIENCE, async || {
        let at = kept.rows(server.dir(), last).await;
        let at: u64 = at[0].parse().unwrap();
        ensure(at >= end, || format!("{at} of {end}"))
    })
    .await;
    kept.written(server.dir(), end).await
}

/// A class at work until `events` are there, a backup in the middle, a restore of it;
/// fails if the two differ up to the backup's position, or an event is lost or doubled.
pub async fn while_a_class_works(from: Kept, to: Kept, events: usize) -> Counted {
    let mut server = Server::with(&from.env()).await;
    let senders = Senders::begin(&server, "class", CLASS);
    let api = server.api();
    eventually(
        "the class is at work",
        Duration::from_secs(300),
        async || {
            let there = from
                .rows(server.dir(), "SELECT CAST(COUNT(*) AS TEXT) FROM events")
                .await;
            ensure(there[0].parse::<usize>().unwrap() >= events, || {
                there[0].clone()
            })
        },
    )
    .await;
    let sure: Vec<_> = (0..20)
        .map(|nth| run(&format!("sure-{nth}"), "sure", "c", Run::Ok))
        .collect();
    api.accepted(&sure).await;
    let (backups, storage) = (place(), place());
    let dir = backups.path().join("today");

    backup(server.dir(), &dir, &from.env()).await;
    let end = manifest(&dir)["end"].as_u64().unwrap();
    let expected = level(&server, &from, end).await;
    server.sigterm();
    let ended = server.ended(PATIENCE).await;
    assert!(ended.success(), "{}", server.log());
    let ledger = senders.until_it_is_gone().await;
    assert!(ledger.acknowledged.len() >= events);
    drop(server);

    let began = Instant::now();
    restore(storage.path(), &dir, &to.env()).await;
    let restored = Server::on(storage, &to.env()).await;
    let recovered = began.elapsed();

    let found = level(&restored, &to, end).await;
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "the rows differ");
    let api = restored.api();
    let told = api.all("/events?since=0", 1000).await;
    let sure_there = told
        .iter()
        .filter(|event| event_id(event).starts_with("sure-"));
    assert_eq!(sure_there.count(), sure.len());
    let again = api.ingest(&sure).await.good();
    assert_eq!(again["duplicates"], sure.len(), "{again}");
    counters_agree(&restored).await;
    Counted {
        acknowledged: told.len(),
        stored: expected
            .iter()
            .filter(|row| row.starts_with("events "))
            .count(),
        recovered,
        ..Counted::default()
    }
}

/// What the sessions count is what the records have: nothing was folded twice or not at all.
async fn counters_agree(server: &Server) {
    let api = server.api();
    eventually("the counters agree", PATIENCE, async || {
        let overview = api.room("/overview").await.good();
        let students = overview["students"].as_array().unwrap();
        let counted: u64 = students
            .iter()
            .map(|student| student["executions"].as_u64().unwrap())
            .sum();
        let runs = |bucket: &Value| bucket["executions"].as_u64().unwrap();
        let charted: u64 = overview["activity"]
            .as_array()
            .unwrap()
            .iter()
            .map(runs)
            .sum();
        let stored = overview["totals"]["executions"].as_u64().unwrap();
        ensure(counted == stored && charted == stored, || {
            format!("{counted} in sessions, {charted} in the chart, {stored} in the records")
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_from_a_class_at_work_has_all_that_was_acknowledged_before_it() {
    while_a_class_works(Kept::Sqlite, Kept::Sqlite, 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_so_with_postgresql() {
    while_a_class_works(Kept::in_postgres(), Kept::in_postgres(), 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_the_way_from_the_file_to_the_server() {
    while_a_class_works(Kept::Sqlite, Kept::in_postgres(), 300).await;
}
