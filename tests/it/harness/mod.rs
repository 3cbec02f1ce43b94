//! What every test needs: a server, ways to talk to it, events to send.

mod actors;
mod api;
// the tests of the library do more with these two
#[allow(dead_code)]
pub mod between;
mod certificates;
mod console;
mod events;
mod files;
mod hold;
#[allow(dead_code)]
pub mod influxdb;
mod ledger;
mod nginx;
pub mod postgres;
#[allow(dead_code, reason = "each kind of server needs a part of it")]
pub mod proxy;
mod random;
mod raw;
mod recount;
pub mod redis;
mod server;
mod spoken;

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use api::{Answer, Api};
pub use certificates::certificates;
pub use console::{Console, Ended, Room, SignIn, assert_is_student};
pub use events::{Run, event, event_id, help, markdown, now, run, shuffled, skipped};
pub use files::{noted, segments, with_ending};
pub use hold::Hold;
pub use ledger::{Counted, Ledger, Pace, Senders};
pub use nginx::Nginx;
pub use random::Random;
pub use raw::{RawAnswer, exchange};
pub use recount::{Expected, assert_is, recount};
pub use server::{ADMIN, INGEST_KEY, ROOM, Server, program, program_under};

/// For what should be at once, on a machine that is busy with other things too. What
/// is promised exactly is measured by the drills, which have the machine for themselves.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Wide enough for every event of a test.
pub const ALWAYS: &str = "from=2026-01-01T00:00:00Z&to=2200-01-01T00:00:00Z";

/// Looks again and again until it sees what it looks for. The other side is
/// another process that tells nobody when it is done, so this is the one place that polls.
pub async fn eventually<T, E, F>(what: &str, within: Duration, look: impl Fn() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(reason) if Instant::now() >= deadline => {
                panic!("{what}: not within {within:?}: {reason}")
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// `Err` with the reason, unless it holds; for [`eventually`].
pub fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}
