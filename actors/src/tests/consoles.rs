//! What consoles are told, and that they share what they are told.

use bytes::Bytes;

use super::*;
use crate::live::Console;
use crate::outbox::CloseCode;
use crate::testing::Fault;

struct Page {
    outbox: Arc<Outbox>,
    console: Box<dyn Console>,
}

fn page(tree: &Tree) -> Page {
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let console = tree.consoles().connect(Arc::clone(&outbox)).unwrap();
    Page { outbox, console }
}

impl Page {
    async fn subscribe(&self) -> Bytes {
        self.console
            .subscribe(&ClassroomId::new("default"), None)
            .await
            .unwrap();
        self.frame().await
    }

    async fn frame(&self) -> Bytes {
        match self.outbox.next().await {
            Item::Frame(frame) => frame,
            other @ (Item::Resnapshot(_) | Item::Closed(_)) => panic!("no frame but {other:?}"),
        }
    }

    /// The types of the frames that come within this time.
    async fn types_within(&self, within: Duration) -> Vec<String> {
        let mut types = Vec::new();
        let deadline = tokio::time::Instant::now() + within;
        while let Ok(frame) = tokio::time::timeout_at(deadline, self.frame()).await {
            let frame: Value = serde_json::from_slice(&frame).unwrap();
            types.push(frame["type"].as_str().unwrap().to_owned());
        }
        types
    }
}

async fn run_of(grove: &Grove, student: &str, number: u64) {
    let run = event(student, EventKind::CellExecuted, number);
    grove.append(vec![run]).await;
}

#[tokio::test(start_paused = true)]
async fn consoles_that_open_together_share_one_snapshot() {
    let mut grove = Grove::new();
    grove.max_consoles = 300;
    let tree = grove.plant().await;
    run_of(&grove, "taro", 1).await;
    until("folded", || runs(&tree, "taro") == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let pages: Vec<_> = (0..300).map(|_| page(&tree)).collect();
    let mut openings = Vec::new();
    for page in &pages {
        openings.push(page.subscribe().await);
    }

    let first = openings[0].as_ptr();
    assert!(openings.iter().all(|opening| opening.as_ptr() == first));
}

#[tokio::test(start_paused = true)]
async fn when_the_router_does_not_move_consoles_are_told_once_and_healed_by_the_next_delta() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    run_of(&grove, "taro", 1).await;
    until("folded", || runs(&tree, "taro") == 1).await;
    let page = page(&tree);
    page.subscribe().await;
    page.types_within(Duration::from_secs(60)).await;

    grove.journal.hangs.store(true, Ordering::Relaxed);
    run_of(&grove, "taro", 2).await;
    let early = page.types_within(Duration::from_secs(4)).await;
    let later = page.types_within(Duration::from_secs(20)).await;
    grove.journal.hangs.store(false, Ordering::Relaxed);
    let healed = page.types_within(Duration::from_secs(20)).await;

    assert!(early.is_empty(), "{early:?}");
    assert_eq!(later, ["stale"]);
    assert_eq!(healed[0], "delta");
    assert!(!healed.contains(&"stale".to_owned()), "{healed:?}");
}

#[tokio::test(start_paused = true)]
async fn when_a_classroom_does_not_come_back_its_consoles_and_those_that_wait_for_it_are_told() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    run_of(&grove, "taro", 1).await;
    until("folded", || runs(&tree, "taro") == 1).await;
    let watching = page(&tree);
    watching.subscribe().await;
    watching.types_within(Duration::from_secs(60)).await;

    grove.journal.hangs.store(true, Ordering::Relaxed);
    tree.census().restart("classroom/default").unwrap();
    let waiting = page(&tree);
    let refused = waiting
        .console
        .subscribe(&ClassroomId::new("default"), None)
        .await;
    let told = watching.types_within(Duration::from_secs(30)).await;
    let told_waiting = waiting.types_within(Duration::from_secs(1)).await;
    grove.journal.hangs.store(false, Ordering::Relaxed);
    let healed = watching.types_within(Duration::from_secs(30)).await;

    assert!(refused.is_err());
    assert_eq!(told, ["stale"]);
    assert_eq!(told_waiting, ["stale"]);
    assert_eq!(healed[..2], ["reset", "snapshot"]);
    assert!(!healed.contains(&"stale".to_owned()), "{healed:?}");
}

#[tokio::test(start_paused = true)]
async fn when_a_session_sits_on_what_it_was_handed_consoles_are_told_from_when_on() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    run_of(&grove, "hanako", 1).await;
    until("folded", || runs(&tree, "hanako") == 1).await;
    let page = page(&tree);
    page.subscribe().await;

    // its fact finds no room, and what comes after it waits in its mailbox
    grove.journal.is_full.store(true, Ordering::Relaxed);
    grove.append(vec![event("taro", EventKind::Help, 1)]).await;
    run_of(&grove, "taro", 2).await;
    assert_eq!(page.types_within(Duration::from_secs(1)).await, ["delta"]);
    let before = grove.clock.now();
    let stale: Value = serde_json::from_slice(&page.frame().await).unwrap();

    assert_eq!(stale["type"], "stale");
    assert_eq!(stale["classroom"], "default");
    let silent = grove.clock.now().since(before);
    assert!(silent < Duration::from_secs(6), "told after {silent:?}");
    assert!(stale["since"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_ended_from_the_tree_by_its_name() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let (ended, other) = (page(&tree), page(&tree));
    let report = serde_json::to_value(tree.census().tree().unwrap()).unwrap();
    let consoles = report["children"].as_array().unwrap().iter();
    let consoles = consoles
        .filter(|child| child["name"] == "consoles")
        .collect::<Vec<_>>()[0];
    let name = consoles["children"][0]["name"].as_str().unwrap();

    tree.census().restart(name).unwrap();

    let closed = [&ended, &other].map(|page| page.outbox.closed());
    assert!(closed.contains(&Some(CloseCode::Draining)));
    assert!(closed.contains(&None));
    assert_eq!(consoles["childCount"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_gives_its_seat_back_and_costs_nobody_else_anything() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let watching = page(&tree);
    watching.subscribe().await;
    let failing = page(&tree);
    let outbox = Arc::clone(&failing.outbox);

    *grove.faults.once.lock().unwrap() = Some(("subscribe", Fault::Panic));
    let task = tokio::spawn(async move { failing.subscribe().await });
    assert!(task.await.unwrap_err().is_panic());
    run_of(&grove, "taro", 1).await;

    assert_eq!(outbox.closed(), Some(CloseCode::Draining));
    assert_eq!(watching.types_within(Duration::from_secs(1)).await.len(), 1);
    drop(page(&tree)); // there are two seats
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_waits_for_what_never_comes_goes_on_after_five_seconds() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let page = page(&tree);
    *grove.faults.once.lock().unwrap() = Some(("subscribe", Fault::Hang));
    let begun = tokio::time::Instant::now();

    let classroom = ClassroomId::new("default");
    let answer = page.console.subscribe(&classroom, None).await;

    assert!(answer.is_err());
    assert!(begun.elapsed() < Duration::from_secs(6));
    assert_eq!(page.outbox.closed(), None);
    page.subscribe().await;
}
