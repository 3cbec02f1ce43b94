//! The reading calls of the contract over a month of a busy class, or as many
//! days as `MIMAMORI_BENCH_DAYS` says: a file of `SQLite` and PostgreSQL are filled
//! directly, and the real program is asked. `MIMAMORI_BENCH_CALLS` narrows it to the
//! calls whose name holds this text. The charts of a month are asked for once more where they
//! are in an InfluxDB, which is filled by the program.

mod fill;

use std::time::Duration;

use mimamori::clock::SystemClock;
use mimamori_actors::domain::Timestamp;
use mimamori_actors::ports::Clock as _;
use tokio::time::{Instant, sleep};

use crate::figures::{Latencies, verdict};
use crate::influxdb::{Database, Influxd};
use crate::postgres::{Postgres, ask};
use crate::server::{Server, TOKEN};
use fill::{EXECUTIONS_A_DAY, STUDENTS};

/// 600,000 executions.
const USUAL_DAYS: u64 = 30;
/// So often each call is made; three before that are not counted.
const TIMES: u64 = 200;
const WARM: u64 = 3;
/// The series are counted again from the records within this time.
const COUNTED_WITHIN: Duration = Duration::from_secs(1_800);

/// What a call may take: over a month, and over more.
struct Target {
    month_ms: f64,
    more_ms: f64,
}

const LIST: Target = Target {
    month_ms: 50.0,
    more_ms: 300.0,
};
const DASHBOARD: Target = Target {
    month_ms: 50.0,
    more_ms: 50.0,
};

/// A call, and how it is varied.
struct Call {
    name: &'static str,
    target: Target,
    path: fn(u64, &Range) -> String,
}

/// What is asked for.
struct Range {
    days: u64,
    /// Everything that there is; each time a little later, so that no answer is one that was kept.
    query: String,
    /// The last day.
    day: String,
    last_week: u64,
}

impl Range {
    fn of(days: u64, n: u64) -> anyhow::Result<Self> {
        let ahead = Duration::from_millis(n);
        let everything: Timestamp = "2020-01-01T00:00:00Z".parse()?;
        let yesterday = SystemClock.now().minus(Duration::from_secs(24 * 60 * 60));
        let from = |from: Timestamp| format!("from={}&to=2100-01-01T00:00:00Z", from.plus(ahead));
        Ok(Self {
            days,
            query: from(everything),
            day: from(yesterday),
            last_week: days / 7,
        })
    }
}

fn student(n: u64) -> String {
    format!("stu_{}", n * 37 % STUDENTS)
}

