//! An fdatasync of the journal fails: what it was for is not acknowledged, and
//! the process ends, because a second one would succeed without having written.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::harness::{Counted, Ledger, PATIENCE, Pace, Senders, Server, ensure, eventually};

/// As fast as they are answered: at any moment somebody waits.
const ALWAYS_IN_HAND: Pace = Pace {
    connections: 8,
    batch: 10,
    every: Duration::from_millis(1),
};

/// The nth fdatasync of the first segment fails, in one directory after the
/// other. `recovered` is the longest time from the line in the log to the end: the
/// drill holds it to a second, which under strace on a busy machine is too little.
/// `readable`: within so long an acknowledged event can be read.
pub async fn fail_the_nth(each: &[usize], readable: Duration) -> Counted {
    let mut counted = Counted::default();
    for nth in each {
        let next = fail(*nth, readable).await;
        println!(
            "  fdatasync {nth} failed: ended {:?} after it; {} acknowledged and there, {} \
             refused, lost 0",
            next.recovered, next.acknowledged, next.refused
        );
        counted = counted.plus(next);
    }
    counted
}

async fn fail(nth: usize, readable: Duration) -> Counted {
    let dir = Arc::new(TempDir::with_prefix("mimamori-it-").unwrap());
    let segment = dir.path().join("journal/00000000000000000001.seg");
    let inject = format!("inject=fdatasync:error=EIO:when={nth}");
    let strace = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        segment.to_str().unwrap(),
        "-e",
        "trace=fdatasync",
        "-e",
        &inject,
        "--",
    ];
    let mut server = Server::on_under(&dir, &strace, Stdio::null()).await;
    let senders = Senders::begin(&server, &format!("n{nth}"), ALWAYS_IN_HAND);

    let failed = eventually("the failure is told", PATIENCE, async || {
        let log = server.log();
        ensure(log.contains("the journal failed"), || "not yet".to_owned())?;
        Ok::<_, String>(Instant::now())
    })
    .await;
    let status = server.ended(PATIENCE).await;
    let ended = failed.elapsed();

    assert_eq!(status.code(), Some(1), "{}", server.log());
    let mut ledger: Ledger = senders.until_it_is_gone().await;
    assert!(
        !ledger.unanswered.is_empty(),
        "requests in hand are not acknowledged"
    );
    assert!(ledger.refused > 0, "they are told 503");
    let server = server.start_again().await;
    let settled = ledger.settle(&server.api(), readable).await;
    Counted::checked(&ledger, settled.events.len(), ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_fdatasync_that_fails_is_answered_503_and_ends_the_process() {
    fail_the_nth(&[25], PATIENCE).await;
}
