//! The drills: faults in their long and timed forms, and one table at the end.
//!
//! `make drill` runs all, `scripts/drill.sh kill power` those that are named. A
//! drill that needs no more than many rounds of a test of `tests/it` is that
//! test's own code; the others are files here. The faults of actors need the
//! feature `faulty`, which builds the program that has them. A figure outside of its target,
//! or an acknowledged event that is lost or doubled, makes the program end with 1.

#![allow(clippy::print_stdout, reason = "a report is what this program is for")]
#![allow(clippy::unwrap_used, reason = "a panic is how a drill fails")]
#![allow(unreachable_pub, reason = "the modules of one program")]

mod blocked;
mod course;
mod crowd;
#[cfg(feature = "faulty")]
mod faults;
mod memory;
mod overload;
mod postgres;
mod report;
mod stores;

#[path = "../load/client.rs"]
mod client;
#[path = "../load/disk.rs"]
mod disk;
#[allow(dead_code, reason = "the benchmarks use the rest")]
#[path = "../load/figures.rs"]
mod figures;

/// The short forms, whose own tests are not compiled here, and what they are made of.
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../it"]
mod it {
    pub mod backup;
    pub mod crash;
    pub mod disk_flip;
    pub mod disk_fsync;
    pub mod disk_full;
    #[cfg(feature = "faulty")]
    pub mod faults;
    pub mod harness;
    pub mod power;
    pub mod takeover;
    pub mod time;
}

use std::process::ExitCode;
use std::time::Duration;

use it::backup::working::{Kept, while_a_class_works};
use it::disk_flip::Place;
use it::disk_full::small_disk::SmallDisk;
use it::{backup, crash, disk_flip, disk_fsync, disk_full, harness, power, takeover, time};
use report::{Drill, Outcome, Report};

/// Within so long everything answered 202 is in every reading call (contract, section 3).
const READABLE: Duration = Duration::from_secs(2);

/// Ready again after the worst that is promised to be survived.
const READY: Duration = Duration::from_secs(2);
/// Gone after the disk failed; half of it is for the refusals to leave.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Every drill, the quick ones first.
fn drills() -> Vec<Drill> {
    let mut all = ends();
    all.extend(disks());
    all.extend(absences());
    all.extend(backups());
    #[cfg(feature = "faulty")]
    all.extend(faults::drills());
    all.extend(postgres::drills());
    all.extend(stores::drills());
    all.extend([blocked::drill(), overload::drill(), memory::drill()]);
    all
}

/// The process ends, at any moment.
fn ends() -> Vec<Drill> {
    vec![
        Drill::new(
            "kill",
            "kill -9 at a random moment under 2,000 events/s, 20 times in one directory",
            "everything acknowledged there once, consoles agree, ready < 2 s",
            || async { Outcome::recovered(crash::kill_at_random(20, READABLE).await, READY) },
        ),
        Drill::new(
            "power",
            "the file system forgets what was not synced (ext4 image, shutdown ioctl) under 2,000 events/s, 5 times",
            "everything acknowledged there once, ready < 2 s",
            || async {
                match power::cut_at_random(5).await {
                    Ok(counted) => Outcome::recovered(counted, READY),
                    Err(reason) => Outcome::not_tried(&format!("mounting is refused: {reason}")),
                }
            },
        ),
        Drill::new(
            "restart",
            "SIGTERM and the next server, 10 times, behind a socket that is handed over",
            "no connection refused, everything acknowledged there once",
            || async { Outcome::counted(takeover::restart_under_load(10).await) },
        ),
    ]
}

