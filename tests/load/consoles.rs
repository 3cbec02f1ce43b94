//! Consoles by the thousand: what a delivery, a frame and a console cost, and how late they are.

use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::{Instant, sleep};

use crate::bare;
use crate::client::Connection;
use crate::crowd::{Crowd, Heard, Manner};
use crate::disk::fdatasync_loop;
use crate::figures::{Latencies, verdict};
use crate::frames::{MARK, masked};
use crate::ingest::{settle, steady};
use crate::server::{KEY, Server};

/// A large class.
const STUDENTS: u64 = 200;
/// Connections that share the students.
const SENDERS: u64 = 10;
/// Openings may take this long before a run is given up.
const OPEN_WITHIN: Duration = Duration::from_secs(40);
/// What was sent last is on its way for so long.
const LATE: Duration = Duration::from_secs(2);

/// 2,000 consoles, 500 events/s: deliveries, lateness, and what a frame costs beside a bare write.
pub async fn two_thousand() -> anyhow::Result<bool> {
    const CONSOLES: usize = 2_000;
    const RATE: u64 = 500;
    const LASTS: Duration = Duration::from_secs(12);
    println!("{CONSOLES} consoles, {RATE} events/s for {LASTS:?}");
    settle().await;
    let server = Server::real()?;
    let epoch = Instant::now();
    let f = fdatasync_loop(&server.dir, Duration::from_secs(2))?.per_mille(990);
    let alone = run(&server, 1, RATE, Duration::from_secs(6), epoch).await?;
    let crowd = run(&server, CONSOLES, RATE, LASTS, epoch).await?;
    drop(server);

    let mut latencies = crowd.heard.latencies();
    println!("  {}; f {f:.2} ms", latencies.summary());
    let deliveries = latencies.count() as f64;
    let rate = deliveries / LASTS.as_secs_f64();
    let many = verdict(
        "deliveries of events a second",
        rate,
        rate >= 500_000.0,
        "≥ 500,000",
    );
    let (p99, target) = (latencies.per_mille(990), 100.0 + 2.0 * f);
    let fast = verdict(
        "p99 in ms",
        p99,
        p99 < target,
        &format!("< 100 ms + 2f = {target:.2}"),
    );
    let whole = crowd.cpu / deliveries * 1e6;
    let without = alone.cpu * LASTS.as_secs_f64() / 6.0;
    let fan_out = (crowd.cpu - without).max(0.0);
    println!("          with ingest and storing: {whole:.3} CPU seconds a million deliveries");
    let cheap = verdict(
        "CPU seconds a million deliveries",
        fan_out / deliveries * 1e6,
        fan_out / deliveries * 1e6 <= 1.5,
        "≤ 1.5",
    );
    let lean = beside_bare_writes(&crowd.heard, CONSOLES, LASTS, fan_out).await?;
    Ok(many & fast & cheap & lean & whole_chain(&crowd.heard))
}

/// The same number of frames of the same size, written to bare sockets.
async fn beside_bare_writes(
    heard: &Heard,
    consoles: usize,
    lasts: Duration,
    fan_out_cpu: f64,
) -> anyhow::Result<bool> {
    let frames = heard.deltas.len();
    let bytes = heard
        .deltas
        .iter()
        .map(|delta| delta.told.len)
        .sum::<usize>()
        / frames.max(1);
    let each = frames / consoles;
    let every_ms = lasts.as_millis() / (each as u128).max(1);
    let server = Server::bare_writer(&[
        (bare::CONSOLES, consoles.to_string()),
        (bare::FRAME_BYTES, bytes.to_string()),
        (bare::EVERY_MS, every_ms.to_string()),
        (bare::FRAMES, each.to_string()),
    ])?;
    let crowd = Crowd::gather(
        server.address,
        consoles,
        Manner::Politely,
        None,
        Instant::now(),
    );
    crowd.ready(OPEN_WITHIN).await?;
    let before = server.cpu_seconds();
    sleep(lasts + LATE).await;
    let cpu = server.cpu_seconds() - before;
    let written = crowd.dismiss().await?.deltas.len();
    let (ours, bare) = (
        fan_out_cpu / frames as f64 * 1e6,
        cpu / written.max(1) as f64 * 1e6,
    );
    println!(
        "          a frame of {bytes} bytes, one every {every_ms} ms: {ours:.2} µs of CPU, a bare write {bare:.2} µs ({frames} and {written} frames)"
    );
    Ok(verdict(
        "CPU a frame against a bare write",
        ours / bare,
        ours / bare <= 1.3,
        "≤ 1.3",
    ))
}

