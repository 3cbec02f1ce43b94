//! The course of every drill in which a store goes away: 500 events/s to 50 consoles, measured
//! beside rounds in which nothing is wrong.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::blocked::{CONSOLES, CaughtUp, LOAD, Rounds, UNDISTURBED, catch_up, compare};
use crate::crowd::{Crowd, Sent, consoles, lag, until_lag_is_below};
use crate::disk::fdatasync_loop;
use crate::figures::Latencies;
use crate::it::harness::{Api, PATIENCE, Server};
use crate::report::Figure;

/// Named within this time, and looked for so often.
const NAMED_WITHIN: Duration = Duration::from_secs(5);
const LOOKS_EVERY: Duration = Duration::from_millis(50);
const DISTURBED: usize = 2;

/// A class at work, and those who watch it.
pub struct Course {
    pub server: Server,
    rounds: Arc<Rounds>,
    fsync: Latencies,
    watching: JoinSet<()>,
    crowd: Crowd,
    named: Option<Duration>,
    parts: Vec<&'static str>,
    lasts: Duration,
}

/// What came out of it.
pub struct Run {
    pub server: Server,
    pub sent: Sent,
    /// The latencies, and how soon the parts were named, if there are any.
    pub figures: Vec<Figure>,
}

impl Course {
    /// The class begins. These parts of the program are to be named as away, for so long.
    pub async fn begin(server: Server, parts: &[&'static str], lasts: Duration) -> Self {
        let fsync = fdatasync_loop(server.dir(), Duration::from_secs(3)).unwrap();
        let rounds = Arc::new(Rounds::default());
        let epoch = Instant::now();
        let watching = consoles(&server, CONSOLES, epoch, &rounds).await;
        let crowd = Crowd::begin(server.address, LOAD, epoch, &rounds);
        sleep(Duration::from_secs(3)).await;
        Self {
            server,
            rounds,
            fsync,
            watching,
            crowd,
            named: None,
            parts: parts.to_vec(),
            lasts,
        }
    }

    /// Measured before, and while it is broken; it is whole again when `hold` returns.
    pub async fn disturb(&mut self, hold: impl Future<Output = ()>) {
        self.rounds.measure(UNDISTURBED, self.lasts / 2).await;
        let looking = Looking::for_all(&self.server.api(), &self.parts);
        self.rounds.are(DISTURBED);
        hold.await;
        self.rounds.rest();
        self.named = looking.found().await;
    }

    /// Until this consumer is up to date again; prints what that took.
    pub async fn catches_up(&self, consumer: &str) -> (u64, CaughtUp) {
        let api = self.server.api();
        let behind = lag(&api, consumer).await;
        let caught_up = catch_up(&api, consumer, behind).await;
        println!(
            "  {consumer}: {behind} events behind, caught up in {:.1?}",
            caught_up.took
        );
        (behind, caught_up)
    }

    /// Measured once more; the class goes home, and all that it sent is stored by these consumers.
    pub async fn end(mut self, consumers: &[&str]) -> Run {
        sleep(Duration::from_secs(2)).await;
        self.rounds.measure(UNDISTURBED, self.lasts / 2).await;
        let sent = self.crowd.stop().await;
        drop(self.watching);
        let fsync = fdatasync_loop(self.server.dir(), Duration::from_secs(3)).unwrap();
        self.fsync.merge(fsync);
        for consumer in consumers {
            until_lag_is_below(&self.server.api(), consumer, 0, PATIENCE).await;
        }
        let f = self.fsync.per_mille(990);
        let (answers, sights) = (&self.rounds.answers, &self.rounds.sights);
        let mut figures = vec![
            compare("ingest p99 meanwhile", answers, DISTURBED, f),
            compare("console p99 meanwhile", sights, DISTURBED, f),
        ];
        if !self.parts.is_empty() {
            figures.push(told(self.named));
        }
        Run {
            server: self.server,
            sent,
            figures,
        }
    }
}

/// Whether it caught up ten times faster than real time.
pub fn ten_times((behind, caught_up): &(u64, CaughtUp)) -> Figure {
    Figure {
        what: "catching up".to_owned(),
        value: format!(
            "{:.1} × real time, {:.1?} for {behind}",
            caught_up.times_real_time, caught_up.took
        ),
        target: "≥ 10 ×".to_owned(),
        is_met: caught_up.times_real_time >= 10.0,
    }
}

fn told(named: Option<Duration>) -> Figure {
    Figure {
        what: "named".to_owned(),
        value: named.map_or("never".to_owned(), |named| {
            format!("after {:.2} s", named.as_secs_f64())
        }),
        target: format!("≤ {} s", NAMED_WITHIN.as_secs()),
        is_met: named.is_some_and(|named| named <= NAMED_WITHIN),
    }
}

/// Looks whether `/readyz` names all that is broken, from a task of its own.
struct Looking {
    task: JoinSet<()>,
    named: Arc<Mutex<Option<Duration>>>,
}

impl Looking {
    fn for_all(api: &Api, parts: &[&'static str]) -> Self {
        let named = Arc::new(Mutex::new(None));
        let mut task = JoinSet::new();
        let (api, found, parts) = (api.clone(), Arc::clone(&named), parts.to_vec());
        task.spawn(async move {
            let began = Instant::now();
            loop {
                let ready = api.get("/readyz").await;
                assert_eq!(ready.status, 200, "{}", ready.text);
                if parts.iter().all(|part| ready.text.contains(part)) {
                    *found.lock().await = Some(began.elapsed());
                    return;
                }
                sleep(LOOKS_EVERY).await;
            }
        });
        Self { task, named }
    }

    /// How soon all were named at once.
    async fn found(self) -> Option<Duration> {
        drop(self.task);
        *self.named.lock().await
    }
}
