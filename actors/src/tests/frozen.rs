//! Actors that fail or stand still, and what the others notice of it.

use super::*;
use crate::testing::Fault;

/// The kind of step, the actor that takes it, how soon it is found frozen.
const ACTORS: [(&str, &str, Duration); 5] = [
    ("route", "router", Duration::from_secs(3)),
    ("update", "classroom/default", Duration::from_secs(3)),
    ("write", "records", Duration::from_secs(33)),
    ("count", "series", Duration::from_secs(33)),
    ("round", "housekeeping", Duration::from_secs(33)),
];

async fn goes_on(grove: &Grove, tree: &Tree, fault: Fault, step: &'static str, within: Duration) {
    *grove.faults.once.lock().unwrap() = Some((step, fault));
    let begun = tokio::time::Instant::now();
    grove
        .append(vec![
            event("taro", EventKind::CellExecuted, 1),
            event("hanako", EventKind::CellExecuted, 1),
        ])
        .await;
    until("the fault happened", || {
        grove.faults.once.lock().unwrap().is_none()
    })
    .await;
    until("sessions", || {
        runs(tree, "taro") == 1 && runs(tree, "hanako") == 1
    })
    .await;
    let stored = |store: &MemoryStore| {
        let rows = store.rows.lock().unwrap();
        let events = rows.values();
        let is_event =
            |entry: &&Arc<crate::domain::Entry>| matches!(entry.record, Record::Event(_));
        events.filter(is_event).count() == 2
    };
    until("stores", || stored(&grove.records) && stored(&grove.series)).await;
    assert!(begun.elapsed() <= within, "{step}: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn every_actor_that_panics_or_waits_for_ever_is_replaced_and_nothing_is_lost() {
    for fault in [Fault::Panic, Fault::Hang] {
        for (step, name, within) in ACTORS {
            let grove = Grove::new();
            let tree = grove.plant().await;
            let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
            let console = tree.consoles().connect(Arc::clone(&outbox)).unwrap();
            let classroom = ClassroomId::new("default");
            console.subscribe(&classroom, None).await.unwrap();

            goes_on(&grove, &tree, fault, step, within).await;

            let told = told_both(&outbox).await;
            assert!(told <= within, "{step}: told after {told:?}");
            until("it stands in the tree", || {
                report(&tree, name)["restarts"] == 1
            })
            .await;
            let own = report(&tree, name);
            let error = own["lastError"].as_str().unwrap();
            assert_eq!(error.contains("frozen"), fault == Fault::Hang, "{error}");
            assert_eq!(own["state"], "running");
        }
    }
}

/// How long it takes until the console knows of both students' runs.
async fn told_both(outbox: &Outbox) -> Duration {
    let begun = tokio::time::Instant::now();
    let mut known = std::collections::BTreeSet::new();
    while known.len() < 2 {
        let next = tokio::time::timeout(Duration::from_secs(60), next_json(outbox));
        let frame = next.await.expect("consoles are told");
        for student in frame["students"].as_array().into_iter().flatten() {
            if student["executions"] == 1 {
                known.insert(student["id"].as_str().unwrap().to_owned());
            }
        }
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_session_that_stands_still_is_shown_counted_and_replaced_while_others_go_on() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    *grove.faults.once.lock().unwrap() = Some(("fold", Fault::Hang));
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;
    tokio::time::sleep(Duration::from_millis(1_020)).await;
    assert_eq!(report(&tree, "session/default/taro")["state"], "frozen");

    grove
        .append(vec![event("hanako", EventKind::CellExecuted, 1)])
        .await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(runs(&tree, "hanako"), 1, "she waits for nobody");

    until("taro goes on", || runs(&tree, "taro") == 1).await;
    let own = report(&tree, "session/default/taro");
    assert_eq!(own["restarts"], 1);
    assert!(own["lastError"].as_str().unwrap().contains("frozen"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_whole_process_freezes_nobody() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    *grove.faults.once.lock().unwrap() = Some(("fold", Fault::Hang));
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;
    until("in hand", || grove.faults.once.lock().unwrap().is_none()).await;
    // the watchdog has looked
    tokio::time::sleep(Duration::from_millis(300)).await;

    // no task runs meanwhile, the clock does
    tokio::time::advance(Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;

    assert_eq!(report(&tree, "session/default/taro")["restarts"], 0);
    until("later it is found", || runs(&tree, "taro") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_room_in_the_journal_is_no_standstill() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let is_full = &grove.journal.is_full;
    let waits_for_room = async |name: &str| {
        tokio::time::sleep(Duration::from_secs(100)).await;
        let own = report(&tree, name);
        assert!(own["oldestMessageMs"].as_u64() > Some(0), "it waits: {own}");
        assert_eq!(own["restarts"], 0, "{own}");
    };

    // the first event begins a lesson: that is the router's to write
    is_full.store(true, Ordering::Relaxed);
    let first = event("taro", EventKind::CellExecuted, 1);
    grove.append(vec![first]).await;
    waits_for_room("router").await;

    // that there is a request for help is the session's
    is_full.store(false, Ordering::Relaxed);
    until("taro is there", || runs(&tree, "taro") == 1).await;
    is_full.store(true, Ordering::Relaxed);
    grove.append(vec![event("taro", EventKind::Help, 2)]).await;
    waits_for_room("session/default/taro").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_that_refuses_one_row_of_four_gets_the_others_from_one_and_the_same_writer() {
    for refused in 1..=4 {
        let grove = Grove::new();
        let tree = grove.plant().await;
        let run = |number| event("taro", EventKind::CellExecuted, number);
        grove.append(vec![run(0)]).await;
        // what the first event begins is told and written
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = grove.journal.end().borrow().0;
        let refused = Position(before + refused);

        *grove.records.takes.lock().unwrap() = Duration::from_secs(20);
        *grove.records.refuses.lock().unwrap() = Some(refused);
        grove.append((1..=4).map(run).collect()).await;
        // the four, both halves, both of one and an offset between or behind
        // them: two minutes; and then the dead letter
        tokio::time::sleep(Duration::from_secs(150)).await;

        let stored: Vec<_> = grove.records.rows.lock().unwrap().keys().copied().collect();
        let all = (1..=before + 5).map(Position);
        assert_eq!(stored, all.filter(|at| *at != refused).collect::<Vec<_>>());
        let records = grove.journal.records();
        let letters = records.iter().filter_map(|record| match record {
            Record::DeadLetter(letter) => Some((letter.consumer.as_str(), letter.position)),
            _ => None,
        });
        assert_eq!(letters.collect::<Vec<_>>(), [("records", refused)]);
        let own = report(&tree, "records");
        assert_eq!(own["restarts"], 0, "{own}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_fails_too_often_takes_its_parent_with_it_and_the_root_is_the_last() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    for _ in 0..6 {
        *grove.faults.once.lock().unwrap() = Some(("round", Fault::Panic));
        until("failed", || grove.faults.once.lock().unwrap().is_none()).await;
    }

    // housekeeping stands right below the root
    let mut tree = tree;
    assert!(tree.ended().await.contains("too often"));
}

#[tokio::test(start_paused = true)]
async fn a_parked_student_costs_no_reads_and_holds_up_nobody() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    *grove.faults.once.lock().unwrap() = Some(("fold", Fault::Hang));
    let many = (0..2_000).map(|number| event("taro", EventKind::CellExecuted, number));
    grove.append(many.collect()).await;
    // taro's mailbox is full, and his session frozen, but not yet found
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = grove.journal.reads.load(Ordering::Relaxed);

    for number in 0..60 {
        let begun = tokio::time::Instant::now();
        grove
            .append(vec![event("hanako", EventKind::CellExecuted, number)])
            .await;
        until("hanako", || runs(&tree, "hanako") == number + 1).await;
        assert!(begun.elapsed() < Duration::from_millis(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let reads = grove.journal.reads.load(Ordering::Relaxed) - before;
    // those of the router and of both writers, and nothing for taro
    assert!(reads <= 60 * 6, "{reads} reads");
    until("taro goes on", || runs(&tree, "taro") == 2_000).await;
}

#[tokio::test(start_paused = true)]
async fn while_a_classroom_stands_still_its_sessions_wait_and_then_everything_moves() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    *grove.faults.once.lock().unwrap() = Some(("update", Fault::Hang));

    // more than the mailboxes of classroom and sessions hold
    for student in 0..10 {
        let name = format!("s{student}");
        let many = (0..1_500).map(|number| event(&name, EventKind::CellExecuted, number));
        grove.append(many.collect()).await;
    }

    let begun = tokio::time::Instant::now();
    for student in 0..10 {
        let name = format!("s{student}");
        until("all folded", || runs(&tree, &name) == 1_500).await;
        let restarts = report(&tree, &format!("session/default/{name}"))["restarts"].clone();
        assert_eq!(restarts, 0, "who waits for another is not frozen");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(report(&tree, "classroom/default")["restarts"], 1);
}
