//! The records in a real PostgreSQL server, counted there with its own client.

mod full_disk;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::postgres::{PASSWORD, Postgres, ask, database};
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::{
    ALWAYS, Api, Console, Ledger, PATIENCE, Pace, ROOM, Random, Run, Senders, Server, ensure,
    eventually, help, program, run,
};
use crate::recorded::requests;

/// For an answer and its way to a console: far less than the 25 s for which the records
/// are waited for, far more than it takes on a busy machine.
const UNNOTICED: Duration = Duration::from_secs(10);
/// Health names the culprit within 5 s, on a machine that has nothing else to do.
pub const NAMED_WITHIN: Duration = Duration::from_secs(10);

/// 500 events/s.
pub const CLASS: Pace = Pace {
    connections: 2,
    batch: 10,
    every: Duration::from_millis(40),
};

async fn server_on(url: &str) -> Server {
    Server::with(&[("MIMAMORI_RECORDS__URL", url)]).await
}

/// How many events the database holds, and how many of them are different.
fn counted(url: &str) -> String {
    ask(
        url,
        "SELECT COUNT(*) || ' ' || COUNT(DISTINCT event_id) FROM events",
    )
}

/// Everything that is known is in the database, once.
pub async fn all_there_once(url: &str, events: usize) {
    eventually("every event is in the database", PATIENCE, async || {
        let counted = counted(url);
        ensure(counted == format!("{events} {events}"), || {
            format!("{counted}, expected {events}")
        })
    })
    .await;
    let executions = ask(
        url,
        "SELECT COUNT(*) || ' ' || COUNT(DISTINCT position) FROM executions",
    );
    assert_eq!(executions, format!("{events} {events}"));
}

#[tokio::test]
async fn recorded_requests_are_read_from_the_database_and_counted_in_it() {
    let url = database();
    let server = server_on(&url).await;

    for recorded in requests() {
        recorded.post(&server).await;
    }

    let api = server.api();
    eventually("all 36 events and 30 cells", PATIENCE, async || {
        let events = api.all("/events?since=0", 7).await.len();
        let cells = api.all(&format!("/executions?{ALWAYS}"), 7).await.len();
        ensure((events, cells) == (36, 30), || format!("{events} {cells}"))
    })
    .await;
    for (status, count) in [("ok", 17), ("error", 5), ("skipped", 4), ("not_run", 4)] {
        let path = format!("/executions?{ALWAYS}&status={status}");
        assert_eq!(api.all(&path, 1000).await.len(), count, "{status}");
        let told = ask(
            &url,
            &format!("SELECT COUNT(*) FROM executions WHERE status = '{status}'"),
        );
        assert_eq!(told, count.to_string(), "{status}");
    }
    let found = api
        .all(&format!("/executions?{ALWAYS}&query=zerodivision"), 1000)
        .await;
    assert_eq!(found.len(), 5);
    eventually("the overview", PATIENCE, async || {
        let overview = api.room(&format!("/overview?{ALWAYS}")).await.good();
        let totals = (
            &overview["totals"]["executions"],
            &overview["totals"]["errors"],
        );
        ensure(totals == (&json!(22), &json!(5)), || format!("{totals:?}"))
    })
    .await;
    assert_eq!(counted(&url), "36 36");
    assert!(!server.dir().join("records.sqlite").exists());
    assert!(!server.log().contains(PASSWORD), "{}", server.log());
}

/// Somebody works and somebody watches, and neither notices anything; `done` is asked after each run.
pub struct Watch {
    console: Console,
    api: Api,
    pub sent: u64,
    slowest: Duration,
}

impl Watch {
    pub async fn on(server: &Server) -> Self {
        Self {
            console: Console::watching(server, ROOM).await,
            api: server.api(),
            sent: 0,
            slowest: Duration::ZERO,
        }
    }

