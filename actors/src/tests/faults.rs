//! What breaks, and what comes of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_nobodys_fault_and_facts_wait_for_room() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove.journal.is_full.store(true, Ordering::Relaxed);
    grove
        .append(vec![
            event("taro", EventKind::Help, 1),
            event("taro", EventKind::CellExecuted, 2),
        ])
        .await;
    tokio::time::sleep(Duration::from_secs(20)).await;

    grove.journal.is_full.store(false, Ordering::Relaxed);

    until("the session goes on", || runs(&tree, "taro") == 1).await;
    let records = grove.journal.records();
    let is_letter = |record: &&Record| matches!(record, Record::DeadLetter(_));
    assert_eq!(records.iter().filter(is_letter).count(), 0);
    let is_help = |record: &Record| matches!(record, Record::Fact(fact) if matches!(fact.kind, FactKind::HelpOpened { .. }));
    assert!(grove.journal.records().iter().any(is_help));
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_snapshot_cannot_be_read_is_folded_again_from_the_journal() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove
        .append(
            (0..5)
                .map(|number| event("taro", EventKind::CellExecuted, number))
                .collect(),
        )
        .await;
    let offset = || {
        grove
            .snapshots
            .router
            .lock()
            .unwrap()
            .as_ref()
            .map_or(0, |(_, offset)| offset.0)
    };
    until("committed", || offset() >= 5).await;
    tree.fell(Duration::from_secs(5)).await;
    grove
        .snapshots
        .put_session(&key("taro"), b"from another world")
        .unwrap();

    let tree = grove.plant().await;
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 5)])
        .await;

    until("folded from the beginning", || runs(&tree, "taro") == 6).await;
    let end = grove.journal.end().borrow().0;
    until("committed on", || offset() >= end).await;
}

