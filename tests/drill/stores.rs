//! Real servers of InfluxDB and Redis that go away, and all three stores at once, under 500 events/s.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::course::{Course, Run, ten_times};
use crate::crowd::{consoles, count, count_in, lasts};
use crate::it::harness::between::{Between, Turn};
use crate::it::harness::influxdb::{Database, Influxd};
use crate::it::harness::postgres::Postgres;
use crate::it::harness::proxy::{Mode, Proxy};
use crate::it::harness::redis::Redis;
use crate::it::harness::{Console, PATIENCE, ROOM, Server, ensure, eventually};
use crate::report::{Drill, Figure, Outcome};

/// What the nodes sign with.
const SIGNING: &str = "a-signing-secret-for-the-drills-0123456789";
/// Consoles at the node that takes no events.
const ELSEWHERE: usize = 10;
/// Lines with this are refused: those of one position of a hundred.
const REFUSED: &str = "77i,";

pub fn drills() -> Vec<Drill> {
    let seconds = lasts(60).as_secs();
    vec![
        Drill::new(
            "influx-frozen",
            format!(
                "InfluxDB is stopped (SIGSTOP) for {seconds} s, at 500 events/s to 50 consoles"
            ),
            "ingest and consoles do not notice, the series are named within 5 s, they catch up 10 × faster than real time, every event is one point",
            || series(false),
        ),
        Drill::new(
            "influx-refusing",
            format!(
                "nobody listens where InfluxDB was for {seconds} s, at 500 events/s to 50 consoles"
            ),
            "the same",
            || series(true),
        ),
        Drill::new(
            "influx-partial",
            format!("InfluxDB refuses one of a hundred points for {seconds} s, at 500 events/s"),
            "what is refused is a dead letter, every other event is one point, nobody else notices",
            partial,
        ),
        Drill::new(
            "redis-killed",
            format!(
                "Redis is killed with -9 and started after {seconds} s, at 500 events/s to 50 consoles and 10 at another node"
            ),
            "ingest and consoles do not notice, the bus is named within 5 s, the other node shows the same again",
            bus,
        ),
        Drill::new(
            "all-hung",
            format!(
                "PostgreSQL, InfluxDB and Redis are stopped (SIGSTOP) at once for {seconds} s, at 500 events/s to 50 consoles"
            ),
            "ingest and consoles do not notice, all three are named within 5 s, they catch up, everything is in each of them once",
            all,
        ),
    ]
}

async fn series(refuses: bool) -> Outcome {
    let mut influxd = Influxd::start();
    let database = influxd.database();
    let address = ([127, 0, 0, 1], database.port).into();
    let proxy = Proxy::before(address).await;
    let url = proxy.instead_of(address, &database.url());
    let server = Server::with(&[("MIMAMORI_SERIES__URL", &url)]).await;
    let mut course = Course::begin(server, &["series"], lasts(60)).await;

    course
        .disturb(async {
            if refuses {
                proxy.set(Mode::Refuse).await;
            } else {
                influxd.say("freeze");
            }
            sleep(lasts(60)).await;
            influxd.say("thaw");
            proxy.set(Mode::Pass).await;
        })
        .await;
    let caught_up = course.catches_up("series").await;
    let Run {
        server,
        sent,
        figures,
    } = course.end(&["records", "series"]).await;

    let counted = count(server.dir(), &sent, caught_up.1.took).await;
    let points = points(&database, counted.stored, 0);
    Outcome::counted(counted)
        .with_all(figures)
        .with(ten_times(&caught_up))
        .with(points)
}

async fn partial() -> Outcome {
    let influxd = Influxd::start();
    let database = influxd.database();
    let is_refusing = Arc::new(AtomicBool::new(false));
    let refuses = Arc::clone(&is_refusing);
    let between = Between::before(database.port, move |asked| {
        let are_points = asked.body.starts_with("mimamori_events");
        if refuses.load(Ordering::Relaxed) && are_points && asked.body.contains(REFUSED) {
            Turn::Without(REFUSED)
        } else {
            Turn::Pass
        }
    })
    .await;
    let url = format!("http://{}/?db={}", between.address, database.name);
    let server = Server::with(&[("MIMAMORI_SERIES__URL", &url)]).await;
    let mut course = Course::begin(server, &[], lasts(60)).await;

    course
        .disturb(async {
            is_refusing.store(true, Ordering::Relaxed);
            sleep(lasts(60)).await;
            is_refusing.store(false, Ordering::Relaxed);
        })
        .await;
    let Run {
        server,
        sent,
        figures,
    } = course.end(&["records", "series"]).await;

    let letters = server.api().all("/dead-letters", 1000).await;
    let refused: HashSet<_> = letters
        .iter()
        .map(|letter| letter["position"].as_u64())
        .collect();
    assert_eq!(refused.len(), letters.len(), "a dead letter is doubled");
    assert!(!letters.is_empty(), "nothing was refused");
    let counted = count(server.dir(), &sent, Duration::ZERO).await;
    let points = points(&database, counted.stored, letters.len());
    Outcome::counted(counted).with_all(figures).with(points)
}

