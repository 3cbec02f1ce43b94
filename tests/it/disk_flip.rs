//! A bit of a journal file changes: only the request that it stood in may go, and it is named.
//!
//! The records are held up meanwhile, so that the journal is the only one that has the events.

use std::fs;
use std::process::Output;

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::{
    Counted, Hold, Ledger, PATIENCE, ROOM, Run, Server, event, noted, program, run, segments,
};

/// Small segments: some are closed soon.
const SMALL: &[(&str, &str)] = &[("MIMAMORI_JOURNAL__MAX_BYTES", "2MiB")];
const REQUESTS: usize = 240;
const BATCH: usize = 3;

/// Where the request that is hit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a segment that is no longer written.
    Closed,
    /// In the one that is, with others behind it.
    Open,
    /// The last of all: it looks as a crash would leave it, but it was acknowledged.
    Last,
}

fn id(nth: usize, index: usize) -> String {
    // no id is the beginning of another
    format!("flip-{nth}-{index}.")
}

fn batch(nth: usize) -> Vec<Value> {
    let student = format!("s{}", nth % 10);
    (0..BATCH)
        .map(|index| {
            let mut event = run(&id(nth, index), &student, "cell", Run::Ok);
            event["code"] = format!("print('{}')", "x".repeat(300)).into();
            event
        })
        .collect()
}

/// Changes one bit of a request at this place and tells which it was.
fn flip(server: &Server, place: Place) -> usize {
    let segments = segments(server.dir());
    assert!(segments.len() >= 3, "{} segments", segments.len());
    let path = match place {
        Place::Closed => &segments[segments.len() / 2 - 1],
        Place::Open | Place::Last => segments.last().unwrap(),
    };
    let mut bytes = fs::read(path).unwrap();
    let at = |nth: usize| find(&bytes, id(nth, 1).as_bytes());
    let mut there = (0..REQUESTS).filter(|nth| at(*nth).is_some());
    let nth = match place {
        Place::Last => there.next_back().unwrap(),
        // neither the first nor the last of the file
        Place::Closed | Place::Open => there.nth(2).unwrap(),
    };
    let place = at(nth).unwrap() + 3;
    bytes[place] ^= 0x10;
    fs::write(path, bytes).unwrap();
    nth
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, text)
}

async fn inspect(server: &Server) -> Output {
    program(server.dir())
        .args(["journal", "inspect"])
        .output()
        .await
        .unwrap()
}

/// Flips a bit there and starts again; the request that was hit is gone, all others are there.
pub async fn flip_a_bit(place: Place) -> Counted {
    let mut server = Server::with(SMALL).await;
    let api = server.api();
    api.accepted(&[event("first", "notebook_opened", "s0")])
        .await;
    let hold = Hold::on(server.dir()).await;
    let mut ledger = Ledger::default();
    for nth in 0..REQUESTS {
        let batch = batch(nth);
        api.accepted(&batch).await;
        ledger.note(&batch);
    }
    // what was noted to be on disk is known to have been acknowledged, even if it is the journal's last
    noted(&server, "/reached", (1 + REQUESTS * BATCH) as u64).await;
    server.kill9().await;
    hold.release().await;

    let hit = flip(&server, place);
    let inspected = inspect(&server).await;
    let began = Instant::now();
    let server = server.start_again().await;
    let ready = began.elapsed();

    let gone: Vec<_> = (0..BATCH).map(|index| id(hit, index)).collect();
    let api = server.api();
    let events = ledger.check_events(&api, PATIENCE, &gone).await;
    ledger.check_executions(&api, &gone).await;
    let is_there = |id: &String| events.iter().any(|event| event["eventId"] == id.as_str());
    assert!(
        !gone.iter().any(is_there),
        "damaged, and there all the same"
    );
    // the place is named: the last position before it and the first behind it
    let position = |nth: usize, index: usize| {
        let id = id(nth, index);
        let event = events.iter().find(|event| event["eventId"] == id.as_str());
        event.unwrap()["position"].as_u64().unwrap()
    };
    let log = server.log();
    let damage = log
        .lines()
        .find(|line| line.contains("a part of the journal is damaged"))
        .unwrap_or_else(|| panic!("nobody says what was lost:\n{log}"));
    let after = format!("\"positions.after\":{}", position(hit - 1, BATCH - 1));
    assert!(damage.contains(&after), "{after} is not in {damage}");
    if place != Place::Last {
        assert_eq!(inspected.status.code(), Some(1), "damage is no success");
        let before = format!("\"positions.before\":{}", position(hit + 1, 0));
        assert!(damage.contains(&before), "{before} is not in {damage}");
    }
    // the client's repeat of what was lost is not refused for ever: it goes on
    let again = api.ingest(&batch(REQUESTS)).await.good();
    assert_eq!(again["accepted"], BATCH, "{again} in {ROOM}");
    Counted {
        lost: gone.len(),
        ..Counted::checked(&ledger, events.len(), ready)
    }
}

#[tokio::test]
async fn a_bit_flipped_in_a_closed_segment_costs_the_request_it_stood_in_and_is_named() {
    flip_a_bit(Place::Closed).await;
}

#[tokio::test]
async fn a_bit_flipped_in_the_open_segment_costs_the_request_it_stood_in_and_is_named() {
    flip_a_bit(Place::Open).await;
}

#[tokio::test]
async fn a_bit_flipped_in_the_last_request_is_told_from_a_torn_write() {
    flip_a_bit(Place::Last).await;
}