#[tokio::test(start_paused = true)]
async fn consoles_of_a_supervisor_that_ended_are_told_to_come_back() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let _console = tree.consoles().connect(Arc::clone(&outbox)).unwrap();

    tree.census().restart("consoles").unwrap();

    until("closed", || outbox.closed().is_some()).await;
    let again = Arc::new(Outbox::new(OutboxLimits::default()));
    let console = tree.consoles().connect(Arc::clone(&again)).unwrap();
    console
        .subscribe(&ClassroomId::new("default"), None)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn restarts_that_a_person_asks_for_cost_nothing() {
    let grove = Grove::new();
    let tree = grove.plant().await;

    for _ in 0..20 {
        for name in ["records", "router", "classrooms", "sessions"] {
            tree.census().restart(name).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;
    until("still there", || runs(&tree, "taro") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn rounds_of_housekeeping_do_not_breed_with_restarts() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    for _ in 0..10 {
        tree.census().restart("housekeeping").unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let rounds = || {
        let report = serde_json::to_value(tree.census().tree().unwrap()).unwrap();
        let children = report["children"].as_array().unwrap().clone();
        let own = children
            .iter()
            .find(|child| child["name"] == "housekeeping")
            .unwrap();
        own["processed"].as_u64().unwrap()
    };
    let before = rounds();

    tokio::time::sleep(Duration::from_secs(10)).await;

    assert!(
        (9..=11).contains(&(rounds() - before)),
        "{} rounds in 10 s",
        rounds() - before
    );
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_fails_too_often_ends_and_can_still_be_felled() {
    let grove = Grove::new();
    let mut tree = grove.plant().await;

    tree.census().kill_root();

    tree.ended().await;
    tree.fell(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_the_journal_went_on_without_is_filled_from_the_records() {
    let grove = Grove::new();
    grove.series.is_away.store(true, Ordering::Relaxed);
    let tree = grove.plant().await;
    let events = |numbers: std::ops::Range<u64>| {
        let one = |number| event("taro", EventKind::CellExecuted, number);
        numbers.map(one).collect::<Vec<_>>()
    };
    grove.append(events(0..6)).await;
    let stored = |store: &MemoryStore| store.rows.lock().unwrap().len();
    let kept = grove.journal.all().len();
    until("the records go on", || stored(&grove.records) >= kept).await;
    until("the series are degraded", || {
        tree.census().degraded() == ["series"]
    })
    .await;

    grove.journal.trimmed_through.store(4, Ordering::Relaxed);
    grove.series.is_away.store(false, Ordering::Relaxed);
    grove.append(events(6..9)).await;

    until("both have everything", || {
        let all = grove.journal.all().len();
        stored(&grove.series) == all && stored(&grove.records) == all
    })
    .await;
    until("nothing is degraded", || {
        tree.census().degraded().is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgot_is_asked_how_far_it_is_and_filled_again() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let event = |number| event("taro", EventKind::CellExecuted, number);
    grove.append((0..6).map(event).collect()).await;
    let stored = || grove.series.rows.lock().unwrap().len();
    until("the series have all", || {
        stored() == grove.journal.all().len()
    })
    .await;

    grove.series.forgets.store(true, Ordering::Relaxed);
    grove.append(vec![event(6)]).await;

    until("the series have all again", || {
        stored() == grove.journal.all().len() && tree.census().degraded().is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_beyond_the_end_of_the_journal_is_told_of_and_takes_nothing() {
    let grove = Grove::new();
    *grove.series.known.lock().unwrap() = Some(Position(1_000));
    let tree = grove.plant().await;

    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;

    until("the series are named", || {
        tree.census().degraded() == ["series"]
    })
    .await;
    assert_eq!(grove.series.calls.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_named_within_5_seconds_and_waited_for() {
    let grove = Grove::new();
    *grove.records.takes.lock().unwrap() = Duration::from_secs(20);
    let tree = grove.plant().await;
    let began = tokio::time::Instant::now();
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;

    until("the records are named", || {
        tree.census().degraded() == ["records"]
    })
    .await;

    assert!(began.elapsed() < Duration::from_secs(5));
    *grove.records.takes.lock().unwrap() = Duration::ZERO;
    until("nothing is degraded", || {
        tree.census().degraded().is_empty()
    })
    .await;
    assert!(!grove.records.rows.lock().unwrap().is_empty());
    assert!(
        began.elapsed() < Duration::from_secs(21),
        "it was waited for"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_a_slow_store_cannot_take_in_time_comes_in_smaller_ones() {
    let grove = Grove::new();
    grove.records.is_away.store(true, Ordering::Relaxed);
    let tree = grove.plant().await;
    let event = |number| event("taro", EventKind::CellExecuted, number);
    grove.append((0..3_000).map(event).collect()).await;
    until("the records are named", || {
        tree.census().degraded() == ["records"]
    })
    .await;

    // all of them would take 36 s, and nobody waits for an answer so long
    *grove.records.takes_an_entry.lock().unwrap() = Duration::from_millis(12);
    grove.records.is_away.store(false, Ordering::Relaxed);

    until("all of it is there", || {
        grove.records.rows.lock().unwrap().len() >= 3_000 && tree.census().degraded().is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_while_nothing_happens_is_named_within_5_seconds_until_it_is_back() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(tree.census().degraded().is_empty());

    for hangs in [false, true] {
        let began = tokio::time::Instant::now();
        if hangs {
            *grove.records.takes.lock().unwrap() = Duration::from_secs(3_600);
        } else {
            grove.records.is_away.store(true, Ordering::Relaxed);
        }
        until("the records are named", || {
            tree.census().degraded() == ["records"]
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(5), "{hangs}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(tree.census().degraded(), ["records"], "{hangs}");

        *grove.records.takes.lock().unwrap() = Duration::ZERO;
        grove.records.is_away.store(false, Ordering::Relaxed);
        let back = tokio::time::Instant::now();
        until("nothing is degraded", || {
            tree.census().degraded().is_empty()
        })
        .await;
        assert!(back.elapsed() < Duration::from_secs(6), "{hangs}");
    }
    let written = grove.records.calls.load(Ordering::Relaxed);
    assert_eq!(written, 0, "nothing was to be written");
}

#[tokio::test(start_paused = true)]
async fn a_store_is_asked_whether_it_is_there_only_when_it_had_nothing_to_write_for_2_seconds() {
    let grove = Grove::new();
    let _tree = grove.plant().await;
    let checks = || grove.records.checks.load(Ordering::Relaxed);

    for number in 0..20 {
        grove
            .append(vec![event("taro", EventKind::CellExecuted, number)])
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(checks(), 0);

    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!((9..=10).contains(&checks()), "{}", checks());
}

#[tokio::test(start_paused = true)]
async fn what_comes_to_a_store_that_went_away_meanwhile_is_written_when_it_is_back() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove.records.is_away.store(true, Ordering::Relaxed);
    until("the records are named", || {
        tree.census().degraded() == ["records"]
    })
    .await;

    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(tree.census().degraded(), ["records"]);
    grove.records.is_away.store(false, Ordering::Relaxed);

    until("all of it is there", || {
        let all = grove.journal.all().len();
        all > 0 && grove.records.rows.lock().unwrap().len() == all
    })
    .await;
    assert!(tree.census().degraded().is_empty());
}
