//! Fills the tables with what a class of 200 does in so many days, by the databases' own means.

use std::path::Path;

use mimamori::storage::records::{PostgresAddress, Records, RecordsAt};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::postgres::ask;

pub const EXECUTIONS_A_DAY: u64 = 20_000;
pub const STUDENTS: u64 = 200;
const DAY_MS: u64 = 86_400_000;

/// `{n}` of the expressions below; `{hex}` and `{repeat}` differ by database.
struct Words {
    /// A number as hexadecimal text.
    hex: fn(&str) -> String,
    /// A constant text so many times.
    repeat: fn(&str, usize) -> String,
}

const SQLITE: Words = Words {
    hex: |number| format!("printf('%08x', {number})"),
    repeat: |text, times| format!("'{}'", text.repeat(times)),
};
const POSTGRES: Words = Words {
    hex: |number| format!("lpad(to_hex({number}), 8, '0')"),
    repeat: |text, times| format!("'{}'", text.repeat(times)),
};

/// About 400 bytes of code; each differs from every other.
fn code(words: &Words) -> String {
    let hash = |factor: u64| (words.hex)(&format!("(n * {factor} % 4294967291)"));
    format!(
        "'# 課題 run' || n || '_of' || char(10) || 'import numpy as np' || char(10) || 'values_' || {} || \
         ' = [compute(i, step_' || (n % 2999) || '_end) for i in range(' || (n % 97) || ')]' || char(10) || \
         'frame[''' || {} || '''] = values_' || {} || '.mean()' || char(10) || {}",
        hash(2_654_435_761),
        hash(40_503),
        hash(2_246_822_519),
        (words.repeat)("print(total, count, append(result, key=lambda x: x)) ", 4),
    )
}

const STATUS: &str = "CASE WHEN n % 2000 = 0 THEN 'interrupted' WHEN n % 7 = 0 THEN 'error' \
    WHEN n % 31 = 0 THEN 'skipped' WHEN n % 53 = 0 THEN 'not_run' ELSE 'ok' END";

/// `INSERT … SELECT` of everything from rows `n`; at `begin_ms` the first one was executed.
fn statements(
    words: &Words,
    begin_ms: u64,
    days: u64,
    is_filed: bool,
) -> Vec<(&'static str, String)> {
    let every = DAY_MS / EXECUTIONS_A_DAY;
    let at = format!("({begin_ms} + n * {every})");
    let week = EXECUTIONS_A_DAY * 7;
    let filed = if is_filed {
        format!(", timestamptz 'epoch' + {at} * interval '1 millisecond'")
    } else {
        String::new()
    };
    let code = code(words).replace("char(10)", if is_filed { "chr(10)" } else { "char(10)" });
    let end = begin_ms + days * DAY_MS;
    vec![
        (
            "executions",
            format!(
                "INSERT INTO executions SELECT n, 'default', 'stu_' || (n * 7 % {STUDENTS}), {at}, {STATUS}, \
             'week' || (n / {week}) || '.ipynb', 'w' || (n / {week}) || 'c' || (n % 70), n % 70, 'code', n % 400, {code}, \
             CASE WHEN n % 7 = 0 THEN 'NameError: name ''x' || (n % 5000) || ''' is not defined' END, '[\"0\", \"1\"]'{filed}"
            ),
        ),
        (
            "events",
            format!(
                "INSERT INTO events SELECT n, 'default', 'stu_' || (n * 7 % {STUDENTS}), 'e' || n || '-0000-4000-8000-5c1a8d6e', \
             'cell_executed', {at}, {at}, {at}, '{{\"u\":\"山田花子\",\"t\":\"チームA\",\"s\":\"ce8400e8\",\"d\":2.5}}'{filed}"
            ),
        ),
        (
            "help",
            format!(
                "INSERT INTO help SELECT 'default', 'hlp_' || n, 'stu_' || (n * 7 % {STUDENTS}), {at}, \
             CASE WHEN {at} < {end} - 600000 THEN {at} + 300000 END, CASE WHEN {at} < {end} - 600000 THEN 'student' END, \
             NULL, 'c', n, n",
            ),
        ),
        (
            "sessions",
            format!(
                "INSERT INTO sessions SELECT 'default', 'ses_' || n, 'stu_' || (n * 7 % {STUDENTS}), {at}, {at} + 3000000, 100, n, n"
            ),
        ),
        (
            "lessons",
            format!(
                "INSERT INTO lessons SELECT 'default', 'les_' || n, {at}, {at} + 3000000, 'silence', n"
            ),
        ),
        (
            "students",
            format!(
                "INSERT INTO students SELECT 'default', 'stu_' || n, 'a' || n || '@example.com', '山田花子' || n, 'チームA', {begin_ms}, {end}, n"
            ),
        ),
        (
            "notebooks",
            format!(
                "INSERT INTO notebooks SELECT 'default', 'week' || n || '.ipynb', 'week' || n || '.ipynb', {begin_ms}, {end}"
            ),
        ),
    ]
}

