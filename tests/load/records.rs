//! The records' writer beside COPY of the same rows into the same tables.

use std::sync::Arc;
use std::time::Duration;

use mimamori::storage::records::{PostgresAddress, Records, RecordsAt};
use mimamori_actors::domain::{
    AcceptedEvent, ClassroomId, Entry, Event, Heard, JournalId, Position, Record, StudentId,
    Timestamp,
};
use mimamori_actors::ports::Store;
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _};
use serde_json::json;
use tokio::time::Instant;

use crate::figures::verdict;
use crate::postgres::{Postgres, ask};

/// Rows of a round, and of a batch: what the writer takes at a time when it is behind.
const ROWS: u64 = 100_000;
const BATCH: usize = 4_000;
const ROUNDS: usize = 3;

/// Executions of a class of 200, 400 bytes of code each.
fn entries() -> anyhow::Result<Vec<Arc<Entry>>> {
    let begun: Timestamp = "2026-11-02T00:00:00Z".parse()?;
    (1..=ROWS)
        .map(|n| {
            let at = begun.plus(Duration::from_millis(n * 20));
            let event: Event = serde_json::from_value(json!({
                "eventId": format!("5c1a8d6e-0000-4000-8000-{n:012x}"),
                "eventType": "cell_executed",
                "eventTime": at,
                "emailAddress": format!("student{:03}@example.com", n % 200),
                "userName": format!("学生 {}", n % 200),
                "teamName": format!("チーム{}", n % 40),
                "sessionId": "ce8400e8-e504-4ec7-9c43-24edd79c5182",
                "notebookPath": format!("week{}/課題.ipynb", n % 12),
                "cellId": format!("cell-{}", n % 70),
                "cellIndex": n % 70,
                "cellType": "code",
                "code": format!("for i in range({n}):\n    print(i)\n# {}", "x = compute(i) ".repeat(25)),
                "executionCount": n,
                "hasError": n % 7 == 0,
                "errorMessage": (n % 7 == 0).then(|| format!("NameError: name 'x{n}' is not defined")),
                "result": ["0", "1"],
                "metadata": {"kernel": "python3"},
            }))?;
            Ok(Arc::new(Entry {
                position: Position(n),
                received_at: at,
                heard_at: Heard::of_wall(at),
                record: Record::Event(Box::new(AcceptedEvent {
                    classroom: ClassroomId::new("default"),
                    student: StudentId::new(format!("stu_{:032x}", n % 200)),
                    event,
                })),
            }))
        })
        .collect()
}

async fn open(url: &str) -> anyhow::Result<Records> {
    let at = RecordsAt::Postgres(PostgresAddress {
        url: url.parse()?,
        max_connections: 4,
    });
    Ok(Records::open(&at).await?)
}

async fn written(url: &str, entries: &[Arc<Entry>]) -> anyhow::Result<Duration> {
    let records = open(url).await?;
    ask(url, "CHECKPOINT");
    let journal = JournalId::new("bench");
    let began = Instant::now();
    for batch in entries.chunks(BATCH) {
        let through = batch.last().map_or(Position::ZERO, |last| last.position);
        records.write(&journal, batch, through).await?;
    }
    let took = began.elapsed();
    records.close().await?;
    Ok(took)
}

/// The rows that stand in `from`, by psql's COPY in one transaction a table.
async fn copied(from: &str, to: &str) -> anyhow::Result<Duration> {
    open(to).await?.close().await?;
    let dir = tempfile::tempdir()?;
    let file = |table: &str| dir.path().join(table).display().to_string();
    for table in ["events", "executions"] {
        let file = file(table);
        ask(
            from,
            &format!(
                "\\copy (SELECT * FROM {table} ORDER BY position) TO '{file}' (FORMAT binary)"
            ),
        );
    }
    ask(to, "CHECKPOINT");
    let began = Instant::now();
    for table in ["events", "executions"] {
        let file = file(table);
        ask(to, &format!("\\copy {table} FROM '{file}' (FORMAT binary)"));
    }
    Ok(began.elapsed())
}

/// The rows that stand in `from`, in batches that are copied into a temporary table and
/// go from there into the tables, once. Nobody has to make the bytes: the most that
/// this way could gain.
async fn by_way_of_a_temporary_table(from: &str, to: &str) -> anyhow::Result<Duration> {
    open(to).await?.close().await?;
    let dir = tempfile::tempdir()?;
    let mut batches = Vec::new();
    for first in (0..ROWS).step_by(BATCH) {
        for table in ["events", "executions"] {
            let file = dir.path().join(format!("{table}-{first}"));
            let last = first + BATCH as u64;
            ask(
                from,
                &format!(
                    "\\copy (SELECT * FROM {table} WHERE position > {first} AND position <= {last} ORDER BY position) TO '{}' (FORMAT binary)",
                    file.display()
                ),
            );
            batches.push((table, std::fs::read(file)?));
        }
    }
    let mut session = PgConnection::connect(to).await?;
    for table in ["events", "executions"] {
        let made =
            format!("CREATE TEMPORARY TABLE new_{table} (LIKE {table}) ON COMMIT DELETE ROWS");
        sqlx::raw_sql(AssertSqlSafe(made))
            .execute(&mut session)
            .await?;
    }
    ask(to, "CHECKPOINT");
    let began = Instant::now();
    for batch in batches.chunks(2) {
        sqlx::raw_sql("BEGIN").execute(&mut session).await?;
        for (table, bytes) in batch {
            let copy = format!("COPY new_{table} FROM STDIN (FORMAT binary)");
            let mut copying = session.copy_in_raw(&copy).await?;
            copying.send(bytes.as_slice()).await?;
            copying.finish().await?;
            let moved =
                format!("INSERT INTO {table} SELECT * FROM new_{table} ON CONFLICT DO NOTHING");
            sqlx::raw_sql(AssertSqlSafe(moved))
                .execute(&mut session)
                .await?;
        }
        sqlx::raw_sql("COMMIT").execute(&mut session).await?;
    }
    Ok(began.elapsed())
}

/// Rows a second in batches, with offsets, students and all, against COPY.
pub async fn beside_copy() -> anyhow::Result<bool> {
    println!(
        "records: {ROWS} executions in batches of {BATCH} into PostgreSQL, and COPY of the same rows"
    );
    let server = Postgres::start();
    let entries = entries()?;
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let (ours, theirs) = (server.database(), server.database());
        let ours_took = written(&ours, &entries).await?;
        let theirs_took = copied(&ours, &theirs).await?;
        let ratio = theirs_took.as_secs_f64() / ours_took.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a hundred thousand is exact")]
        let rate = |took: Duration| ROWS as f64 / took.as_secs_f64();
        println!(
            "  round {round}: {:.0} events/s written, {:.0} events/s by COPY, ratio {ratio:.3}",
            rate(ours_took),
            rate(theirs_took)
        );
        ratios.push(ratio);
        if round == ROUNDS {
            let took = by_way_of_a_temporary_table(&ours, &server.database()).await?;
            println!(
                "  by way of a temporary table, ready bytes, events and executions alone: {:.0} events/s, {:.2} × ours",
                rate(took),
                ours_took.as_secs_f64() / took.as_secs_f64()
            );
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ROUNDS / 2];
    Ok(verdict(
        "records against COPY",
        median,
        median >= 0.5,
        "≥ 0.5",
    ))
}
