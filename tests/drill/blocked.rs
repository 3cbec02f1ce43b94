//! The records' database is held by another process for a minute, twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::crowd::{self, Crowd, Load, Watch, consoles, lag, lasts, until_lag_is_below};
use crate::disk::fdatasync_loop;
use crate::figures::Latencies;
use crate::it::harness::{Api, Hold, PATIENCE, Server, ensure, eventually};
use crate::report::{Drill, Figure, Outcome};

pub const RATE: u64 = 500;
pub const LOAD: Load = Load {
    connections: 50,
    batch: 1,
    students: 200,
    rate: Some(RATE),
};
pub const CONSOLES: usize = 50;
/// Nothing is measured while the journal is caught up with.
const APART: usize = 0;
pub const UNDISTURBED: usize = 1;
const BLOCKED: usize = 2;
/// Kinds of rounds at the most.
const KINDS: usize = 8;

/// Latencies of alternating rounds.
#[derive(Default)]
pub struct Rounds {
    now: AtomicUsize,
    pub answers: [Mutex<Latencies>; KINDS],
    pub sights: [Mutex<Latencies>; KINDS],
}

impl Watch for Rounds {
    fn answered(&self, after: Duration) {
        self.answers[self.now.load(Ordering::Relaxed)]
            .lock()
            .unwrap()
            .add(after);
    }

    fn seen(&self, after: Duration) {
        self.sights[self.now.load(Ordering::Relaxed)]
            .lock()
            .unwrap()
            .add(after);
    }
}

impl Rounds {
    /// What is measured from now on, until it is something else.
    pub fn are(&self, what: usize) {
        self.now.store(what, Ordering::Relaxed);
    }

    /// Nothing is.
    pub fn rest(&self) {
        self.are(APART);
    }

    pub async fn measure(&self, what: usize, lasts: Duration) {
        self.are(what);
        sleep(lasts).await;
        self.rest();
    }
}

pub fn drill() -> Drill {
    Drill::new(
        "blocked",
        format!(
            "another process holds the records' database (BEGIN EXCLUSIVE) for {} s, twice, at 500 events/s to 50 consoles",
            lasts(60).as_secs()
        ),
        "ingest and consoles do not notice, /readyz is 200 and names the records, they catch up 10 × faster than real time",
        run,
    )
}

async fn run() -> Outcome {
    let blocked_for = lasts(60);
    let server = Server::start().await;
    let mut f = fdatasync_loop(server.dir(), Duration::from_secs(3)).unwrap();
    let rounds = Arc::new(Rounds::default());
    let epoch = Instant::now();
    let watching = consoles(&server, CONSOLES, epoch, &rounds).await;
    let crowd = Crowd::begin(server.address, LOAD, epoch, &rounds);
    sleep(Duration::from_secs(3)).await;

    let mut caught_up = Vec::new();
    for round in 1..=2 {
        rounds.measure(UNDISTURBED, blocked_for / 2).await;
        caught_up.push(block(&server, &rounds, blocked_for, round).await);
    }
    rounds.measure(UNDISTURBED, blocked_for / 2).await;
    let sent = crowd.stop().await;
    drop(watching);
    f.merge(fdatasync_loop(server.dir(), Duration::from_secs(3)).unwrap());

    until_lag_is_below(&server.api(), "records", 0, PATIENCE).await;
    let longest = caught_up.iter().map(|it| it.took).max().unwrap();
    let counted = crowd::count(server.dir(), &sent, longest).await;
    let f = f.per_mille(990);
    let slowest = caught_up
        .iter()
        .map(|it| it.times_real_time)
        .fold(f64::INFINITY, f64::min);
    Outcome::counted(counted)
        .with(compare(
            "ingest p99 while blocked",
            &rounds.answers,
            BLOCKED,
            f,
        ))
        .with(compare(
            "console p99 while blocked",
            &rounds.sights,
            BLOCKED,
            f,
        ))
        .with(Figure {
            what: "catching up".to_owned(),
            value: format!("{slowest:.1} × real time, {longest:.1?}"),
            target: "≥ 10 ×".to_owned(),
            is_met: slowest >= 10.0,
        })
}

pub struct CaughtUp {
    pub took: Duration,
    pub times_real_time: f64,
}

async fn block(server: &Server, rounds: &Rounds, lasts: Duration, round: usize) -> CaughtUp {
    let api = server.api();
    let hold = Hold::on(server.dir()).await;
    rounds.measure(BLOCKED, lasts).await;
    let behind = lag(&api, "records").await;
    eventually("it is told", PATIENCE, async || {
        let ready = api.get("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.text);
        ensure(ready.text.contains("records"), || ready.text)
    })
    .await;
    hold.release().await;
    let caught_up = catch_up(&api, "records", behind).await;
    println!(
        "  round {round}: {behind} events behind after {lasts:?}, caught up in {:.1?}, {:.1} × real time",
        caught_up.took, caught_up.times_real_time
    );
    sleep(Duration::from_secs(2)).await;
    caught_up
}

/// From now on what this consumer writes can be written again, and it is so far behind.
pub async fn catch_up(api: &Api, consumer: &str, behind: u64) -> CaughtUp {
    // what came within the last fifth of a second is on its way, blocked or not
    let took = until_lag_is_below(api, consumer, RATE / 5, Duration::from_secs(90)).await;
    let seconds = took.as_secs_f64();
    let written = behind as f64 + RATE as f64 * seconds;
    CaughtUp {
        took,
        times_real_time: written / seconds / RATE as f64,
    }
}

/// At most max(1.2 × p, p + 2f), p being that of the undisturbed rounds.
pub fn compare(what: &str, rounds: &[Mutex<Latencies>; KINDS], which: usize, f: f64) -> Figure {
    let p99 = |which: usize| {
        let mut latencies = rounds[which].lock().unwrap();
        println!("  {what}: {}", latencies.summary());
        latencies.per_mille(990)
    };
    let (p, disturbed) = (p99(UNDISTURBED), p99(which));
    let most = (1.2 * p).max(p + 2.0 * f);
    Figure {
        what: what.to_owned(),
        value: format!("{disturbed:.2} ms"),
        target: format!("≤ {most:.2} ms, with p {p:.2} and f {f:.2}"),
        is_met: disturbed <= most,
    }
}
