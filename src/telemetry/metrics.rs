//! The recorder behind every `metrics::counter!`: kept in memory, read as Prometheus text.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::{MissedTickBehavior, interval};

/// From half a millisecond to half a minute: an fsync on an idle disk, and a store's time-out.
const SECONDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
const COUNTS: [f64; 12] = [
    1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0, 25_000.0,
];
const BYTES: [f64; 9] = [
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

/// Samples wait in memory until they are sorted into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Installs the recorder for the whole process; once.
///
/// Histograms whose names end in `_seconds`, `_bytes` or anything else get
/// buckets for times, sizes and counts.
///
/// # Errors
/// When there is a recorder already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    metrics::gauge!("mimamori_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// A handle on a recorder of its own, which records nothing: for tests of routes.
pub fn detached() -> PrometheusHandle {
    PrometheusBuilder::new().build_recorder().handle()
}

/// Keeps the recorder's memory bounded: run it beside the server for as long as it lives.
pub async fn keep_up(handle: PrometheusHandle) {
    let mut ticks = interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let ending = |text: &str| Matcher::Suffix(text.to_owned());
    PrometheusBuilder::new()
        .set_buckets(&COUNTS)?
        .set_buckets_for_metric(ending("_seconds"), &SECONDS)?
        .set_buckets_for_metric(ending("_bytes"), &BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_goes_into_buckets_of_seconds() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();

        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("mimamori_test_wait_seconds").record(0.004);
            metrics::histogram!("mimamori_test_batch_events").record(40.0);
            metrics::counter!("mimamori_test_things_total").increment(2);
        });

        let text = handle.render();
        for line in [
            "mimamori_test_wait_seconds_bucket{le=\"0.0025\"} 0",
            "mimamori_test_wait_seconds_bucket{le=\"0.005\"} 1",
            "mimamori_test_batch_events_bucket{le=\"25\"} 0",
            "mimamori_test_batch_events_bucket{le=\"50\"} 1",
            "mimamori_test_things_total 2",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
