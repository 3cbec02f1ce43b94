//! kill -9 at a random moment under 2,000 events/s, again and again on one
//! directory: what was answered 202 is there, once, and consoles heal.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::harness::{
    Api, Console, PATIENCE, READABLE, ROOM, Random, Run, Server, drill_rounds, ensure, eventually,
    recount, run,
};

const CONNECTIONS: usize = 8;
const BATCH: usize = 10;
/// 8 connections × 25 batches × 10 events are 2,000 events/s.
const EVERY: Duration = Duration::from_millis(40);
/// Wide enough for every event of a drill.
const ALWAYS: &str = "from=2026-01-01T00:00:00Z&to=2200-01-01T00:00:00Z";

/// What a client knows after the server is gone.
#[derive(Default)]
struct Ledger {
    /// Ids of events that were answered 202.
    acknowledged: HashSet<String>,
    /// Batches without an answer: a client sends them again.
    unanswered: Vec<Vec<Value>>,
    /// The last batch of each connection that was answered 202: a browser may repeat it.
    newest: Vec<Vec<Value>>,
}

impl Ledger {
    fn note(&mut self, batch: &[Value]) {
        let ids = batch
            .iter()
            .map(|event| event["eventId"].as_str().unwrap().to_owned());
        self.acknowledged.extend(ids);
    }

    fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unanswered.extend(other.unanswered);
        self.newest.extend(other.newest);
    }
}

/// Sends until the server is gone.
async fn send_until_it_dies(api: Api, name: String) -> Ledger {
    let mut ledger = Ledger::default();
    let mut ticks = interval(EVERY);
    for nth in 0.. {
        ticks.tick().await;
        let batch: Vec<_> = (0..BATCH).map(|index| one(&name, nth, index)).collect();
        match api.try_ingest(&batch).await {
            Ok(answer) if answer.status == 202 => {
                assert_eq!(answer.json["accepted"], BATCH, "{}", answer.text);
                ledger.note(&batch);
                ledger.newest = vec![batch];
            }
            Ok(answer) => {
                // overloaded or on its way down: nothing of it is kept, and it comes again
                assert_eq!(answer.status, 503, "{}", answer.text);
                ledger.unanswered.push(batch);
            }
            Err(_) => {
                ledger.unanswered.push(batch);
                break;
            }
        }
    }
    ledger
}

fn one(name: &str, nth: usize, index: usize) -> Value {
    let student = format!("s{}", (nth * BATCH + index) % 40);
    let how = if (nth + index).is_multiple_of(3) {
        Run::Error
    } else {
        Run::Ok
    };
    run(
        &format!("{name}-{nth}-{index}"),
        &student,
        &format!("cell-{}", index % 5),
        how,
    )
}

/// Everything in `/events`, once each and with every acknowledged event; gives them in their order.
async fn check_events(api: &Api, ledger: &Ledger) -> Vec<Value> {
    eventually(
        "every acknowledged event can be read",
        READABLE,
        async || {
            let events = api.all("/events?since=0", 1000).await;
            let mut seen = HashSet::new();
            let mut last = 0;
            for event in &events {
                let position = event["position"].as_u64().unwrap();
                assert!(position > last, "{position} after {last}");
                last = position;
                let id = event["eventId"].as_str().unwrap();
                assert!(seen.insert(id.to_owned()), "twice: {event}");
            }
            let lost: Vec<_> = ledger.acknowledged.difference(&seen).collect();
            ensure(lost.is_empty(), || {
                format!("{} are not there: {lost:?}", lost.len())
            })?;
            Ok::<_, String>(events)
        },
    )
    .await
}

/// Every acknowledged execution is in the records, once.
async fn check_executions(api: &Api, ledger: &Ledger) {
    let path = format!("/executions?{ALWAYS}");
    eventually(
        "every acknowledged execution is in the records",
        PATIENCE,
        async || {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for execution in api.all(&path, 1000).await {
                *seen
                    .entry(execution["eventId"].as_str().unwrap().to_owned())
                    .or_default() += 1;
            }
            let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
            assert!(twice.is_empty(), "stored twice: {twice:?}");
            let missing = ledger
                .acknowledged
                .iter()
                .filter(|id| !seen.contains_key(*id))
                .count();
            ensure(missing == 0, || {
                format!("{missing} of {} are missing", ledger.acknowledged.len())
            })
        },
    )
    .await;
}

/// A client's second try at what it had no answer for: each event is new or a
/// duplicate, never refused. What was answered before the crash is known after it.
async fn send_again(api: &Api, ledger: &mut Ledger) {
    for batch in std::mem::take(&mut ledger.newest) {
        let answer = api.ingest(&batch).await.good();
        assert_eq!(answer["duplicates"], BATCH, "{answer}");
    }
    for batch in std::mem::take(&mut ledger.unanswered) {
        let answer = api.ingest(&batch).await.good();
        let taken = answer["accepted"].as_u64().unwrap() + answer["duplicates"].as_u64().unwrap();
        assert_eq!(taken, BATCH as u64, "{answer}");
        ledger.note(&batch);
    }
}

/// The console that was there all the time and one that has just come know the same.
async fn check_consoles(server: &Server, console: Console, events: &[Value]) -> Console {
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

    assert_eq!(resumed.rooms[ROOM].students, fresh.rooms[ROOM].students);
    assert_eq!(resumed.rooms[ROOM].alerts, fresh.rooms[ROOM].alerts);
    for (id, student) in &fresh.rooms[ROOM].students {
        let expected = &expected[id];
        assert_eq!(student["executions"], expected.executions, "{student}");
        assert_eq!(student["errors"], expected.errors, "{student}");
        assert_eq!(
            student["consecutiveErrors"], expected.consecutive_errors,
            "{student}"
        );
        assert_eq!(
            student["lastActivity"],
            expected.last_activity.as_str(),
            "{student}"
        );
    }
    assert_eq!(fresh.rooms[ROOM].students.len(), expected.len());
    resumed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_202_survives_kill_9_exactly_once() {
    let mut random = Random::new("kill -9");
    let mut server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let mut ledger = Ledger::default();
    for round in 1..=drill_rounds(3) {
        let mut senders = JoinSet::new();
        for connection in 0..CONNECTIONS {
            let api = Api::new(&server.base(), None);
            senders.spawn(send_until_it_dies(api, format!("r{round}-c{connection}")));
        }
        let watching = tokio::spawn(async move {
            console.ended(PATIENCE).await;
            console
        });

        // the moment is the test's own: nothing is waited for
        sleep(random.millis(300, 1500)).await;
        server.kill9().await;

        for sent in senders.join_all().await {
            ledger.merge(sent);
        }
        console = watching.await.unwrap();
        let began = Instant::now();
        server = server.start_again_on_its_port().await;
        let ready = began.elapsed();
        let api = server.api();
        let before = check_events(&api, &ledger).await.len();
        let unanswered = ledger.unanswered.len();
        send_again(&api, &mut ledger).await;
        let events = check_events(&api, &ledger).await;
        assert_eq!(events.len(), ledger.acknowledged.len());
        check_executions(&api, &ledger).await;
        console = check_consoles(&server, console, &events).await;
        println!(
            "round {round}: ready after {ready:?} (target 2 s); {before} events were there, \
             {unanswered} batches were sent again, {} events now, lost 0, doubled 0",
            events.len()
        );
    }
}
