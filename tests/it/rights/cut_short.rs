//! kill -9 in the middle of an erasure, under load of others.

use super::*;
use crate::harness::postgres::database;
use crate::harness::{Ledger, Pace, Random, Senders};

const ROUNDS: usize = 3;
const LOAD: Pace = Pace {
    connections: 2,
    batch: 5,
    every: Duration::from_millis(25),
};

#[tokio::test]
async fn an_erasure_that_is_cut_short_is_finished_by_the_next_start_in_files() {
    cut_short(None).await;
}

#[tokio::test]
async fn an_erasure_that_is_cut_short_is_finished_by_the_next_start_in_postgresql() {
    cut_short(Some(&database())).await;
}

async fn cut_short(size: Size<'_>) {
    let rounds = std::env::var("MIMAMORI_DRILL_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok());
    let mut server = Server::with(&env(size)).await;
    let mut random = Random::new("rights");
    let mut ledger = Ledger::default();
    for round in 0..rounds.unwrap_or(ROUNDS) {
        leave_traces(&server, &format!("round{round}")).await;
        let id = person_id(&server).await;
        let senders = Senders::begin(&server, &format!("load{round}"), LOAD);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut erasing = begin_to_erase(&server, size);
        // anywhere between its first step and its end
        let after = random.millis(30, 430);
        tokio::time::sleep(after).await;
        server.kill9().await;
        ledger.merge(senders.until_it_is_gone().await);
        let _ = erasing.wait().await;

        server = server.start_again().await;
        // whatever had not begun begins now
        good(&erase(&server, size).await);

        nothing_is_left(&server, size, &id).await;
        ledger.settle(&server.api(), PATIENCE).await;
        nothing_is_shown(&server, &id).await;
    }
}
