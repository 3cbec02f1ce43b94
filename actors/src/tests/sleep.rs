//! Sessions that sleep: the state in the snapshots, the actor gone.

use super::*;

fn is_awake(tree: &Tree, student: &str) -> bool {
    let all = serde_json::to_value(tree.census().tree().unwrap()).unwrap();
    find(&all, &format!("session/default/{student}")).is_some()
}

#[tokio::test(start_paused = true)]
async fn a_session_without_an_event_for_five_minutes_sleeps_and_wakes_where_it_was() {
    let grove = Grove::new();
    let tree = grove.plant().await;
    let ran = |number| event("taro", EventKind::CellExecuted, number);
    grove.append((0..20).map(ran).collect()).await;
    until("folded", || runs(&tree, "taro") == 20).await;
    assert!(is_awake(&tree, "taro"));

    tokio::time::sleep(Duration::from_secs(6 * 60)).await;
    until("asleep", || !is_awake(&tree, "taro")).await;
    let asleep = tree.registry().view(&key("taro")).unwrap();
    grove.append(vec![ran(20)]).await;
    until("awake", || runs(&tree, "taro") == 21).await;

    assert!(is_awake(&tree, "taro"));
    let awake = tree.registry().view(&key("taro")).unwrap();
    assert_eq!((asleep.executions, asleep.errors), (20, 0));
    assert_eq!(
        (&awake.notebook, &awake.name),
        (&asleep.notebook, &asleep.name)
    );
    assert!(grove.snapshots.session(&key("taro")).unwrap().is_some());
}