const CALLS: [Call; 24] = [
    call("overview", DASHBOARD, |_, it| {
        format!("/overview?{}", it.query)
    }),
    call("overview of a day", DASHBOARD, |_, it| {
        format!("/overview?{}", it.day)
    }),
    call("a student", LIST, |n, it| {
        format!("/students/{}?{}", student(n), it.query)
    }),
    call("a student, a day", LIST, |n, it| {
        format!("/students/{}?{}", student(n), it.day)
    }),
    call("executions of a student", LIST, |n, it| {
        format!("/students/{}/executions?{}", student(n), it.query)
    }),
    call("executions", LIST, |_, it| {
        format!("/executions?{}", it.query)
    }),
    call("executions, 1,000 a page", LIST, |_, it| {
        format!("/executions?limit=1000&{}", it.day)
    }),
    call("… that failed", LIST, |_, it| {
        format!("/executions?status=error&{}", it.query)
    }),
    call("… that were interrupted (1 of 2,000)", LIST, |_, it| {
        format!("/executions?status=interrupted&{}", it.query)
    }),
    call("… of a notebook", LIST, |n, it| {
        format!(
            "/executions?notebook=week{}.ipynb&{}",
            n % (it.last_week + 1),
            it.query
        )
    }),
    call("… of a cell", LIST, |n, it| {
        format!(
            "/executions?cell=w{}c{}&{}",
            n % (it.last_week + 1),
            n % 70,
            it.query
        )
    }),
    call("cells of a notebook", LIST, |n, it| {
        format!(
            "/cells?notebook=week{}.ipynb&{}",
            n % (it.last_week + 1),
            it.query
        )
    }),
    call("cells of a notebook, a day", LIST, |_, it| {
        format!("/cells?notebook=week{}.ipynb&{}", it.last_week, it.day)
    }),
    call("cells of all notebooks, a day", LIST, |_, it| {
        format!("/cells?{}", it.day)
    }),
    call("cells of all notebooks", LIST, |_, it| {
        format!("/cells?{}", it.query)
    }),
    call("search, common", LIST, |_, it| {
        format!("/executions?query=compute(&{}", it.query)
    }),
    call("search, 1 of 100", LIST, |n, it| {
        format!("/executions?query=range({})&{}", n % 97, it.query)
    }),
    call("search, 1 of 3,000", LIST, |n, it| {
        format!("/executions?query=step_{}_end&{}", n * 13 % 2999, it.query)
    }),
    call("search, one", LIST, |n, it| {
        format!(
            "/executions?query=run{}_of&{}",
            1 + n * 2_999 % (it.days * EXECUTIONS_A_DAY),
            it.query
        )
    }),
    call("search, none", LIST, |n, it| {
        format!("/executions?query=compute_nothing_{n}&{}", it.query)
    }),
    call("search in errors of a student", LIST, |n, it| {
        format!(
            "/executions?query=nameerror&student={}&{}",
            student(n),
            it.query
        )
    }),
    call("help", LIST, |_, it| format!("/help?{}", it.query)),
    call("events", LIST, |n, it| {
        format!("/events?since={}", n * 97 % (it.days * EXECUTIONS_A_DAY))
    }),
    call("lessons", LIST, |_, it| format!("/lessons?{}", it.query)),
];

const fn call(name: &'static str, target: Target, path: fn(u64, &Range) -> String) -> Call {
    Call { name, target, path }
}

/// Every call on both databases.
pub async fn over_a_month() -> anyhow::Result<bool> {
    let days = std::env::var("MIMAMORI_BENCH_DAYS").ok();
    let days = days.map_or(Ok(USUAL_DAYS), |days| days.parse())?;
    let only = std::env::var("MIMAMORI_BENCH_STORE").unwrap_or_default();
    println!(
        "reading: {} executions of {days} days, 400 bytes of code each, {TIMES} calls of each kind",
        days * EXECUTIONS_A_DAY
    );
    let of = |store| only.is_empty() || only == store;
    let mut all_met = true;
    if of("sqlite") {
        all_met &= in_a_file(days, None).await?;
    }
    if of("influxdb") && days <= USUAL_DAYS {
        let influxd = Influxd::start();
        let charts = influxd.database();
        println!("  with charts in an InfluxDB:");
        all_met &= in_a_file(days, Some(&charts)).await?;
    }
    if of("postgres") {
        all_met &= on_a_server(days).await?;
    }
    Ok(all_met)
}

/// The first chart of everything is made of points; then its hours are counted behind it.
async fn hours_are_counted(charts: &Database, server: &Server, days: u64) -> anyhow::Result<()> {
    let path = format!("/overview?{}", Range::of(days, 0)?.query);
    let begun = Instant::now();
    let url = format!("http://{}/api/v1/classrooms/default{path}", server.address);
    let asked = reqwest::Client::new().get(&url).bearer_auth(TOKEN).send();
    asked.await?.error_for_status()?.bytes().await?;
    println!(
        "  the first chart of it, of points: {:.0?}",
        begun.elapsed()
    );
    // but those at both ends
    let hours = (days * 24).saturating_sub(3);
    while charts.count("SELECT COUNT(heard) FROM mimamori_hours") < hours {
        anyhow::ensure!(begun.elapsed() < COUNTED_WITHIN, "hours are not counted");
        sleep(Duration::from_millis(100)).await;
    }
    println!("  its hours were counted within {:.0?}", begun.elapsed());
    Ok(())
}