/// The disk lies.
fn disks() -> Vec<Drill> {
    vec![
        Drill::new(
            "fsync",
            "one fdatasync of the journal fails with EIO (strace), the 10th, 25th, 80th, 200th",
            "requests in hand get 503, the process ends with 1 within 1 s, the next start has all acknowledged",
            || async {
                let counted = disk_fsync::fail_the_nth(&[10, 25, 80, 200], READABLE).await;
                Outcome::recovered(counted, ENDS_WITHIN)
            },
        ),
        Drill::new(
            "full",
            "another process fills the disk (an ext4 image) to its last byte and holds it for 10 s at 400 events/s, 3 times",
            "503 with Retry-After meanwhile, ready < 2 s after there is room, all stores and snapshots catch up without a restart, everything acknowledged there once",
            || async {
                let Some(disk) = SmallDisk::ext4() else {
                    return Outcome::not_tried("a file system can't be mounted here");
                };
                let counted = disk_full::fill(&disk, 3, Duration::from_secs(10)).await;
                Outcome::recovered(counted, READY)
            },
        ),
        Drill::new(
            "flip",
            "a bit flipped in a closed segment, in the open one, in its last request",
            "only the request that was hit may go (3 events each), and it is named; ready < 2 s",
            || async {
                let mut sum = harness::Counted::default();
                for place in [Place::Closed, Place::Open, Place::Last] {
                    let next = disk_flip::flip_a_bit(place).await;
                    println!("  {place:?}: {} events lost, all others there", next.lost);
                    sum = sum.plus(next);
                }
                Outcome::with_loss(sum, READY, 9)
            },
        ),
    ]
}

/// Copies, taken and put back.
fn backups() -> Vec<Drill> {
    vec![
        Drill::new(
            "backup",
            "a backup at 500 events/s and a restore of it: SQLite, PostgreSQL, from each to the other, with 10,000 events",
            "every row up to the backup's position is the same, counters and chart agree, what is sent again is known",
            || async {
                let mut sum = harness::Counted::default();
                for (from, to) in [
                    (Kept::Sqlite, Kept::Sqlite),
                    (Kept::in_postgres(), Kept::in_postgres()),
                    (Kept::Sqlite, Kept::in_postgres()),
                    (Kept::in_postgres(), Kept::Sqlite),
                ] {
                    sum = sum.plus(while_a_class_works(from, to, 10_000).await);
                }
                Outcome::counted(sum)
            },
        ),
        Drill::new(
            "backup-kill",
            "kill -9 of a backup and of a restore (SQLite, PostgreSQL) at random moments, 10 times each",
            "a backup is whole or not there, nothing starts on half a restore, and the next one has every row",
            || async {
                backup::cut_short::kill_backups(10).await;
                backup::cut_short::kill_restores(|| Kept::Sqlite, 10).await;
                backup::cut_short::kill_restores(Kept::in_postgres, 10).await;
                Outcome::default()
            },
        ),
    ]
}

/// Longer than what makes a student idle; at least longer than what ends a request for help.
fn absence() -> Duration {
    crowd::lasts(150).max(Duration::from_secs(35))
}

/// Time passes otherwise than the clock says.
fn absences() -> Vec<Drill> {
    vec![
        Drill::new(
            "away",
            format!(
                "SIGSTOP of the whole process, and a process that is killed, for {} s each",
                absence().as_secs()
            ),
            "no request for help ends (30 s of silence), nobody is idle (2 minutes), no console begins anew",
            || async {
                time::away(absence()).await;
                Outcome::default()
            },
        ),
        Drill::new(
            "clock",
            "the system clock an hour forward, right, an hour back and right (libfaketime), 5 times",
            "no request for help ends, nobody goes offline, no duration below zero",
            || async {
                time::clock_set(5).await;
                Outcome::default()
            },
        ),
    ]
}

fn main() -> ExitCode {
    // clients are built with TLS, which wants a provider
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let drills = drills();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !drills.iter().any(|drill| drill.name == **name))
    {
        let names: Vec<_> = drills.iter().map(|drill| drill.name).collect();
        println!(
            "there is no drill {unknown}; there are {}",
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut report = Report::default();
    for drill in drills {
        if wanted.is_empty() || wanted.iter().any(|name| name == drill.name) {
            report.add(runtime.block_on(drill.run()));
        }
    }
    report.print_and_keep();
    if report.is_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}
