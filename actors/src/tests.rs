//! The whole tree on paused time, with fakes at the ports.

mod consoles;
mod faults;
mod frozen;
mod poison;
mod sleep;
mod time;
mod told;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use crate::domain::{
    ClassroomId, EventKind, FactKind, Position, Record, SessionKey, StudentId, StudentStatus,
};
use crate::feed::Delta;
use crate::hub::Hub;
use crate::outbox::{Item, Outbox, OutboxLimits};
use crate::ports::{Bus, Clock, Journal, NewRecord, Origin, Snapshots};
use crate::root::{Parts, Tree};
use crate::session::careful::Careful;
use crate::testing::{Faults, MemoryJournal, MemorySnapshots, MemoryStore, TestClock, event};
use crate::tree::{RestartError, Threads, Watchdog};

struct InProcess(Arc<Hub>);

impl Bus for InProcess {
    fn publish(&self, delta: &Arc<Delta>) {
        self.0.deliver(delta);
    }
}

struct Grove {
    clock: Arc<TestClock>,
    journal: Arc<MemoryJournal>,
    snapshots: Arc<MemorySnapshots>,
    records: Arc<MemoryStore>,
    series: Arc<MemoryStore>,
    faults: Arc<Faults>,
    max_consoles: usize,
}

impl Grove {
    fn new() -> Self {
        let clock = TestClock::new();
        Self {
            journal: MemoryJournal::new(Arc::clone(&clock)),
            clock,
            snapshots: Arc::default(),
            records: Arc::default(),
            series: Arc::default(),
            faults: Arc::default(),
            max_consoles: 2,
        }
    }

    async fn plant(&self) -> Tree {
        self.plant_with(None).await
    }

    async fn plant_with(&self, careful: Option<Careful>) -> Tree {
        let hub = Arc::new(Hub::default());
        let parts = Parts {
            journal: self.journal.clone(),
            clock: self.clock.clone(),
            snapshots: self.snapshots.clone(),
            records: self.records.clone(),
            series: self.series.clone(),
            backfill: self.records.clone(),
            retention: None,
            bus: Arc::new(InProcess(Arc::clone(&hub))),
            hub,
            classrooms: vec![ClassroomId::new("default")],
            max_consoles: self.max_consoles,
            threads: Threads::current(),
            witness: self.faults.clone(),
            careful,
        };
        let (tree, mut watchdog) = Tree::plant(parts).await.unwrap();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Watchdog::EVERY).await;
                watchdog.look();
            }
        });
        tree
    }

    async fn append(&self, records: Vec<NewRecord>) {
        self.journal.append(records, Origin::Outside).await.unwrap();
    }
}

fn key(student: &str) -> SessionKey {
    SessionKey {
        classroom: ClassroomId::new("default"),
        student: StudentId::new(student),
    }
}

/// Time is paused: this costs nothing, and ends with the test if the condition never holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

fn runs(tree: &Tree, student: &str) -> u64 {
    tree.registry()
        .view(&key(student))
        .map_or(0, |view| view.executions)
}

/// An actor as the health endpoint shows it.
fn report(tree: &Tree, name: &str) -> Value {
    let all = serde_json::to_value(tree.census().tree().unwrap()).unwrap();
    find(&all, name).unwrap_or_else(|| panic!("{name} is not in {all}"))
}

fn find(below: &Value, name: &str) -> Option<Value> {
    if below["name"] == name {
        return Some(below.clone());
    }
    let children = below["children"].as_array()?;
    children.iter().find_map(|child| find(child, name))
}

