//! The disk of PostgreSQL is full to its last byte.

use std::time::Duration;

use super::{CLASS, NAMED_WITHIN, Watch, all_there_once, end_of, server_on};
use crate::disk_full::small_disk::SmallDisk;
use crate::harness::postgres::Postgres;
use crate::harness::{PATIENCE, Senders};

/// The server itself, its log, and little more.
const DISK_BYTES: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_disk_is_full_is_noticed_by_nobody_but_its_readers() {
    let Some(disk) = SmallDisk::in_memory_of(DISK_BYTES) else {
        return;
    };
    let mut postgres = Postgres::start_in(disk.open_to_all());
    let url = postgres.database();
    let server = server_on(&url).await;
    let senders = Senders::begin(&server, "class", CLASS);
    let mut watch = Watch::on(&server).await;
    watch.go_on_for(Duration::from_millis(500)).await;

    let filler = disk.fill();
    // what was made room for is used up first
    let named = watch.until_degraded(&["records"], NAMED_WITHIN).await;
    watch.go_on_for(Duration::from_secs(1)).await;
    filler.give_back();
    // one that could not even write its log has ended
    postgres.say("start");
    let healed = watch.until_degraded(&[], PATIENCE).await;
    println!("  named after {named:?}, healed after {healed:?}");

    let sent = usize::try_from(watch.sent).unwrap();
    let (server, ledger) = end_of(server, senders).await;
    all_there_once(&url, ledger.acknowledged.len() + sent).await;
    drop(server);
    drop(postgres);
}