/// 10,000 consoles: what each weighs, 50 events/s, 500 events/s.
pub async fn ten_thousand() -> anyhow::Result<bool> {
    const CONSOLES: usize = 10_000;
    const LASTS: Duration = Duration::from_secs(12);
    println!("{CONSOLES} consoles");
    settle().await;
    let server = Server::real()?;
    let epoch = Instant::now();
    // code, tables and threads that a server with consoles has anyway
    run(&server, 100, 500, Duration::from_secs(3), epoch).await?;
    let before = server.resident_bytes();
    let crowd = Crowd::gather(server.address, CONSOLES, Manner::Politely, None, epoch);
    crowd.ready(OPEN_WITHIN).await?;
    sleep(Duration::from_secs(2)).await;
    let each = server.resident_bytes().saturating_sub(before) as f64 / CONSOLES as f64 / 1024.0;
    let small = verdict("KiB a console that is idle", each, each <= 10.0, "≤ 10");

    send(&server, 50, LASTS, epoch).await?;
    sleep(LATE).await;
    let idle_until = u64::try_from(epoch.elapsed().as_micros())?;
    send(&server, 500, LASTS, epoch).await?;
    sleep(LATE).await;
    let after = server.resident_bytes().saturating_sub(before) as f64 / CONSOLES as f64 / 1024.0;
    println!("          after 500 events/s: {after:.2} KiB a console");
    let mut heard = crowd.dismiss().await?;
    let first_of_each_step = heard.first_of_each_step();
    let at = heard
        .deltas
        .partition_point(|delta| delta.at_us < idle_until);
    let later = Heard {
        deltas: heard.deltas.split_off(at),
        ..Heard::default()
    };

    let mut at_50 = heard.latencies();
    println!("  50 events/s: {}", at_50.summary());
    let p99 = at_50.per_mille(990);
    let soon = verdict("p99 in ms at 50 events/s", p99, p99 < 300.0, "< 300");
    let mut ages = later.ages(&first_of_each_step);
    println!(
        "  500 events/s: {} deltas, {} began anew; age of the oldest change: {}",
        later.deltas.len(),
        heard.begun_anew,
        ages.summary()
    );
    let oldest = ages.per_mille(1000);
    let present = verdict(
        "the latest that a state was at 500 events/s, in ms",
        oldest,
        oldest <= 1000.0 && heard.begun_anew == 0,
        "≤ 1,000",
    );
    Ok(small & soon & present)
}

/// So many come at once.
const STORM: usize = 2_000;

/// 2,000 consoles that come at once while 20 others watch: new ones, then such that resume.
pub async fn reconnect() -> anyhow::Result<bool> {
    const OTHERS: usize = 20;
    println!("{STORM} consoles that come at once, {OTHERS} others, 500 events/s");
    settle().await;
    let server = Server::real()?;
    let f = fdatasync_loop(&server.dir, Duration::from_secs(2))?.per_mille(990);
    let epoch = Instant::now();
    let others = Crowd::gather(server.address, OTHERS, Manner::Politely, None, epoch);
    others.ready(OPEN_WITHIN).await?;
    let (sent, storms) = tokio::join!(
        send(&server, 500, Duration::from_secs(18), epoch),
        storms(&server, epoch)
    );
    sent?;
    let storms = storms?;
    let mut heard = others.dismiss().await?;
    let mut all_met = heard.begun_anew == 0 && whole_chain(&heard);
    for ((begun_us, storm), what) in storms.iter().zip(["new ones", "such that resume"]) {
        all_met &= opened_soon(*begun_us, storm, what);
    }
    let first_storm = storms.first().map_or(0, |(begun_us, _)| *begun_us);
    let at = heard
        .deltas
        .partition_point(|delta| delta.at_us < first_storm);
    let meanwhile = heard.deltas.split_off(at);
    let mut before = heard.latencies();
    heard.deltas = meanwhile;
    let mut during = heard.latencies();
    println!("  the others before: {}", before.summary());
    println!("  the others meanwhile: {}; f {f:.2} ms", during.summary());
    let p99 = during.per_mille(990);
    let on_time = verdict(
        "p99 of the others meanwhile, in ms",
        p99,
        p99 < 1000.0,
        "< 1,000",
    );
    Ok(all_met & on_time)
}