    /// One run, from the notebook to the console.
    async fn step(&mut self) {
        let began = Instant::now();
        self.sent += 1;
        let id = format!("watched-{}", self.sent);
        self.api
            .accepted(&[run(&id, "watched", "c", Run::Ok)])
            .await;
        let sent = self.sent;
        self.console
            .until(UNNOTICED, "the run", |console| {
                let student = console.rooms[ROOM].named("watched");
                student.is_some_and(|student| student["executions"] == sent)
            })
            .await;
        self.slowest = self.slowest.max(began.elapsed());
        assert!(began.elapsed() < UNNOTICED, "{:?}", began.elapsed());
    }

    /// Until `/readyz` names these parts and no others.
    pub async fn until_degraded(&mut self, parts: &[&str], within: Duration) -> Duration {
        let expected = json!(parts);
        let began = Instant::now();
        loop {
            self.step().await;
            let ready = self.api.get("/readyz").await;
            assert_eq!(ready.status, 200, "{}", ready.text);
            if ready.json["degraded"] == expected {
                return began.elapsed();
            }
            assert!(began.elapsed() < within, "{}", ready.text);
        }
    }

    pub async fn go_on_for(&mut self, so_long: Duration) {
        let until = Instant::now() + so_long;
        while Instant::now() < until {
            self.step().await;
        }
    }
}