async fn next_json(outbox: &Outbox) -> Value {
    match outbox.next().await {
        Item::Frame(frame) => serde_json::from_slice(&frame).unwrap(),
        other @ (Item::Resnapshot(_) | Item::Closed(_)) => panic!("no frame but {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_reaches_its_session_both_stores_and_the_consoles() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let console = tree.consoles().connect(Arc::clone(&outbox)).unwrap();
    console
        .subscribe(&ClassroomId::new("default"), None)
        .await
        .unwrap();
    assert_eq!(next_json(&outbox).await["type"], "snapshot");

    grove
        .append(vec![event("hanako", EventKind::CellExecuted, 1)])
        .await;

    let delta = next_json(&outbox).await;
    assert_eq!(delta["type"], "delta");
    assert_eq!(delta["students"][0]["executions"], 1);
    until("stored", || grove.records.rows.lock().unwrap().len() >= 3).await; // the event, session and lesson begun
    until("counted", || grove.series.rows.lock().unwrap().len() >= 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_larger_than_a_mailbox_loses_nothing() {
    let grove = Grove::new();
    let tree = grove.plant().await;

    grove
        .append(
            (0..5_000)
                .map(|number| event("taro", EventKind::CellExecuted, number))
                .collect(),
        )
        .await;
    grove
        .append(vec![event("hanako", EventKind::CellExecuted, 1)])
        .await;

    until("the burst is folded", || runs(&tree, "taro") == 5_000).await;
    until("others too", || runs(&tree, "hanako") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_replays_only_the_tail_and_changes_nothing() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove
        .append(
            (0..50)
                .map(|number| event("taro", EventKind::CellExecuted, number))
                .collect(),
        )
        .await;
    until("folded", || runs(&tree, "taro") == 50).await;
    let offset = || {
        grove
            .snapshots
            .router
            .lock()
            .unwrap()
            .as_ref()
            .map_or(0, |(_, offset)| offset.0)
    };
    until("committed", || offset() >= 50).await;
    let before = tree.registry().view(&key("taro")).unwrap();
    tree.fell(Duration::from_secs(5)).await;

    let tree = grove.plant().await;

    // behind the snapshot is a timer: what came in one burst was put in its place
    until("the tail is replayed", || {
        tree.registry().view(&key("taro")).as_ref() == Some(&before)
    })
    .await;
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 50)])
        .await;
    until("goes on", || runs(&tree, "taro") == 51).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_gets_everything_once_it_is_back() {
    let grove = Grove::new();
    grove.records.is_away.store(true, Ordering::Relaxed);
    let _tree = grove.plant().await;
    grove
        .append(
            (0..10)
                .map(|number| event("taro", EventKind::CellExecuted, number))
                .collect(),
        )
        .await;
    until("tried again", || {
        grove.records.calls.load(Ordering::Relaxed) > 3
    })
    .await;

    grove.records.is_away.store(false, Ordering::Relaxed);

    until("all there", || {
        grove.records.rows.lock().unwrap().len() >= 12
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_a_store_refuses_is_a_dead_letter_and_the_rest_is_stored() {
    let grove = Grove::new();
    *grove.records.refuses.lock().unwrap() = Some(Position(7));
    let _tree = grove.plant().await;

    grove
        .append(
            (0..20)
                .map(|number| event("taro", EventKind::CellExecuted, number))
                .collect(),
        )
        .await;

    until("the rest is stored", || {
        grove.records.rows.lock().unwrap().len() >= 22
    })
    .await;
    assert!(
        !grove
            .records
            .rows
            .lock()
            .unwrap()
            .contains_key(&Position(7))
    );
    let is_letter = |record: &Record| matches!(record, Record::DeadLetter(letter) if letter.position == Position(7));
    until("a dead letter", || {
        grove.journal.records().iter().any(is_letter)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_classroom_that_starts_anew_resets_its_consoles() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;
    until("folded", || runs(&tree, "taro") == 1).await;
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let console = tree.consoles().connect(Arc::clone(&outbox)).unwrap();
    console
        .subscribe(&ClassroomId::new("default"), None)
        .await
        .unwrap();
    let before = next_json(&outbox).await;

    tree.census().restart("classroom/default").unwrap();

    let mut seen = Vec::new();
    let after = loop {
        let frame = next_json(&outbox).await;
        seen.push(frame["type"].as_str().unwrap().to_owned());
        if frame["type"] == "snapshot" {
            break frame;
        }
    };
    assert_eq!(seen[seen.len() - 2..], ["reset", "snapshot"]);
    assert_ne!(before["epoch"], after["epoch"]);
    assert_eq!(after["students"][0]["executions"], 1);
    assert_eq!(after["recent"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn help_ends_by_silence_and_the_status_fades() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove.append(vec![event("taro", EventKind::Help, 1)]).await;
    let status = || {
        tree.registry()
            .view(&key("taro"))
            .map(|view| view.status(grove.clock.heard()))
    };
    until("open", || status() == Some(StudentStatus::Help)).await;

    tokio::time::sleep(Duration::from_secs(35)).await;

    assert_eq!(status(), Some(StudentStatus::Active));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(status(), Some(StudentStatus::Idle));
}

#[tokio::test(start_paused = true)]
async fn every_actor_can_be_restarted_and_stands_in_the_tree() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;
    until("folded", || runs(&tree, "taro") == 1).await;
    let names = [
        "router",
        "records",
        "series",
        "housekeeping",
        "session/default/taro",
        "sessions",
        "writers",
    ];

    for name in names {
        tree.census().restart(name).unwrap();
        tokio::time::sleep(Duration::from_secs(40)).await;
    }

    grove
        .append(vec![event("taro", EventKind::CellExecuted, 2)])
        .await;
    until("folded on", || runs(&tree, "taro") == 2).await;
    until("stored on", || {
        grove.records.rows.lock().unwrap().len() >= 4
    })
    .await;
    let report = serde_json::to_value(tree.census().tree().unwrap()).unwrap();
    assert_eq!(report["name"], "root");
    assert!(
        report["children"]
            .as_array()
            .unwrap()
            .iter()
            .any(|child| child["name"] == "sessions")
    );
    assert_eq!(tree.census().restart("nobody"), Err(RestartError::Unknown));
    assert_eq!(tree.census().restart("root"), Err(RestartError::NotAlone));
    assert_eq!(
        tree.census().restart("journal"),
        Err(RestartError::NotAlone)
    );
}

#[tokio::test(start_paused = true)]
async fn there_is_room_for_so_many_consoles_and_again_when_one_leaves() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let connect = || tree.consoles();
    let outbox = || Arc::new(Outbox::new(OutboxLimits::default()));
    let first = connect().connect(outbox()).unwrap();
    let _second = connect().connect(outbox()).unwrap();

    let third = connect().connect(outbox());
    assert!(third.is_err());
    drop(first);

    assert!(connect().connect(outbox()).is_ok());
}