fn opened_soon(begun_us: u64, storm: &Heard, what: &str) -> bool {
    let last_us = storm.opened_us.iter().max().copied().unwrap_or(u64::MAX);
    let seconds = last_us.saturating_sub(begun_us) as f64 / 1e6;
    println!(
        "          {what}: {} began anew, {} were closed",
        storm.begun_anew, storm.closed
    );
    verdict(
        &format!("seconds until all {STORM} have their opening, {what}"),
        seconds,
        seconds < 5.0,
        "< 5",
    )
}

/// Two storms, six seconds after the beginning: when each began, and what it heard.
async fn storms(server: &Server, epoch: Instant) -> anyhow::Result<Vec<(u64, Heard)>> {
    let mut storms = Vec::new();
    sleep(Duration::from_secs(6)).await;
    for is_resuming in [false, true] {
        let since = if is_resuming {
            Some(cursor(server).await?)
        } else {
            None
        };
        // what is missed by those that resume
        sleep(Duration::from_secs(2)).await;
        let begun_us = u64::try_from(epoch.elapsed().as_micros())?;
        let crowd = Crowd::gather(server.address, STORM, Manner::AtOnce, since, epoch);
        crowd.ready(OPEN_WITHIN).await?;
        sleep(Duration::from_secs(1)).await;
        storms.push((begun_us, crowd.dismiss().await?));
    }
    Ok(storms)
}

