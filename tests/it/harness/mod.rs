//! What every test needs: a server, ways to talk to it, events to send.

mod api;
mod console;
mod events;
mod hold;
mod ledger;
mod random;
mod raw;
mod recount;
mod server;

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use api::{Answer, Api};
pub use console::{Console, Ended, Room, SignIn, assert_is_student};
pub use events::{Run, event, help, markdown, now, run, shuffled, skipped};
pub use hold::Hold;
pub use ledger::{Counted, Ledger, Pace, Senders};
pub use random::Random;
pub use raw::{RawAnswer, exchange};
pub use recount::{Expected, assert_is, recount};
pub use server::{ADMIN, INGEST_KEY, ROOM, Server, program, program_under};

/// Within so long everything answered 202 is in every reading call (contract, section 3).
pub const READABLE: Duration = Duration::from_secs(2);
/// For what should be at once, on a machine that is busy with other things too.
pub const PATIENCE: Duration = Duration::from_secs(15);

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

/// How many rounds a drill goes: few in `make test`, as many as `MIMAMORI_DRILL_ROUNDS` says in `make drill`.
pub fn drill_rounds(usually: usize) -> usize {
    std::env::var("MIMAMORI_DRILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(usually)
}

/// `Err` with the reason, unless it holds; for [`eventually`].
pub fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}
