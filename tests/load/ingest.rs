//! Ingest: throughput against the same route without a journal, and latency in an open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::client::{Connection, execution};
use crate::disk::fdatasync_loop;
use crate::figures::{Latencies, verdict};
use crate::server::{KEY, Server};

const CONNECTIONS: usize = 256;
const BATCH: usize = 10;
const ROUND: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;

/// 256 connections that post batches of 10 as fast as they are answered.
pub async fn throughput() -> anyhow::Result<bool> {
    println!(
        "ingest, {CONNECTIONS} connections, batches of {BATCH}, {ROUNDS} alternating rounds of {ROUND:?}"
    );
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let bare = Server::without_journal()?;
        without.push(events_per_second(&bare, &format!("w{round}")).await?);
        drop(bare);
        let real = Server::real()?;
        let f = fdatasync_loop(&real.dir, Duration::from_secs(1))?.per_mille(990);
        with.push(events_per_second(&real, &format!("r{round}")).await?);
        println!(
            "  round {}: {:.0} events/s on disk and folded, stored, counted; {:.0} without journal; f {f:.2} ms",
            round + 1,
            with[round],
            without[round]
        );
    }
    let ratio = median(&mut with) / median(&mut without);
    Ok(verdict(
        "ingest on disk, all consumers running, against the same route without journal",
        ratio,
        ratio >= 0.5,
        "≥ 0.5",
    ))
}

async fn events_per_second(server: &Server, round: &str) -> anyhow::Result<f64> {
    let accepted = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + ROUND;
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (accepted, round, address) =
                (Arc::clone(&accepted), round.to_owned(), server.address);
            tokio::spawn(async move {
                let mut connection = Connection::open(address, KEY).await?;
                for request in 0u64.. {
                    if Instant::now() >= until {
                        break;
                    }
                    let events: Vec<_> = (0..BATCH)
                        .map(|nth| execution(number, &format!("{round}-{number}-{request}-{nth}")))
                        .collect();
                    match connection
                        .post_events(&format!("[{}]", events.join(",")))
                        .await?
                    {
                        202 => accepted.fetch_add(BATCH as u64, Ordering::Relaxed),
                        503 => 0,
                        status => anyhow::bail!("answered {status}"),
                    };
                }
                Ok(())
            })
        })
        .collect();
    for sender in senders {
        sender.await??;
    }
    Ok(accepted.load(Ordering::Relaxed) as f64 / ROUND.as_secs_f64())
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// 300 requests a second whether or not the ones before are answered; the latency counts from when a request was due.
pub async fn latency() -> anyhow::Result<bool> {
    const RATE: u64 = 300;
    const LASTS: Duration = Duration::from_secs(20);
    println!("ingest, open loop, {RATE} requests/s of one event for {LASTS:?}");
    let server = Server::real()?;
    let mut f = fdatasync_loop(&server.dir, Duration::from_secs(3))?;
    let (latencies, mut measured) = tokio::sync::mpsc::channel(1024);
    let begun = Instant::now() + Duration::from_millis(200);
    for lane in 0..RATE {
        let (latencies, address) = (latencies.clone(), server.address);
        tokio::spawn(async move {
            let mut connection = Connection::open(address, KEY).await?;
            for second in 0..LASTS.as_secs() {
                let due = begun
                    + Duration::from_secs(second)
                    + Duration::from_micros(lane * 1_000_000 / RATE);
                sleep_until(due).await;
                let body = format!(
                    "[{}]",
                    execution(lane as usize, &format!("l-{lane}-{second}"))
                );
                let status = connection.post_events(&body).await?;
                anyhow::ensure!(status == 202, "answered {status}");
                latencies.send(due.elapsed()).await?;
            }
            Ok(())
        });
    }
    drop(latencies);
    let mut all = Latencies::default();
    while let Some(latency) = measured.recv().await {
        all.add(latency);
    }
    f.merge(fdatasync_loop(&server.dir, Duration::from_secs(3))?);
    let f = f.per_mille(990);
    println!("  {}; f {f:.2} ms", all.summary());
    let expected = usize::try_from(RATE * LASTS.as_secs())?;
    anyhow::ensure!(
        all.count() == expected,
        "{} of {expected} requests were answered 202",
        all.count()
    );
    let (p99, target) = (all.per_mille(990), 5.0 + 2.0 * f);
    Ok(verdict(
        "p99 in ms",
        p99,
        p99 < target,
        &format!("< 5 ms + 2f = {target:.2}"),
    ))
}

/// Ticks that are late are sent at once, not left out.
pub fn steady(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}
