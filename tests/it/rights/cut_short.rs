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
        let before = listed(server.dir(), &id, "begun");
        let mut erasing = begin_to_erase(&server, size);
        if round == 0 {
            // anywhere between its first step and its end
            tokio::time::sleep(random.millis(30, 430)).await;
        } else {
            eventually("it has begun", PATIENCE, async || {
                let begun = listed(server.dir(), &id, "begun");
                ensure(begun > before, || "it is not in the list".to_owned())
            })
            .await;
            tokio::time::sleep(random.millis(0, 100)).await;
        }
        server.kill9().await;
        ledger.merge(senders.until_it_is_gone().await);
        let _ = erasing.wait().await;
        let has_begun = listed(server.dir(), &id, "begun") > before;

        server = server.start_again().await;
        if has_begun {
            // the start finishes it: nobody asks again, and meanwhile nobody sees them
            nothing_is_shown(&server, &id).await;
        } else {
            good(&erase(&server, size).await);
        }

        nothing_is_left(&server, size, &id).await;
        eventually("the list says so", PATIENCE, async || {
            let done = listed(server.dir(), &id, "done");
            ensure(done > before, || format!("{done} times"))
        })
        .await;
        ledger.settle(&server.api(), PATIENCE).await;
        nothing_is_shown(&server, &id).await;
    }
}

/// How often the list of erasures says this of the person.
fn listed(dir: &Path, id: &str, stage: &str) -> usize {
    let list = std::fs::read_to_string(dir.join("erasures.jsonl")).unwrap_or_default();
    let is = |line: &&str| line.contains(id) && line.contains(&format!("\"{stage}\""));
    list.lines().filter(is).count()
}
