//! A real PostgreSQL server that goes away in every way, under 500 events/s.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::course::{Course, ten_times};
use crate::crowd::{count_in, lasts};
use crate::it::disk_full::small_disk::SmallDisk;
use crate::it::harness::Server;
use crate::it::harness::postgres::Postgres;
use crate::it::harness::proxy::{Mode, Proxy};
use crate::report::{Drill, Outcome};

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
    // it comes back at once from a reset: there is nobody to be named
    let away: &[_] = if fault.is_an_absence() {
        &["records"]
    } else {
        &[]
    };
    let mut course = Course::begin(server, away, fault.lasts()).await;

    course.disturb(broken.hold(fault, fault.lasts())).await;
    let caught_up = course.catches_up("records").await;
    let run = course.end(&["records"]).await;

    let outcome = Outcome::counted(count_in(&url, &run.sent, caught_up.1.took));
    let behind = fault.is_an_absence().then(|| ten_times(&caught_up));
    outcome.with_all(run.figures).with_all(behind)
}