async fn bus() -> Outcome {
    let mut redis = Redis::start();
    let url = redis.database();
    let shared = [
        ("MIMAMORI_BUS__URL", url.as_str()),
        ("MIMAMORI_AUTH__SIGNING_SECRET", SIGNING),
    ];
    let server = Server::with(&shared).await;
    let (node, elsewhere) = node(&shared).await;
    let mut course = Course::begin(server, &["bus"], lasts(60)).await;

    course
        .disturb(async {
            redis.say("kill");
            sleep(lasts(60)).await;
            redis.say("start");
        })
        .await;
    let repaired = repaired(&course.server, &node).await;
    let Run {
        server,
        sent,
        figures,
    } = course.end(&["records"]).await;

    let counted = count(server.dir(), &sent, Duration::ZERO).await;
    let same = shows_all(&node, counted.stored).await;
    drop(elsewhere);
    Outcome::counted(counted)
        .with_all(figures)
        .with_all([repaired, same])
}

async fn all() -> Outcome {
    let (mut postgres, mut influxd, mut redis) =
        (Postgres::start(), Influxd::start(), Redis::start());
    let (records, series, bus) = (postgres.database(), influxd.database(), redis.database());
    let points_at = series.url();
    let shared = [
        ("MIMAMORI_BUS__URL", bus.as_str()),
        ("MIMAMORI_CACHE__URL", bus.as_str()),
        ("MIMAMORI_AUTH__SIGNING_SECRET", SIGNING),
        ("MIMAMORI_RECORDS__URL", records.as_str()),
        ("MIMAMORI_SERIES__URL", points_at.as_str()),
    ];
    let server = Server::with(&shared).await;
    let (node, elsewhere) = node(&shared).await;
    let mut course = Course::begin(server, &["records", "series", "bus"], lasts(60)).await;

    course
        .disturb(async {
            postgres.say("freeze");
            influxd.say("freeze");
            redis.say("freeze");
            sleep(lasts(60)).await;
            redis.say("thaw");
            influxd.say("thaw");
            postgres.say("thaw");
        })
        .await;
    let caught_up = course.catches_up("records").await;
    // what was behind is written beside the records, on the same machine
    let (behind, series_too) = course.catches_up("series").await;
    println!(
        "  the series behind them: {behind}, {:.1?}",
        series_too.took
    );
    let repaired = repaired(&course.server, &node).await;
    let run = course.end(&["records", "series"]).await;

    let counted = count_in(&records, &run.sent, caught_up.1.took);
    let same = shows_all(&node, counted.stored).await;
    let points = points(&series, counted.stored, 0);
    drop(elsewhere);
    Outcome::counted(counted)
        .with_all(run.figures)
        .with(ten_times(&caught_up))
        .with_all([repaired, same, points])
}

/// A node that serves only consoles, and some of them.
async fn node(shared: &[(&str, &str)]) -> (Server, JoinSet<()>) {
    let role = [("MIMAMORI_SERVE__ROLE", "consoles")];
    let node = Server::with(&[&role, shared].concat()).await;
    let elsewhere = consoles(&node, ELSEWHERE, Instant::now(), &().into()).await;
    (node, elsewhere)
}

/// Until both nodes are whole.
async fn repaired(server: &Server, node: &Server) -> Figure {
    let began = Instant::now();
    for node in [server, node] {
        eventually("it is whole again", PATIENCE, async || {
            let ready = node.stranger().get("/readyz").await;
            ensure(ready.text.contains(r#""degraded":[]"#), || ready.text)
        })
        .await;
    }
    let took = began.elapsed();
    Figure {
        what: "both nodes whole".to_owned(),
        value: format!("after {took:.1?}"),
        target: format!("≤ {} s", PATIENCE.as_secs()),
        is_met: took <= PATIENCE,
    }
}

/// A new console at the other node knows every event.
async fn shows_all(node: &Server, events: usize) -> Figure {
    let mut console = Console::watching(node, ROOM).await;
    let runs = |console: &Console| console.rooms[ROOM].sum("executions") as usize;
    let has_all = |console: &Console| runs(console) == events;
    let deadline = Instant::now() + PATIENCE;
    while !has_all(&console) && Instant::now() < deadline {
        console.listen(Duration::from_millis(100)).await;
    }
    Figure {
        what: "the other node shows".to_owned(),
        value: format!("{} executions", runs(&console)),
        target: format!("{events}"),
        is_met: has_all(&console),
    }
}

/// Every event but those that were refused is one point, as InfluxDB's own client counts them.
fn points(database: &Database, events: usize, refused: usize) -> Figure {
    const OF_CLIENTS: &str = "FROM mimamori_events WHERE kind != 'help_opened'";
    let all = database.count(&format!("SELECT COUNT(position) {OF_CLIENTS}"));
    let different = database.count(&format!("SELECT COUNT(DISTINCT(position)) {OF_CLIENTS}"));
    let expected = (events - refused) as u64;
    Figure {
        what: "points".to_owned(),
        value: format!("{all}, {different} different, {refused} dead letters"),
        target: format!("{expected} each"),
        is_met: all == expected && different == expected,
    }
}
