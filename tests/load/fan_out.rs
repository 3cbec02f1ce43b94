//! From the event to the console: 500 events/s to 200 consoles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::client::{Connection, execution};
use crate::disk::fdatasync_loop;
use crate::figures::{Latencies, verdict};
use crate::ingest::{settle, steady};
use crate::server::{KEY, Server, TOKEN};

const CONSOLES: usize = 200;
const RATE: u64 = 500;
const LASTS: Duration = Duration::from_secs(20);
/// What begins the id of each event here; the microsecond it was sent at follows.
const MARK: &str = "sent-";

/// Every event of a class of 200 to every console, and what it costs.
pub async fn to_200_consoles() -> anyhow::Result<bool> {
    println!("event to console, {RATE} events/s, {CONSOLES} consoles, for {LASTS:?}");
    settle().await;
    let server = Server::real()?;
    let mut f = fdatasync_loop(&server.dir, Duration::from_secs(3))?;
    let epoch = Instant::now();
    let omitted = Arc::new(AtomicU64::new(0));
    let mut consoles = Vec::new();
    for _ in 0..CONSOLES {
        consoles.push(watch(&server, epoch, Arc::clone(&omitted)).await?);
    }
    let cpu_before = server.cpu_seconds();
    send(&server, epoch).await?;
    let cpu = server.cpu_seconds() - cpu_before;
    let mut all = Latencies::default();
    for console in consoles {
        all.merge(console.await??);
    }
    f.merge(fdatasync_loop(&server.dir, Duration::from_secs(3))?);
    let f = f.per_mille(990);
    let deliveries = all.count() as f64;
    println!(
        "  {}; {} merged away; f {f:.2} ms",
        all.summary(),
        omitted.load(Ordering::Relaxed)
    );
    let (p99, target) = (all.per_mille(990), 20.0 + 2.0 * f);
    let is_fast = verdict(
        "p99 in ms",
        p99,
        p99 < target,
        &format!("< 20 ms + 2f = {target:.2}"),
    );
    let per_million = cpu / deliveries * 1e6;
    Ok(is_fast
        & verdict(
            "CPU seconds a million deliveries, ingest and storing included",
            per_million,
            per_million <= 1.5,
            "≤ 1.5",
        ))
}

async fn watch(
    server: &Server,
    epoch: Instant,
    omitted: Arc<AtomicU64>,
) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<Latencies>>> {
    let mut request = format!("ws://{}/api/v1/live", server.address).into_client_request()?;
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", "mimamori.v1".parse()?);
    request
        .headers_mut()
        .insert("Authorization", format!("Bearer {TOKEN}").parse()?);
    let socket = TcpStream::connect(server.address).await?;
    socket.set_nodelay(true)?;
    let (mut console, _) = tokio_tungstenite::client_async(request, socket).await?;
    console
        .send(Message::text(
            r#"{"type":"subscribe","classroom":"default"}"#,
        ))
        .await?;
    // the hello and the snapshot, so that nothing is measured before all are there
    for _ in 0..2 {
        console
            .next()
            .await
            .ok_or_else(|| anyhow::anyhow!("the console was closed"))??;
    }
    Ok(tokio::spawn(async move {
        let mut latencies = Latencies::default();
        let mut merged_away = 0_usize;
        let expected = usize::try_from(RATE * LASTS.as_secs())?;
        let give_up = Instant::now() + LASTS + Duration::from_secs(20);
        while latencies.count() + merged_away < expected {
            let Ok(Some(frame)) = tokio::time::timeout_at(give_up, console.next()).await else {
                anyhow::bail!("a console got {} of {expected} events", latencies.count());
            };
            let now = u64::try_from(epoch.elapsed().as_micros())?;
            let Message::Text(text) = frame? else {
                continue;
            };
            for part in text.split(MARK).skip(1) {
                let sent: String = part.chars().take_while(char::is_ascii_digit).collect();
                latencies.add(Duration::from_micros(now.saturating_sub(sent.parse()?)));
            }
            if !text.contains("\"eventsOmitted\":0") {
                let delta: serde_json::Value = serde_json::from_str(&text)?;
                merged_away += usize::try_from(delta["eventsOmitted"].as_u64().unwrap_or(0))?;
            }
        }
        omitted.fetch_add(merged_away as u64, Ordering::Relaxed);
        Ok(latencies)
    }))
}

/// Ten senders share the rate, each on a connection of its own.
async fn send(server: &Server, epoch: Instant) -> anyhow::Result<()> {
    const SENDERS: u64 = 10;
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let address = server.address;
            tokio::spawn(async move {
                let mut connection = Connection::open(address, KEY).await?;
                let mut ticks = steady(Duration::from_micros(1_000_000 * SENDERS / RATE));
                for number in 0..RATE * LASTS.as_secs() / SENDERS {
                    ticks.tick().await;
                    let student = usize::try_from((number * SENDERS + sender) % 200)?;
                    let id = format!("{MARK}{}-{sender}-{number}", epoch.elapsed().as_micros());
                    let status = connection
                        .post_events(&format!("[{}]", execution(student, &id)))
                        .await?;
                    anyhow::ensure!(status == 202, "answered {status}");
                }
                Ok(())
            })
        })
        .collect();
    for sender in senders {
        sender.await??;
    }
    Ok(())
}