/// From, step and number of the rows `n` of a table.
fn rows(table: &str, days: u64) -> (u64, u64, u64) {
    let executions = days * EXECUTIONS_A_DAY;
    match table {
        "help" | "sessions" => (1, 211, executions / 211),
        "lessons" => (1, EXECUTIONS_A_DAY / 4, days * 4),
        "students" => (0, 1, STUDENTS),
        "notebooks" => (0, 1, days / 7 + 1),
        _ => (1, 1, executions),
    }
}

fn begin_ms(days: u64) -> anyhow::Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_millis())? - days * DAY_MS)
}

/// A file of so many days in this directory.
pub async fn sqlite(dir: &Path, days: u64) -> anyhow::Result<()> {
    Records::open(&RecordsAt::Dir(dir.to_owned()))
        .await?
        .close()
        .await?;
    let options = SqliteConnectOptions::new()
        .filename(dir.join("records.sqlite"))
        .pragma("cache_size", "-1048576")
        .pragma("synchronous", "OFF")
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    for (table, text) in statements(&SQLITE, begin_ms(days)?, days, false) {
        let (from, step, count) = rows(table, days);
        let text = format!(
            "WITH RECURSIVE numbers(n) AS (SELECT {from} UNION ALL SELECT n + {step} FROM numbers LIMIT {count}) {text} FROM numbers"
        );
        sqlx::raw_sql(AssertSqlSafe(text))
            .execute(&mut connection)
            .await?;
    }
    sqlx::raw_sql(
        "INSERT INTO classrooms VALUES ('default', 'default', 0); PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .execute(&mut connection)
    .await?;
    Ok(connection.close().await?)
}

/// The same in an empty database.
pub async fn postgres(url: &str, days: u64) -> anyhow::Result<()> {
    let at = RecordsAt::Postgres(PostgresAddress {
        url: url.parse()?,
        max_connections: 2,
    });
    Records::open(&at).await?.close().await?;
    ask(url, &months(days));
    // as a restore does it: the trees of parts are made at the end
    ask(
        url,
        "DROP INDEX executions_code_parts; DROP INDEX executions_error_parts",
    );
    for (table, text) in statements(&POSTGRES, begin_ms(days)?, days, true) {
        let (from, step, count) = rows(table, days);
        let most = 500_000;
        for first in (0..count).step_by(most) {
            let last = (first + most as u64).min(count) - 1;
            ask(
                url,
                &format!(
                    "SET synchronous_commit = off; {text} FROM (SELECT {from} + i * {step} AS n FROM generate_series({first}::bigint, {last}) i) numbers"
                ),
            );
        }
    }
    ask(
        url,
        "INSERT INTO classrooms VALUES ('default', 'default', 0)",
    );
    for column in ["code", "error"] {
        ask(
            url,
            &format!(
                "SET maintenance_work_mem = '1GB'; SET max_parallel_maintenance_workers = 0; \
             CREATE INDEX executions_{column}_parts ON executions USING gin ({column} gin_trgm_ops)"
            ),
        );
    }
    ask(url, "VACUUM ANALYZE");
    Ok(())
}

/// Partitions for the days before those that the program makes.
fn months(days: u64) -> String {
    format!(
        "DO $$ DECLARE month timestamptz; name text; BEGIN \
         FOR month IN SELECT generate_series(date_trunc('month', now() - interval '{days} days', 'UTC'), now(), interval '1 month') LOOP \
           FOREACH name IN ARRAY ARRAY['events', 'executions'] LOOP \
             EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', \
               name || to_char(month AT TIME ZONE 'UTC', '_YYYY_MM'), name, month, month + interval '1 month'); \
           END LOOP; END LOOP; END $$"
    )
}

pub fn mib_of(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len() >> 20)
}
