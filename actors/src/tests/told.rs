//! A classroom is told of what changes what is seen, and of nothing else.

use super::*;
use crate::domain::TimerCause;

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_is_told_to_nobody_and_its_timer_comes_once() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;
    until("folded", || runs(&tree, "taro") == 1).await;
    let told = || grove.faults.told.lock().unwrap().clone();

    tokio::time::sleep(Duration::from_secs(60 * 60)).await;

    let records = grove.journal.records();
    let is_ended = |record: &&Record| matches!(record, Record::Fact(fact) if matches!(fact.kind, FactKind::SessionEnded { .. }));
    let is_timer = |record: &&Record| matches!(record, Record::Timer(timer) if matches!(timer.cause, TimerCause::SessionSilent { .. }));
    assert_eq!(records.iter().filter(is_ended).count(), 1);
    assert_eq!(records.iter().filter(is_timer).count(), 1);
    assert_eq!(told(), [Position(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_silence_that_nobody_was_told_of_is_not_timed_again_after_a_restart() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    grove
        .append(vec![event("taro", EventKind::CellExecuted, 1)])
        .await;
    tokio::time::sleep(Duration::from_secs(29 * 60)).await;
    let is_timer = |record: &&Record| matches!(record, Record::Timer(timer) if matches!(timer.cause, TimerCause::SessionSilent { .. }));
    let timers = || grove.journal.records().iter().filter(is_timer).count();
    assert!(grove.snapshots.session(&key("taro")).unwrap().is_some());
    until("the session is over", || timers() == 1).await;
    // before it is saved: the next tree begins with a session that is not over
    tree.fell(Duration::from_secs(5)).await;

    let _tree = grove.plant().await;
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;

    assert_eq!(timers(), 1);
}
