//! Ten times the peak for ten minutes: is the memory level?

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::crowd::{self, Crowd, Load, consoles, lasts, resident_mib, until_lag_is_below};
use crate::it::harness::Server;
use crate::report::{Drill, Figure, Outcome};

const LOAD: Load = Load {
    connections: 64,
    batch: 10,
    students: 10_000,
    rate: Some(5_000),
};
const CONSOLES: usize = 200;
/// Level is what grows by no more than this, after the beginning.
const MAY_GROW: f64 = 1.10;

pub fn drill() -> Drill {
    Drill::new(
        "memory",
        format!(
            "10,000 students and 200 consoles, 5,000 events/s for {} s",
            length().as_secs()
        ),
        "resident memory level after the first fifth of the time",
        run,
    )
}

/// Ten minutes; shorter than one there is no beginning to leave out.
fn length() -> Duration {
    lasts(600).max(Duration::from_secs(60))
}

async fn run() -> Outcome {
    let lasts = length();
    let server = Server::start().await;
    let epoch = Instant::now();
    let nobody = Arc::new(());
    let watching = consoles(&server, CONSOLES, epoch, &nobody).await;
    let crowd = Crowd::begin(server.address, LOAD, epoch, &nobody);
    let mut samples: Vec<(Duration, f64)> = Vec::new();
    let every = Duration::from_secs(2);
    let mut next = epoch + every;
    while epoch.elapsed() < lasts {
        sleep_until(next).await;
        next += every;
        samples.push((epoch.elapsed(), resident_mib(&server)));
        if samples.len().is_multiple_of(15) {
            let (at, mib) = samples[samples.len() - 1];
            let sent = crowd.acknowledged();
            println!("  after {at:.0?}: {mib:.0} MiB resident, {sent} events acknowledged");
        }
    }
    let sent = crowd.stop().await;
    drop(watching);

    // a fifth of the time is the beginning: two minutes of ten
    let early = median(&samples, lasts / 5, lasts * 3 / 10);
    let late = median(&samples, lasts * 9 / 10, lasts);
    let api = server.api();
    let caught_up = until_lag_is_below(&api, "records", 0, Duration::from_secs(300)).await;
    let counted = crowd::count(server.dir(), &sent, caught_up).await;
    Outcome::counted(counted).with(Figure {
        what: "resident memory, the last tenth against the third".to_owned(),
        value: format!("{late:.0} MiB, {:.2} × {early:.0}", late / early),
        target: format!("≤ {MAY_GROW:.2} ×"),
        is_met: late <= early * MAY_GROW,
    })
}

fn median(samples: &[(Duration, f64)], from: Duration, to: Duration) -> f64 {
    let mut found: Vec<f64> = samples
        .iter()
        .filter(|(at, _)| (from..=to).contains(at))
        .map(|(_, mib)| *mib)
        .collect();
    found.sort_by(f64::total_cmp);
    found[found.len() / 2]
}
