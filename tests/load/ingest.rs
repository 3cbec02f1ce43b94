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
    let (mut bare, mut journal, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        bare.push(events_per_second(Server::without_journal()?, round).await?);
        let server = Server::with_journal_alone()?;
        let f = fdatasync_loop(&server.dir, Duration::from_secs(1))?.per_mille(990);
        journal.push(events_per_second(server, round).await?);
        whole.push(events_per_second(Server::real()?, round).await?);
        println!(
            "  round {round}: {:.0} events/s without journal, {:.0} on disk, {:.0} on disk with every consumer running; f {f:.2} ms",
            bare[round - 1],
            journal[round - 1],
            whole[round - 1]
        );
    }
    let bare = median(&mut bare);
    let ratio = median(&mut journal) / bare;
    println!(
        "          with every consumer running on the same two cores: {:.3}",
        median(&mut whole) / bare
    );
    Ok(verdict(
        "ingest on disk against the same route without journal",
        ratio,
        ratio >= 0.5,
        "≥ 0.5",
    ))
}

/// 20,000 events/s for a minute: do the consumers keep up?
pub async fn lag() -> anyhow::Result<bool> {
    const RATE: u64 = 20_000;
    const LASTS: Duration = Duration::from_secs(60);
    println!("every consumer running, {RATE} events/s for {LASTS:?}");
    settle().await;
    let server = Server::real()?;
    let senders = send_steadily(&server, RATE, LASTS);
    let mut worst = 0;
    let begun = Instant::now();
    for second in 1..=LASTS.as_secs() {
        sleep_until(begun + Duration::from_secs(second)).await;
        let lags = server.lags().await?;
        worst = worst.max(lags.iter().map(|(_, lag)| *lag).max().unwrap_or(0));
        if second % 10 == 0 {
            println!("  after {second} s: {lags:?}");
        }
    }
    for sender in senders {
        sender.await??;
    }
    let seconds_behind = worst as f64 / RATE as f64;
    Ok(verdict(
        "the most that a consumer was behind, in seconds of events",
        seconds_behind,
        seconds_behind < 5.0,
        "bounded: < 5",
    ))
}

type Sender = tokio::task::JoinHandle<anyhow::Result<()>>;

fn send_steadily(server: &Server, rate: u64, lasts: Duration) -> Vec<Sender> {
    const SENDERS: u64 = 32;
    let requests = rate * lasts.as_secs() / SENDERS / BATCH as u64;
    let every = Duration::from_micros(1_000_000 * SENDERS * BATCH as u64 / rate);
    (0..SENDERS)
        .map(|sender| {
            let address = server.address;
            tokio::spawn(async move {
                let mut connection = Connection::open(address, KEY).await?;
                let mut ticks = steady(every);
                for request in 0..requests {
                    ticks.tick().await;
                    let student = usize::try_from(sender * 50 + request % 50)?;
                    let body = batch(student, &format!("lag-{sender}-{request}"));
                    let status = connection.post_events(&body).await?;
                    anyhow::ensure!(status == 202, "answered {status}");
                }
                Ok(())
            })
        })
        .collect()
}

async fn events_per_second(server: Server, round: usize) -> anyhow::Result<f64> {
    let accepted = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + ROUND;
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (accepted, address) = (Arc::clone(&accepted), server.address);
            tokio::spawn(async move {
                let mut connection = Connection::open(address, KEY).await?;
                for request in 0u64.. {
                    if Instant::now() >= until {
                        break;
                    }
                    let body = batch(number, &format!("{round}-{number}-{request}"));
                    match connection.post_events(&body).await? {
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

fn batch(student: usize, id: &str) -> String {
    let events: Vec<_> = (0..BATCH)
        .map(|nth| execution(student, &format!("{id}-{nth}")))
        .collect();
    format!("[{}]", events.join(","))
}

/// Gigabytes that an earlier measurement wrote and deleted must not be in the way of the next.
pub async fn settle() {
    rustix::fs::sync();
    tokio::time::sleep(Duration::from_secs(2)).await;
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// 300 requests a second whether or not the ones before are answered; the latency counts from when a request was due.
pub async fn latency() -> anyhow::Result<bool> {
    const RATE: u64 = 300;
    const LASTS: Duration = Duration::from_secs(20);
    /// What is slower is told one by one.
    const NOTICEABLE: Duration = Duration::from_millis(200);
    println!("ingest, open loop, {RATE} requests/s of one event for {LASTS:?}");
    settle().await;
    let server = Server::real()?;
    let mut f = fdatasync_loop(&server.dir, Duration::from_secs(3))?;
    let (latencies, mut measured) = tokio::sync::mpsc::channel(1024);
    let begun = Instant::now() + Duration::from_millis(200);
    for lane in 0..RATE {
        let (latencies, address) = (latencies.clone(), server.address);
        tokio::spawn(async move {
            let opening = Instant::now();
            let mut connection = Connection::open(address, KEY).await?;
            let opened_after = opening.elapsed();
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
                let latency = due.elapsed();
                if latency > NOTICEABLE {
                    println!(
                        "  slow: {latency:?} in second {second}, on a connection that opened in {opened_after:?}"
                    );
                }
                latencies.send(latency).await?;
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