/// Where a console that subscribes now stands, as JSON.
async fn cursor(server: &Server) -> anyhow::Result<String> {
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::protocol::Role;
    let mut socket = crate::crowd::connect(server.address).await?;
    let subscribe = masked(1, br#"{"type":"subscribe","classroom":"default"}"#);
    tokio::io::AsyncWriteExt::write_all(&mut socket, &subscribe).await?;
    let mut frames =
        tokio_tungstenite::WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
    loop {
        let frame = frames
            .next()
            .await
            .ok_or_else(|| anyhow::anyhow!("closed"))??;
        let frame: serde_json::Value = serde_json::from_str(frame.to_text()?)?;
        if frame["type"] == "snapshot" {
            return Ok(
                serde_json::json!({"epoch": frame["epoch"], "seq": frame["seq"]}).to_string(),
            );
        }
    }
}

/// 50 consoles, one of which never reads, in turns with 49 alone.
pub async fn stalled() -> anyhow::Result<bool> {
    const CONSOLES: usize = 49;
    const RATE: u64 = 500;
    const ROUND: Duration = Duration::from_secs(4);
    const ROUNDS: usize = 3;
    println!(
        "{CONSOLES} consoles with and without one that never reads, {RATE} events/s, {ROUNDS} rounds of {ROUND:?} in turns"
    );
    settle().await;
    let server = Server::real()?;
    let f = fdatasync_loop(&server.dir, Duration::from_secs(2))?.per_mille(990);
    let epoch = Instant::now();
    run(&server, CONSOLES, RATE, Duration::from_secs(2), epoch).await?;
    let (mut without, mut with) = (Latencies::default(), Latencies::default());
    let mut lost = 0;
    for _ in 0..ROUNDS {
        let undisturbed = run(&server, CONSOLES, RATE, ROUND, epoch).await?;
        let deaf = never_reads(&server).await?;
        let disturbed = run(&server, CONSOLES, RATE, ROUND, epoch).await?;
        drop(deaf);
        for (round, latencies) in [(undisturbed, &mut without), (disturbed, &mut with)] {
            let told = round.heard.latencies();
            lost += (CONSOLES as u64 * RATE * ROUND.as_secs()).saturating_sub(told.count() as u64);
            lost += u64::try_from(round.heard.broken + round.heard.begun_anew)?;
            latencies.merge(told);
        }
    }
    println!(
        "  without it: {}\n  with it:    {}; f {f:.2} ms",
        without.summary(),
        with.summary()
    );
    let nothing_lost = verdict("events that the others lost", lost as f64, lost == 0, "0");
    let (p, p99) = (without.per_mille(990), with.per_mille(990));
    let target = (1.2 * p).max(p + 2.0 * f);
    let unmoved = verdict(
        "p99 of the others with it, in ms",
        p99,
        p99 <= target,
        &format!("≤ max(1.2 p, p + 2f) = {target:.2}"),
    );
    Ok(nothing_lost & unmoved)
}

/// Subscribes, and reads nothing from then on.
async fn never_reads(server: &Server) -> anyhow::Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut socket =
        crate::crowd::greet(socket.connect(server.address).await?, server.address).await?;
    let subscribe = masked(1, br#"{"type":"subscribe","classroom":"default"}"#);
    tokio::io::AsyncWriteExt::write_all(&mut socket, &subscribe).await?;
    Ok(socket)
}

/// What a run of the clock brought.
pub struct Run {
    pub heard: Heard,
    /// CPU seconds of the server from the first event on.
    pub cpu: f64,
}

/// So many consoles watch while so many events a second are sent.
pub async fn run(
    server: &Server,
    consoles: usize,
    rate: u64,
    lasts: Duration,
    epoch: Instant,
) -> anyhow::Result<Run> {
    let crowd = Crowd::gather(server.address, consoles, Manner::Politely, None, epoch);
    crowd.ready(OPEN_WITHIN).await?;
    sleep(Duration::from_millis(500)).await;
    let before = server.cpu_seconds();
    send(server, rate, lasts, epoch).await?;
    sleep(LATE).await;
    let cpu = server.cpu_seconds() - before;
    let heard = crowd.dismiss().await?;
    Ok(Run { heard, cpu })
}

/// The chain of every console is whole, and none was closed.
pub fn whole_chain(heard: &Heard) -> bool {
    let faults = heard.broken + heard.closed;
    if heard.omitted() > 0 || heard.begun_anew > 0 {
        println!(
            "          {} events merged away, {} openings anew",
            heard.omitted(),
            heard.begun_anew
        );
    }
    verdict(
        "holes in chains, and consoles closed",
        faults as f64,
        faults == 0,
        "0",
    )
}

/// Ten senders share the rate and the students; each event names its time in its cell.
async fn send(server: &Server, rate: u64, lasts: Duration, epoch: Instant) -> anyhow::Result<()> {
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let address = server.address;
            tokio::spawn(async move {
                let mut connection = Connection::open(address, KEY).await?;
                let mut ticks = steady(Duration::from_micros(1_000_000 * SENDERS / rate));
                for number in 0..rate * lasts.as_secs() / SENDERS {
                    ticks.tick().await;
                    let student = number % (STUDENTS / SENDERS) * SENDERS + sender;
                    let sent_us = epoch.elapsed().as_micros();
                    let body = format!("[{}]", event(student, number, sent_us));
                    let status = connection.post_events(&body).await?;
                    anyhow::ensure!(status == 202, "answered {status}");
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for sender in senders {
        sender.await??;
    }
    Ok(())
}

/// An execution as cell-monitor sends it, about 500 bytes.
fn event(student: u64, number: u64, sent_us: u128) -> String {
    let now = jiff::Timestamp::now();
    format!(
        r#"{{"eventId":"{sent_us}-{student}-{number}","eventType":"cell_executed","eventTime":"{now:.3}","emailAddress":"student{student:05}@example.ac.jp","teamName":"チームB","userName":"山田花子{student}","sessionId":"ce8400e8-e504-4ec7-9c43-24edd79c5182","notebookPath":"lesson/nb1.ipynb","cellId":"{MARK}{sent_us}","cellIndex":{},"cellType":"code","code":"import pandas as pd\ndf = pd.read_csv('data.csv')\ndf.describe()","executionCount":{},"hasError":false,"result":"count 100","executionDurationMs":2}}"#,
        student % 17,
        number / (STUDENTS / SENDERS) + 1,
    )
}