/// One fault of the database and its end, under load.
async fn away_and_back(
    server: &Server,
    postgres: &mut Postgres,
    watch: &mut Watch,
    fault: [&str; 2],
) {
    let before = watch.slowest;
    postgres.say(fault[0]);
    let named = watch.until_degraded(&["records"], NAMED_WITHIN).await;
    watch.go_on_for(Duration::from_secs(2)).await;
    postgres.say(fault[1]);
    let healed = watch.until_degraded(&[], PATIENCE).await;
    println!(
        "  {}: named after {named:?}, healed {healed:?} after {}; slowest run to a console {:?}, before {before:?}",
        fault[0], fault[1], watch.slowest
    );
    let health = server.api().get("/api/v1/health/actors").await.good();
    assert!(!health.to_string().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_or_hangs_is_noticed_by_nobody_but_its_readers() {
    let mut postgres = Postgres::start();
    let url = postgres.database();
    let server = server_on(&url).await;
    let senders = Senders::begin(&server, "class", CLASS);
    let mut watch = Watch::on(&server).await;
    watch.go_on_for(Duration::from_millis(500)).await;

    for fault in [["stop", "start"], ["freeze", "thaw"]] {
        away_and_back(&server, &mut postgres, &mut watch, fault).await;
    }

    let Watch { sent, .. } = watch;
    let (server, ledger) = end_of(server, senders).await;
    let events = ledger.acknowledged.len() + usize::try_from(sent).unwrap();
    all_there_once(&url, events).await;
    assert!(!server.log().contains(PASSWORD));
}

/// A server of its own with a network that fails on demand before it; the address through that.
async fn behind_a_proxy(postgres: &Postgres) -> (Proxy, String, String) {
    let url = postgres.database();
    let proxy = Proxy::before(postgres.address()).await;
    let through = proxy.instead_of(postgres.address(), &url);
    (proxy, url, through)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_resets_hangs_refuses_or_is_slow_costs_nothing_but_time() {
    let postgres = Postgres::start();
    let (proxy, url, through) = behind_a_proxy(&postgres).await;
    let server = server_on(&through).await;
    let senders = Senders::begin(&server, "class", CLASS);
    let mut watch = Watch::on(&server).await;

    for _ in 0..10 {
        proxy.reset().await;
        watch.go_on_for(Duration::from_millis(150)).await;
    }
    for mode in [
        Mode::Refuse,
        Mode::Hang,
        Mode::Delay(Duration::from_secs(5)),
    ] {
        proxy.set(mode).await;
        let named = watch.until_degraded(&["records"], NAMED_WITHIN).await;
        watch.go_on_for(Duration::from_secs(1)).await;
        proxy.set(Mode::Pass).await;
        let healed = watch.until_degraded(&[], PATIENCE).await;
        println!("  {mode:?}: named after {named:?}, healed after {healed:?}");
    }

    let Watch { sent, .. } = watch;
    let (_server, ledger) = end_of(server, senders).await;
    let events = ledger.acknowledged.len() + usize::try_from(sent).unwrap();
    all_there_once(&url, events).await;
}

/// Kills the server, starts it again, and sends again what had no answer.
pub async fn end_of(mut server: Server, senders: Senders) -> (Server, Ledger) {
    server.kill9().await;
    let mut ledger = senders.until_it_is_gone().await;
    let server = server.start_again().await;
    ledger.send_again(&server.api()).await;
    ledger.check_events(&server.api(), PATIENCE, &[]).await;
    (server, ledger)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_202_is_in_the_database_exactly_once_after_kill_9() {
    let url = database();
    let mut random = Random::new("kill -9 beside PostgreSQL");
    let mut server = server_on(&url).await;
    let mut known = 0;

    for round in 1..=3 {
        let senders = Senders::begin(&server, &format!("r{round}"), Pace::BUSY);
        // the moment is the test's own: reading, writing, or between a commit and the next batch
        sleep(random.millis(300, 1200)).await;
        let (next, ledger) = end_of(server, senders).await;
        server = next;
        known += ledger.acknowledged.len();
        all_there_once(&url, known).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_server_ends_costs_nothing() {
    let url = database();
    let server = server_on(&url).await;
    let senders = Senders::begin(&server, "class", CLASS);

    for _ in 0..10 {
        sleep(Duration::from_millis(150)).await;
        ask(
            &url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }

    let (_server, ledger) = end_of(server, senders).await;
    all_there_once(&url, ledger.acknowledged.len()).await;
}

/// The fields of an event that a hostile name is put into.
const NAMED: [&str; 6] = [
    "userName",
    "teamName",
    "notebookPath",
    "cellId",
    "code",
    "errorMessage",
];

/// Names that have broken databases before, at most 1 KiB each.
fn hostile_names() -> Vec<String> {
    [
        "'; DROP TABLE events; --",
        "a\nb\tc\\d\"e`f",
        "before\0after",
        "\u{202e}\u{2066}右から左\u{2069}",
        "か\u{3099}.ipynb",
        "が.ipynb",
        "{1,2,NULL}",
        "$1::text[]",
    ]
    .map(str::to_owned)
    .into_iter()
    // unfolded for comparing it is eleven times as long: longer than an index of a tree takes
    .chain(["\u{fdfa}".repeat(340), "👩🏽‍🏫".repeat(60)])
    .collect()
}

#[tokio::test]
async fn hostile_names_are_stored_as_they_are_and_break_no_batch() {
    let url = database();
    let server = server_on(&url).await;
    let names = hostile_names();
    let events: Vec<_> = (0..)
        .zip(&names)
        .map(|(n, name)| {
            let mut event = run(&format!("e{n}"), &format!("s{n}"), "c", Run::Error);
            for field in NAMED {
                event[field] = json!(name);
            }
            event["metadata"] = json!({ name: name });
            event
        })
        .collect();

    server.api().accepted(&events).await;

    all_there_once(&url, names.len()).await;
    assert_eq!(ask(&url, "SELECT COUNT(*) FROM dead_letters"), "0");
    let back = server.api().all("/events?since=0", 1000).await;
    for (event, name) in back.iter().zip(&names) {
        let kept = name.replace('\0', "\u{fffd}");
        for field in NAMED {
            assert_eq!(event[field], kept, "{field}");
        }
    }
    let found = server
        .api()
        .all(
            &format!("/executions?{ALWAYS}&notebook=%E3%81%8C.ipynb"),
            1000,
        )
        .await;
    assert_eq!(found.len(), 2, "composed and decomposed are one notebook");
}

/// How many reading statements the database has answered so far.
fn statements(url: &str) -> u64 {
    let (server, name) = url.rsplit_once('/').unwrap();
    let sql = format!(
        "SELECT COALESCE(SUM(calls), 0)::bigint FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
         WHERE d.datname = '{name}' AND query LIKE 'SELECT%' \
         AND query NOT LIKE '%offsets%' AND query NOT LIKE '%editions%' AND query NOT LIKE '%pg\\_%' AND query NOT LIKE '%current\\_setting%'"
    );
    ask(&format!("{server}/postgres"), &sql).parse().unwrap()
}

/// What each reading call of the contract costs in statements.
async fn cost_of_each(api: &Api, url: &str, student: &str) -> BTreeMap<String, u64> {
    let room = format!("/api/v1/classrooms/{ROOM}");
    let paths = [
        String::new(),
        "/overview".to_owned(),
        format!("/students/{student}"),
        format!("/students/{student}/executions"),
        "/executions?query=f(&status=ok".to_owned(),
        "/cells".to_owned(),
        "/cells?notebook=%E6%8E%88%E6%A5%AD/nb1.ipynb".to_owned(),
        "/help".to_owned(),
        "/events?since=0".to_owned(),
        "/lessons".to_owned(),
        "/rejected".to_owned(),
        "/dead-letters".to_owned(),
    ];
    let mut costs = BTreeMap::new();
    for path in paths {
        let before = statements(url);
        let whole = if path.is_empty() {
            "/api/v1/classrooms".to_owned()
        } else {
            format!("{room}{path}")
        };
        api.get(&whole).await.good();
        costs.insert(path, statements(url) - before);
    }
    costs
}

#[tokio::test]
async fn a_reading_call_asks_as_often_of_200_students_as_of_one() {
    let url = database();
    let (server, _) = url.rsplit_once('/').unwrap();
    ask(
        &format!("{server}/postgres"),
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
    );
    let server = server_on(&url).await;
    let api = server.api();
    let class = |name: &str| {
        [
            run(&format!("r-{name}"), name, "c", Run::Ok),
            help(&format!("h-{name}"), name, true),
        ]
    };
    api.accepted(&class("s0")).await;
    let seen = async |students: usize| {
        eventually("they are in the records", PATIENCE, async || {
            let help = api.room("/help?limit=1000").await.items();
            ensure(help.len() == students, || format!("{}", help.len()))?;
            Ok::<_, String>(help)
        })
        .await
    };
    let student = seen(1).await[0]["student"].as_str().unwrap().to_owned();
    let of_one = cost_of_each(&api, &url, &student).await;

    let events: Vec<_> = (1..200).flat_map(|n| class(&format!("s{n}"))).collect();
    api.accepted(&events).await;
    seen(200).await;

    let of_many = cost_of_each(&api, &url, &student).await;
    assert_eq!(of_many, of_one);
    assert!(
        of_one["/overview"] >= 1 && of_one["/events?since=0"] == 1,
        "{of_one:?}"
    );
}

async fn command(dir: &Path, arguments: &[&str], url: &str) -> Output {
    let running = program(dir)
        .args(arguments)
        .env("MIMAMORI_RECORDS__URL", url)
        .stdin(Stdio::null())
        .output();
    timeout(PATIENCE, running).await.unwrap().unwrap()
}

#[tokio::test]
async fn migrate_makes_the_tables_and_tells_in_one_line_what_is_in_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let url = database();

    let made = command(dir.path(), &["migrate"], &url).await;
    let refused = command(dir.path(), &["migrate"], &url.replace(PASSWORD, "hidden")).await;
    let shown = command(dir.path(), &["check-config"], &url).await;

    assert!(made.status.success(), "{made:?}");
    assert_eq!(ask(&url, "SELECT COUNT(*) FROM events"), "0");
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    let last = told.trim().lines().last().unwrap();
    assert!(last.contains("password authentication failed"), "{told}");
    for output in [told, format!("{made:?}{shown:?}")] {
        assert!(
            !output.contains("hidden") && !output.contains(PASSWORD),
            "{output}"
        );
    }
}
