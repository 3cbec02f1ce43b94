//! A real PostgreSQL server that goes away in every way, under 500 events/s.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::blocked::{CONSOLES, LOAD, Rounds, UNDISTURBED, catch_up, compare};
use crate::crowd::{Crowd, consoles, count_in, lag, lasts, until_lag_is_below};
use crate::disk::fdatasync_loop;
use crate::it::disk_full::small_disk::SmallDisk;
use crate::it::harness::postgres::Postgres;
use crate::it::harness::proxy::{Mode, Proxy};
use crate::it::harness::{Api, PATIENCE, Server};
use crate::report::{Drill, Figure, Outcome};

/// Named within this time, and looked for so often.
const NAMED_WITHIN: Duration = Duration::from_secs(5);
const LOOKS_EVERY: Duration = Duration::from_millis(50);
/// Between two resets of all connections.
const RESETS_EVERY: Duration = Duration::from_millis(200);
/// What the server of the full disk has: itself, its log, and little more.
const DISK_BYTES: u64 = 400 << 20;

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Stopped,
    Killed,
    Reset,
    Slow,
    Full,
}

impl Fault {
    const ALL: [Self; 5] = [
        Self::Stopped,
        Self::Killed,
        Self::Reset,
        Self::Slow,
        Self::Full,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Stopped => "pg-stopped",
            Self::Killed => "pg-killed",
            Self::Reset => "pg-reset",
            Self::Slow => "pg-slow",
            Self::Full => "pg-full",
        }
    }

    fn lasts(self) -> Duration {
        match self {
            Self::Stopped => lasts(60),
            Self::Killed | Self::Reset | Self::Slow | Self::Full => lasts(60) / 2,
        }
    }

    fn injected(self) -> String {
        let seconds = self.lasts().as_secs();
        match self {
            Self::Stopped => format!("PostgreSQL is stopped (immediate) for {seconds} s"),
            Self::Killed => format!(
                "all processes of PostgreSQL are killed with -9, it is started after {seconds} s"
            ),
            Self::Reset => {
                format!("all connections to PostgreSQL are reset every 0.2 s for {seconds} s")
            }
            Self::Slow => format!("every answer of PostgreSQL comes 5 s later for {seconds} s"),
            Self::Full => {
                format!("the disk of PostgreSQL (a tmpfs) is full to its last byte for {seconds} s")
            }
        }
    }

    /// Whether the records are away all the time: one that is reset comes back at once.
    fn is_an_absence(self) -> bool {
        self != Self::Reset
    }
}

pub fn drills() -> Vec<Drill> {
    Fault::ALL
        .into_iter()
        .map(|fault| {
            Drill::new(
                fault.name(),
                format!("{}, at 500 events/s to 50 consoles", fault.injected()),
                "ingest and consoles do not notice, the records are named within 5 s, they catch up 10 × faster than real time, everything acknowledged is in the database once",
                move || run(fault),
            )
        })
        .collect()
}

/// A server of PostgreSQL and how it is broken.
struct Broken {
    postgres: Postgres,
    proxy: Proxy,
    disk: Option<SmallDisk>,
}

impl Broken {
    async fn by(fault: Fault) -> Option<Self> {
        let disk = match fault {
            Fault::Full => Some(SmallDisk::in_memory_of(DISK_BYTES)?),
            Fault::Stopped | Fault::Killed | Fault::Reset | Fault::Slow => None,
        };
        let postgres = match &disk {
            Some(disk) => Postgres::start_in(disk.open_to_all()),
            None => Postgres::start(),
        };
        let proxy = Proxy::before(postgres.address()).await;
        Some(Self {
            postgres,
            proxy,
            disk,
        })
    }

