//! kill -9 at a random moment under 2,000 events/s, again and again on one
//! directory: what was answered 202 is there, once, and consoles heal.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::harness::{
    Console, Counted, Ledger, PATIENCE, Pace, ROOM, Random, Senders, Server, recount,
};

/// The console that was there all the time and one that has just come know the same.
async fn check_consoles(
    server: &Server,
    console: Console,
    events: &[Value],
    ledger: &Ledger,
) -> Console {
    let expected = recount(events);
    let is_there = |console: &Console| {
        console
            .rooms
            .get(ROOM)
            .is_some_and(|room| room.sum("executions") == events.len() as u64)
    };
    let mut resumed = console.resume(server, ROOM).await;
    resumed
        .until(PATIENCE, "the resumed console has everything", is_there)
        .await;
    let mut fresh = Console::watching(server, ROOM).await;
    fresh
        .until(PATIENCE, "a fresh console has everything", is_there)
        .await;
    resumed.level_with(&mut fresh, ROOM).await;

    assert_eq!(resumed.rooms[ROOM].students, fresh.rooms[ROOM].students);
    assert_eq!(resumed.rooms[ROOM].alerts, fresh.rooms[ROOM].alerts);
    for (id, student) in &fresh.rooms[ROOM].students {
        let expected = &expected[id];
        assert_eq!(student["executions"], expected.executions, "{student}");
        assert_eq!(student["errors"], expected.errors, "{student}");
        // the order of what came again after a 503 is a matter of the server's own clock
        if !ledger
            .turned_away
            .contains(student["name"].as_str().unwrap())
        {
            let in_a_row = &student["consecutiveErrors"];
            assert_eq!(in_a_row, expected.consecutive_errors, "{student}");
        }
        assert_eq!(
            student["lastActivity"],
            expected.last_activity.as_str(),
            "{student}"
        );
    }
    assert_eq!(fresh.rooms[ROOM].students.len(), expected.len());
    resumed
}

/// Kills and starts it so often; fails at the first event that is lost, doubled,
/// or not readable within so long.
pub async fn kill_at_random(rounds: usize, readable: Duration) -> Counted {
    let mut random = Random::new("kill -9");
    let mut server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let mut ledger = Ledger::default();
    let mut counted = Counted::default();
    for round in 1..=rounds {
        let senders = Senders::begin(&server, &format!("r{round}"), Pace::BUSY);
        let watching = tokio::spawn(async move {
            console.ended(PATIENCE).await;
            console
        });

        // the moment is the test's own: nothing is waited for
        sleep(random.millis(300, 1500)).await;
        server.kill9().await;

        ledger.merge(senders.until_it_is_gone().await);
        console = watching.await.unwrap();
        let began = Instant::now();
        server = server.start_again_on_its_port().await;
        let ready = began.elapsed();
        let api = server.api();
        let settled = ledger.settle(&api, readable).await;
        console = check_consoles(&server, console, &settled.events, &ledger).await;
        println!("  round {round}: ready after {ready:?}; {settled}");
        counted = counted.followed_by(Counted::checked(&ledger, settled.events.len(), ready));
    }
    counted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_202_survives_kill_9_exactly_once() {
    kill_at_random(3, PATIENCE).await;
}
