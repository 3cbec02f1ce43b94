//! What is told of the looks, in metrics; how they judge is shown beside the judge.

use tokio::time::advance;

use super::super::tests::metrics::{recorder, told};
use super::*;

fn watch(known: Arc<Replica>) -> Watch {
    let nowhere = PostgresAddress {
        url: "postgres://nobody@127.0.0.1:1/nowhere".parse().unwrap(),
        max_connections: 2,
    };
    Watch::new(known, &nowhere, &nowhere, Box::new(|_| {})).unwrap()
}

/// A replica that has everything of now.
fn level() -> (Run, Level) {
    let mut judge = Judge::default();
    let end = LogPlace(7);
    let seen = judge.look(Instant::now(), Some(end), end).unwrap();
    let pool = DatabaseConnection::default();
    let level = Level {
        pool: pool.clone(),
        through: seen.through,
        is_alone: seen.is_alone,
    };
    (Run { judge, pool }, level)
}

#[tokio::test(start_paused = true)]
async fn it_is_told_whether_it_is_read_how_far_it_was_behind_and_how_often_it_was_given_up() {
    let recorder = recorder();
    let counted = recorder.handle();
    let _counting = ::metrics::set_default_local_recorder(&recorder);
    let known = Arc::new(Replica::new());
    let mut watch = watch(Arc::clone(&known));
    let all = || ["used_bool", "lag_seconds", "losses_total"].map(|name| told(&counted, name));

    watch.publish(Err(Unused::Unseen));
    assert_eq!(all(), [Some(0.0), None, None]);

    let (run, level) = level();
    watch.run = Some(run);
    advance(Duration::from_millis(250)).await;
    watch.publish(Ok(level.clone()));
    assert_eq!(all(), [Some(1.0), Some(0.25), None]);

    advance(Duration::from_secs(1)).await;
    watch.publish(Err(Unused::Behind));
    assert_eq!(all(), [Some(0.0), Some(1.25), Some(1.0)]);

    // it was given up before, and does not say how far it is
    advance(Duration::from_secs(1)).await;
    watch.publish(Err(Unused::Away("no answer".to_owned())));
    assert_eq!(all(), [Some(0.0), Some(1.25), Some(1.0)]);

    // it answers the looks, and nobody else
    for _ in 0..3 {
        known.breaker.failed();
    }
    watch.publish(Ok(level));
    assert_eq!(all(), [Some(0.0), Some(2.25), Some(1.0)]);
}
