//! The threads of the tree, apart from those that serve requests, and the watchdog's own.

use std::io;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use mimamori_actors::tree::{Threads, Watchdog};
use tokio::runtime::{Builder, Runtime};

/// The runtimes of the tree. Dropped, they end without waiting for anyone.
#[derive(Debug)]
pub(super) struct Runtimes {
    /// Nothing while they are dropped.
    runtimes: Option<(Runtime, Runtime)>,
    threads: Threads,
}

impl Runtimes {
    /// Starts their workers: as many as there are cores for the tree, and for
    /// the sessions as many more as may be lost to folds that never return.
    pub(super) fn start() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let tree = runtime("tree", cores.max(2))?;
        let sessions = runtime("sessions", cores + Threads::MAY_BE_LOST)?;
        Ok(Self {
            threads: Threads {
                tree: tree.handle().clone(),
                sessions: sessions.handle().clone(),
            },
            runtimes: Some((tree, sessions)),
        })
    }

    pub(super) fn threads(&self) -> Threads {
        self.threads.clone()
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        if let Some((tree, sessions)) = self.runtimes.take() {
            // a fold that never returns would be waited for
            sessions.shutdown_background();
            tree.shutdown_background();
        }
    }
}

fn runtime(name: &str, workers: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(name)
        .enable_all()
        .build()
}

/// Looks at the actors until the process ends, from a thread that none of them can hold.
pub(super) fn watch(mut watchdog: Watchdog) -> io::Result<()> {
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(Watchdog::EVERY);
                // what it knows is only of the last look
                if catch_unwind(AssertUnwindSafe(|| watchdog.look())).is_err() {
                    metrics::counter!("mimamori_watchdog_panics_total").increment(1);
                }
            }
        })?;
    Ok(())
}
