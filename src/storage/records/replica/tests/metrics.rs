//! What is counted of the replica, as docs/operations.md promises it.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::*;

const EVERY_REASON: [&str; 6] = ["away", "slow", "failed", "beside", "rests", "changed"];

/// Takes what this thread counts, once it is told so.
pub(in crate::storage::records) fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new().build_recorder()
}

/// A metric of the replica as anybody who asks is told; nothing if it was never touched.
pub(in crate::storage::records) fn told(counted: &PrometheusHandle, name: &str) -> Option<f64> {
    let beginning = format!("mimamori_records_replica_{name} ");
    let text = counted.render();
    let value = text.lines().find_map(|line| line.strip_prefix(&beginning));
    value.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn a_call_is_counted_at_the_server_where_it_begins() {
    let recorder = recorder();
    let counted = recorder.handle();
    let two = Two::new().await;
    let replica = two.kept();
    let _counting = ::metrics::set_default_local_recorder(&recorder);

    drop([two.primary.nearest(), two.primary.nearest()]);
    stands(&replica, Err(Unused::Behind));
    drop(two.primary.nearest());

    assert_eq!(told(&counted, "calls_total{side=\"replica\"}"), Some(2.0));
    assert_eq!(told(&counted, "calls_total{side=\"primary\"}"), Some(1.0));
}

/// Has a call leave for this reason.
async fn leave_for(reason: &str, replica: &Arc<Replica>, call: &Visit) {
    let hang = std::future::pending::<Result<(), RecordsError>>;
    let too_slow = async || Err::<(), _>(RecordsError::TooSlow);
    match reason {
        "away" => {
            let away = async { stands(replica, Err(Unused::Away("no answer".to_owned()))) };
            drop(tokio::join!(call.ask(hang()), away));
        }
        "slow" => drop(call.ask(hang()).await),
        "failed" => {
            let lost = RecordsError::Unavailable(DbErr::Custom("it went away".to_owned()));
            drop(call.ask(async { Err::<(), _>(lost) }).await);
        }
        "beside" => {
            let first = visit(replica);
            let asks = super::told(&first, std::future::pending());
            assert_eq!(
                tokio::join!(asks, super::told(call, edition(7))),
                (None, None)
            );
        }
        "rests" => {
            for _ in 0..3 {
                drop(visit(replica).ask(too_slow()).await);
            }
            drop(call.ask(async { Ok(()) }).await);
        }
        "changed" => {
            let answer = call.ask(async {
                replica.changed();
                Ok(())
            });
            drop(answer.await);
        }
        unknown => unreachable!("{unknown}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_leaves_is_counted_once_by_why() {
    for reason in EVERY_REASON {
        let recorder = recorder();
        let counted = recorder.handle();
        let _counting = ::metrics::set_default_local_recorder(&recorder);
        let replica = seen(level());
        let call = visit(&replica);

        leave_for(reason, &replica, &call).await;
        assert!(!call.is_there(), "{reason}");
        // what it is asked after that is no other failure
        drop(
            call.ask(async { Err::<(), _>(RecordsError::TooSlow) })
                .await,
        );

        let name = format!("failures_total{{reason=\"{reason}\"}}");
        assert_eq!(told(&counted, &name), Some(1.0), "{reason}");
    }
}
