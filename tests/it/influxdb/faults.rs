//! Faults of InfluxDB, short forms.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{all_there_once, events, server_on};
use crate::harness::between::{Asked, Between, Turn};
use crate::harness::influxdb::{Database, Influxd, database};
use crate::harness::{PATIENCE, Pace, Run, Senders, Server, ensure, eventually, run};
use crate::postgres_away::start_that_ends;

/// Health names the culprit within 5 s, on a machine that has nothing else to do.
const NAMED_WITHIN: Duration = Duration::from_secs(10);
/// For an answer of ingest: far less than the time for which the series are waited for.
const UNNOTICED: Duration = Duration::from_secs(5);

/// 500 events/s.
const CLASS: Pace = Pace {
    connections: 2,
    batch: 10,
    every: Duration::from_millis(40),
};

/// Until `/readyz` names the series, or no longer does; how long that took, and the
/// slowest answer to an event meanwhile.
async fn until_degraded(server: &Server, is_degraded: bool, within: Duration) -> Duration {
    let expected = if is_degraded {
        json!(["series"])
    } else {
        json!([])
    };
    let began = Instant::now();
    eventually("readiness", within, async || {
        let ready = server.api().get("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.text);
        ensure(ready.json["degraded"] == expected, || ready.text)
    })
    .await;
    began.elapsed()
}

/// Someone else than the class, whose every event must be answered at once.
async fn unnoticed(server: &Server, name: &str, so_long: Duration) -> u64 {
    let until = Instant::now() + so_long;
    let mut sent = 0;
    while Instant::now() < until {
        let began = Instant::now();
        let id = format!("{name}-{sent}");
        server
            .api()
            .accepted(&[run(&id, "watched", "c", Run::Ok)])
            .await;
        assert!(began.elapsed() < UNNOTICED, "{:?}", began.elapsed());
        sent += 1;
        sleep(Duration::from_millis(20)).await;
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_hangs_or_is_killed_costs_nothing() {
    let mut influxd = Influxd::start();
    let database = influxd.database();
    let server = server_on(&database.url()).await;
    let senders = Senders::begin(&server, "class", CLASS);
    let mut sent = 0;

    for (fault, end) in [("freeze", "thaw"), ("stop", "start")] {
        influxd.say(fault);
        let named = until_degraded(&server, true, NAMED_WITHIN).await;
        let tree = server.api().actor("series").await.unwrap();
        assert!(tree["lastError"].is_string(), "{tree}");
        let overview = server.api().room("/overview").await;
        overview.assert_problem(503);
        sent += unnoticed(&server, fault, Duration::from_secs(2)).await;
        influxd.say(end);
        let healed = until_degraded(&server, false, PATIENCE).await;
        println!("  {fault}: named after {named:?}, healed {healed:?} after {end}");
    }

    let mut server = server;
    server.kill9().await;
    let mut ledger = senders.until_it_is_gone().await;
    let server = server.start_again().await;
    ledger.send_again(&server.api()).await;
    all_there_once(&database, ledger.acknowledged.len() as u64 + sent).await;
}

#[tokio::test]
async fn a_start_without_its_server_is_a_start_and_catches_up() {
    let mut influxd = Influxd::start();
    let database = influxd.database();
    influxd.say("stop");

    let began = Instant::now();
    let server = server_on(&database.url()).await;
    println!("  ready after {:?}", began.elapsed());
    let api = server.api();
    api.accepted(&[run("e1", "s1", "c", Run::Ok)]).await;
    until_degraded(&server, true, NAMED_WITHIN).await;
    api.room("/overview").await.assert_problem(503);
    influxd.say("start");

    until_degraded(&server, false, PATIENCE).await;
    all_there_once(&database, 1).await;
    // the records are another store, and on a busy disk not always the first to have it
    eventually("the overview has it", PATIENCE, async || {
        let totals = api.room("/overview").await.good()["totals"].take();
        ensure(totals["executions"] == 1, || totals.to_string())
    })
    .await;
    // and one that takes connections and says nothing holds no start up either
    influxd.say("freeze");
    let began = Instant::now();
    let server = server.start_again().await;
    println!("  ready after {:?}", began.elapsed());
    server
        .api()
        .accepted(&[run("e2", "s1", "c", Run::Ok)])
        .await;
    influxd.say("thaw");
    all_there_once(&database, 2).await;
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_filled_again() {
    let mut influxd = Influxd::start();
    let database = influxd.database();
    let server = server_on(&database.url()).await;
    let api = server.api();
    let send = async |n: u64| {
        let batch: Vec<_> = (0..10)
            .map(|k| run(&format!("{n}-{k}"), "s", "c", Run::Ok))
            .collect();
        api.accepted(&batch).await;
    };
    send(1).await;
    all_there_once(&database, 10).await;

    influxd.say("forget");
    send(2).await;
    all_there_once(&database, 20).await;
    drop(api);
    let server = {
        influxd.say("forget");
        server.start_again().await
    };

    all_there_once(&database, 20).await;
    assert!(server.log().contains("the series do not know this journal"));
}

#[tokio::test]
async fn a_server_that_turns_out_to_be_beyond_the_journal_is_told_of_and_takes_nothing() {
    let mut influxd = Influxd::start();
    let database = influxd.database();
    let mut server = server_on(&database.url()).await;
    let send = async |server: &Server, numbers: std::ops::Range<u64>| {
        let batch: Vec<_> = numbers
            .map(|n| run(&format!("e{n}"), "s", "c", Run::Ok))
            .collect();
        server.api().accepted(&batch).await;
    };
    send(&server, 0..10).await;
    all_there_once(&database, 10).await;
    server.kill9().await;
    // as if the journal were of yesterday
    let offsets = "SELECT journal, position FROM mimamori_offsets";
    let row = database.ask(offsets).remove(0);
    let (journal, known) = match row.split(',').collect::<Vec<_>>()[..] {
        [.., journal, position] => (journal, position.parse::<u64>().unwrap() + 40),
        _ => panic!("{row}"),
    };
    database.ask(&format!(
        "INSERT mimamori_offsets,journal={journal} position={known}i 7258118400000000000"
    ));
    influxd.say("stop");
    server = server.start_again().await;
    // more than it is beyond, and another start: nothing is seen by the journal's end any more
    send(&server, 10..90).await;
    server.kill9().await;
    server = server.start_again().await;
    send(&server, 90..100).await;

    influxd.say("start");

    let said = format!("the series are at position {known} of a journal that ends at");
    eventually("the tree tells it", PATIENCE, async || {
        let tree = server.api().actor("series").await.unwrap();
        ensure(tree["lastError"].to_string().contains(&said), || {
            tree.to_string()
        })
    })
    .await;
    assert_eq!(events(&database), 10);
    until_degraded(&server, true, NAMED_WITHIN).await;
    server.kill9().await;
    let told = start_that_ends(server.dir(), ("MIMAMORI_SERIES__URL", &database.url())).await;
    assert!(told.contains(&said), "{told}");
}

/// Springs once, at the first request that writes into the table.
#[derive(Clone)]
struct Trap {
    armed: Arc<Mutex<Option<(&'static str, Turn)>>>,
    sprung: watch::Sender<u32>,
}

impl Trap {
    fn new() -> Self {
        Self {
            armed: Arc::default(),
            sprung: watch::Sender::new(0),
        }
    }

    fn turn(&self, asked: &Asked) -> Turn {
        let mut armed = self.armed.lock().unwrap();
        match armed.take_if(|(table, _)| asked.body.starts_with(*table)) {
            Some((_, turn)) => {
                self.sprung.send_modify(|times| *times += 1);
                turn
            }
            None => Turn::Pass,
        }
    }

    fn arm(&self, table: &'static str, turn: Turn) -> watch::Receiver<u32> {
        *self.armed.lock().unwrap() = Some((table, turn));
        let mut sprung = self.sprung.subscribe();
        sprung.mark_unchanged();
        sprung
    }
}

async fn before(
    database: &Database,
    script: impl FnMut(&Asked) -> Turn + Send + 'static,
) -> (Between, String) {
    let between = Between::before(database.port, script).await;
    let url = format!("http://{}/?db={}", between.address, database.name);
    (between, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_anywhere_between_tags_points_and_offset_leaves_every_point_once() {
    let database = database();
    let trap = Trap::new();
    let springing = trap.clone();
    let (_between, url) = before(&database, move |asked| springing.turn(asked)).await;
    let mut server = server_on(&url).await;
    let mut known = 0;

    for table in ["mimamori_tag_values", "mimamori_events", "mimamori_offsets"] {
        for turn in [Turn::Hang, Turn::PassAndHang] {
            let mut sprung = trap.arm(table, turn.clone());
            let batch: Vec<_> = (0..20)
                .map(|n| {
                    let mut event = run(&format!("e{known}-{n}"), "s", "c", Run::Ok);
                    event["teamName"] = json!(format!("team {known}"));
                    event
                })
                .collect();
            server.api().accepted(&batch).await;
            tokio::time::timeout(PATIENCE, sprung.changed())
                .await
                .unwrap_or_else(|_| panic!("nothing was written into {table}"))
                .unwrap();
            server.kill9().await;
            server = server.start_again().await;
            known += 20;
            all_there_once(&database, known).await;
        }
    }

    let teams = database.ask("SHOW TAG VALUES FROM mimamori_tag_values WITH KEY = label");
    assert_eq!(teams.len(), 2, "{teams:?}");
    let chosen =
        database.count("SELECT COUNT(value) FROM mimamori_tag_values WHERE label = 'team'");
    assert_eq!(chosen, 6, "each team was chosen once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_partial_write_the_bad_points_are_dead_letters_and_the_good_ones_are_in() {
    let database = database();
    let asked = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&asked);
    let (_between, url) = before(&database, move |_| {
        *counting.lock().unwrap() += 1;
        Turn::Without("errors=1i")
    })
    .await;
    let server = server_on(&url).await;
    let bad = [7, 8, 150];
    let batch: Vec<_> = (0..200)
        .map(|n| {
            let how = if bad.contains(&n) {
                Run::Error
            } else {
                Run::Ok
            };
            run(&format!("e{n}"), "s", "c", how)
        })
        .collect();

    server.api().accepted(&batch).await;

    all_there_once(&database, 197).await;
    let letters = eventually("dead letters", PATIENCE, async || {
        let letters = server.api().room("/dead-letters").await.items();
        ensure(letters.len() == bad.len(), || format!("{letters:?}"))?;
        Ok::<_, String>(letters)
    })
    .await;
    for letter in letters {
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.contains("partial write"), "{letter}");
    }
    server
        .api()
        .accepted(&[run("after", "s", "c", Run::Ok)])
        .await;
    all_there_once(&database, 198).await;
    let asked = *asked.lock().unwrap();
    assert!(asked < 200, "{asked} requests");
    assert_eq!(events(&database), 198);
}
