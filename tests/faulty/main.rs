//! The program `mimamori`, whose actors fail where an event asks for it. For tests only.
//!
//! A fault is asked for by the cell id `fault:<how>:<who>` of an event, for a
//! subscriber by the epoch it claims to resume from. How: `panic`, `hang` (an
//! await that never ends), `block` (the thread never comes back, asleep), `spin`
//! (the same, computing), `abort` (the process ends). Who: `session`, each time
//! that it meets the event; `router`, `classroom`, `records`, `series`,
//! `subscriber`, once per event; `tree` (with `block`): every worker of the tree.
//!
//! `FAULTY_PATIENCE_SECONDS`: so long at most actors may be without progress.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mimamori_actors::domain::{Entry, Record};
use mimamori_actors::tree::{Step, Wait, Witness};

fn main() -> ExitCode {
    let patience = std::env::var("FAULTY_PATIENCE_SECONDS").ok();
    let patience = patience.and_then(|seconds| seconds.parse().ok());
    mimamori::cli::main_before(Arc::new(Faults {
        done: Mutex::default(),
        patience: patience.map(Duration::from_secs),
    }))
}

/// What was asked for and has happened.
struct Faults {
    done: Mutex<HashSet<String>>,
    /// Nothing: as long as they may be.
    patience: Option<Duration>,
}

impl Faults {
    /// The first time that this is asked for.
    fn is_new(&self, id: &str) -> bool {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.insert(id.to_owned())
    }

    fn once(&self, who: &str, cell: Option<&str>, id: &str) -> Option<Wait> {
        let how = asked_of(who, cell?)?;
        if self.is_new(&format!("{who} {id}")) {
            happen(how)
        } else {
            None
        }
    }

    fn once_in(&self, who: &str, entries: &[Arc<Entry>]) -> Option<Wait> {
        entries.iter().find_map(|entry| {
            let position = entry.position.to_string();
            self.once(who, cell_of(entry), &position)
        })
    }
}

impl Witness for Faults {
    fn patience(&self, usual: Duration) -> Duration {
        self.patience.map_or(usual, |patience| patience.min(usual))
    }

    fn before(&self, step: Step<'_>) -> Option<Wait> {
        match step {
            Step::Fold { entry, .. } => happen(asked_of("session", cell_of(entry)?)?),
            Step::Route(entries) => {
                if entries
                    .iter()
                    .any(|entry| cell_of(entry) == Some("fault:block:tree"))
                {
                    block_every_worker();
                }
                self.once_in("router", entries)
            }
            Step::Update(update) => {
                let event = update.event.as_ref()?;
                self.once(
                    "classroom",
                    event.cell_id.as_deref(),
                    event.event_id.as_str(),
                )
            }
            Step::Write { consumer, entries } => self.once_in(consumer, entries),
            Step::Subscribe { since, .. } => {
                let epoch = &since?.epoch;
                self.once("subscriber", Some(epoch), epoch)
            }
            Step::Round => None,
        }
    }
}

fn cell_of(entry: &Entry) -> Option<&str> {
    match &entry.record {
        Record::Event(accepted) => accepted.event.cell_id.as_deref(),
        _ => None,
    }
}

/// How the actor is to fail, if it is the one that is asked.
fn asked_of<'a>(who: &str, cell: &'a str) -> Option<&'a str> {
    let (how, whom) = cell.strip_prefix("fault:")?.split_once(':')?;
    (whom == who).then_some(how)
}

fn happen(how: &str) -> Option<Wait> {
    match how {
        "panic" => panic!("a fault that a test asked for"),
        "hang" => Some(Box::pin(std::future::pending())),
        "block" => loop {
            thread::sleep(Duration::from_secs(1));
        },
        "spin" => loop {
            std::hint::spin_loop();
        },
        "abort" => std::process::abort(),
        _ => None,
    }
}

/// More tasks that never come back than the runtime of the caller has workers.
fn block_every_worker() {
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    for _ in 0..workers * 2 {
        tokio::spawn(async {
            happen("block");
        });
    }
}