/// All calls, or those of charts if these are in an InfluxDB.
async fn in_a_file(days: u64, charts: Option<&Database>) -> anyhow::Result<bool> {
    let url = charts.map(Database::url);
    let settings: Vec<_> = url
        .iter()
        .map(|url| ("MIMAMORI_SERIES__URL", &**url))
        .collect();
    let server = Server::real_on(&settings, async |dir| fill::sqlite(dir, days).await).await?;
    println!(
        "  SQLite, {} MiB",
        fill::mib_of(&server.dir.join("records.sqlite"))
    );
    series_are_counted(&server).await?;
    let Some(charts) = charts else {
        return measure(&server, days, "").await;
    };
    hours_are_counted(charts, &server, days).await?;
    measure(&server, days, "overview").await
}

async fn on_a_server(days: u64) -> anyhow::Result<bool> {
    let postgres = Postgres::start();
    let url = postgres.database();
    fill::postgres(&url, days).await?;
    println!(
        "  PostgreSQL, {}",
        ask(
            &url,
            "SELECT pg_size_pretty(pg_database_size(current_database()))"
        )
    );
    let settings = [("MIMAMORI_RECORDS__URL", &*url)];
    let server = Server::real_on(&settings, async |_| Ok(())).await?;
    let before = read_whole(&url);
    series_are_counted(&server).await?;
    let is_met = measure(&server, days, "").await?;
    let read_whole = read_whole(&url) - before;
    Ok(is_met
        & verdict(
            "partitions read from end to end by all these calls",
            read_whole as f64,
            read_whole == 0,
            "0: indexes are used",
        ))
}

/// How often a partition that is not small was read without an index.
fn read_whole(url: &str) -> u64 {
    ask(url, "SELECT pg_stat_force_next_flush()");
    let sql = "SELECT COALESCE(SUM(seq_scan), 0) FROM pg_stat_user_tables \
               WHERE n_live_tup > 10000 AND relname ~ '^(events|executions)_[0-9d]'";
    ask(url, sql).parse().unwrap_or(0)
}

/// Those calls that have this text in their names.
async fn measure(server: &Server, days: u64, of: &str) -> anyhow::Result<bool> {
    let client = reqwest::Client::new();
    let mut all_met = true;
    let only = std::env::var("MIMAMORI_BENCH_CALLS").unwrap_or_default();
    let wanted = |call: &Call| call.name.contains(&only) && call.name.contains(of);
    for call in CALLS.into_iter().filter(wanted) {
        let mut latencies = Latencies::default();
        let mut last = serde_json::Value::Null;
        for n in 0..WARM + TIMES {
            let path = (call.path)(n, &Range::of(days, n)?);
            let url = format!("http://{}/api/v1/classrooms/default{path}", server.address);
            let begun = Instant::now();
            let answer = client.get(&url).bearer_auth(TOKEN).send().await?;
            let status = answer.status();
            let bytes = answer.bytes().await?;
            anyhow::ensure!(
                status == 200,
                "{path}: {status} {}",
                String::from_utf8_lossy(&bytes)
            );
            if n >= WARM {
                latencies.add(begun.elapsed());
            }
            last = serde_json::from_slice(&bytes)?;
        }
        // a call that finds nothing says little
        let items = last["items"].as_array().map_or(0, Vec::len);
        let p99 = latencies.per_mille(990);
        let target = if days <= USUAL_DAYS {
            call.target.month_ms
        } else {
            call.target.more_ms
        };
        let what = format!(
            "{:<38} {items:>4} items, p50 {:>7.2} ms, p99 in ms",
            call.name,
            latencies.per_mille(500)
        );
        all_met &= verdict(&what, p99, p99 < target, &format!("< {target}"));
    }
    Ok(all_met)
}

async fn series_are_counted(server: &Server) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let lags = server.lags().await?;
        let lag = lags.iter().find(|(name, _)| name == "series");
        match lag {
            Some((_, 0)) => break,
            // a store beside us is opened a moment later
            lag => anyhow::ensure!(begun.elapsed() < COUNTED_WITHIN, "still behind: {lag:?}"),
        }
        sleep(Duration::from_millis(500)).await;
    }
    println!(
        "  the series were counted from it within {:.0?}",
        begun.elapsed()
    );
    Ok(())
}