    /// Breaks it for so long; it is whole again when this returns.
    async fn hold(&mut self, fault: Fault, lasts: Duration) {
        match fault {
            Fault::Stopped | Fault::Killed => {
                self.postgres.say(if fault == Fault::Killed {
                    "kill"
                } else {
                    "stop"
                });
                sleep(lasts).await;
                self.postgres.say("start");
            }
            Fault::Reset => {
                let end = Instant::now() + lasts;
                while Instant::now() < end {
                    self.proxy.reset().await;
                    sleep(RESETS_EVERY).await;
                }
            }
            Fault::Slow => {
                self.proxy.set(Mode::Delay(Duration::from_secs(5))).await;
                sleep(lasts).await;
                self.proxy.set(Mode::Pass).await;
            }
            Fault::Full => {
                let filler = self.disk.as_ref().unwrap().fill();
                sleep(lasts).await;
                filler.give_back();
                // one that could not even write its log has ended
                self.postgres.say("start");
            }
        }
    }
}

async fn run(fault: Fault) -> Outcome {
    let Some(mut broken) = Broken::by(fault).await else {
        return Outcome::not_tried("a file system can't be mounted here");
    };
    let url = broken.postgres.database();
    let through = broken.proxy.instead_of(broken.postgres.address(), &url);
    let server = Server::with(&[("MIMAMORI_RECORDS__URL", &through)]).await;
    let mut f = fdatasync_loop(server.dir(), Duration::from_secs(3)).unwrap();
    let rounds = Arc::new(Rounds::default());
    let epoch = Instant::now();
    let watching = consoles(&server, CONSOLES, epoch, &rounds).await;
    let crowd = Crowd::begin(server.address, LOAD, epoch, &rounds);
    sleep(Duration::from_secs(3)).await;

    rounds.measure(UNDISTURBED, fault.lasts() / 2).await;
    let api = server.api();
    let named = named_after(&api);
    rounds.are(DISTURBED);
    broken.hold(fault, fault.lasts()).await;
    rounds.rest();
    let behind = lag(&api, "records").await;
    let caught_up = catch_up(&api, behind).await;
    println!(
        "  {behind} events behind, caught up in {:.1?}",
        caught_up.took
    );
    sleep(Duration::from_secs(2)).await;
    rounds.measure(UNDISTURBED, fault.lasts() / 2).await;
    let sent = crowd.stop().await;
    drop(watching);
    f.merge(fdatasync_loop(server.dir(), Duration::from_secs(3)).unwrap());

    until_lag_is_below(&api, "records", 0, PATIENCE).await;
    let named = named.when().await;
    let f = f.per_mille(990);
    let mut outcome = Outcome::counted(count_in(&url, &sent, caught_up.took))
        .with(compare(
            "ingest p99 meanwhile",
            &rounds.answers,
            DISTURBED,
            f,
        ))
        .with(compare(
            "console p99 meanwhile",
            &rounds.sights,
            DISTURBED,
            f,
        ));
    if fault.is_an_absence() {
        outcome = outcome.with(told(named)).with(Figure {
            what: "catching up".to_owned(),
            value: format!(
                "{:.1} × real time, {:.1?} for {behind}",
                caught_up.times_real_time, caught_up.took
            ),
            target: "≥ 10 ×".to_owned(),
            is_met: caught_up.times_real_time >= 10.0,
        });
    }
    outcome
}

const DISTURBED: usize = 2;

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

/// Looks whether `/readyz` names the records, from a task of its own.
struct Looking {
    task: JoinSet<()>,
    named: Arc<Mutex<Option<Duration>>>,
}

fn named_after(api: &Api) -> Looking {
    let named = Arc::new(Mutex::new(None));
    let mut task = JoinSet::new();
    let (api, found) = (api.clone(), Arc::clone(&named));
    task.spawn(async move {
        let began = Instant::now();
        loop {
            let ready = api.get("/readyz").await;
            assert_eq!(ready.status, 200, "{}", ready.text);
            if ready.text.contains("records") {
                *found.lock().await = Some(began.elapsed());
                return;
            }
            sleep(LOOKS_EVERY).await;
        }
    });
    Looking { task, named }
}

impl Looking {
    async fn when(self) -> Option<Duration> {
        drop(self.task);
        *self.named.lock().await
    }
}
