//! From the event to the console: 500 events/s to 200 consoles.

use std::time::Duration;

use tokio::time::Instant;

use crate::consoles::{run, whole_chain};
use crate::disk::fdatasync_loop;
use crate::figures::verdict;
use crate::ingest::settle;
use crate::server::Server;

const CONSOLES: usize = 200;
const RATE: u64 = 500;
const LASTS: Duration = Duration::from_secs(20);

/// Every event of a class of 200 to every console, and what it costs.
pub async fn to_200_consoles() -> anyhow::Result<bool> {
    println!("event to console, {RATE} events/s, {CONSOLES} consoles, for {LASTS:?}");
    settle().await;
    let server = Server::real()?;
    let mut f = fdatasync_loop(&server.dir, Duration::from_secs(3))?;
    let crowd = run(&server, CONSOLES, RATE, LASTS, Instant::now()).await?;
    f.merge(fdatasync_loop(&server.dir, Duration::from_secs(3))?);

    let f = f.per_mille(990);
    let mut all = crowd.heard.latencies();
    let deliveries = all.count() as f64;
    let omitted = crowd.heard.omitted();
    println!("  {}; {omitted} merged away; f {f:.2} ms", all.summary());
    let told = u64::try_from(all.count())? + omitted;
    let expected = u64::try_from(CONSOLES)? * RATE * LASTS.as_secs();
    anyhow::ensure!(told == expected, "{told} of {expected} events were told");
    let (p99, target) = (all.per_mille(990), 20.0 + 2.0 * f);
    let is_fast = verdict(
        "p99 in ms",
        p99,
        p99 < target,
        &format!("< 20 ms + 2f = {target:.2}"),
    );
    let per_million = crowd.cpu / deliveries * 1e6;
    let is_cheap = verdict(
        "CPU seconds a million deliveries, ingest and storing included",
        per_million,
        per_million <= 1.5,
        "≤ 1.5",
    );
    Ok(is_fast & is_cheap & whole_chain(&crowd.heard))
}
