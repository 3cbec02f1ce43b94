//! Many clients and consoles, and a look from outside at the server they are on.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions, Row};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::client::{Connection, execution};
use crate::it::harness::postgres::ask;
use crate::it::harness::{ADMIN, Api, Counted, INGEST_KEY, ROOM, Server};

/// What begins the id of each event here; the microsecond it was sent at follows.
pub const MARK: &str = "sent-";

/// Whom a crowd tells what it sees.
pub trait Watch: Send + Sync + 'static {
    /// A request was answered so long after it was due.
    fn answered(&self, _after: Duration) {}
    /// A console saw an event so long after it was sent.
    fn seen(&self, _after: Duration) {}
}

/// Watches nothing.
impl Watch for () {}

/// How much a crowd sends.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub connections: usize,
    pub batch: usize,
    pub students: usize,
    /// Events a second of all together; nothing: as fast as they are answered.
    pub rate: Option<u64>,
}

/// Clients that send until they are told to stop.
pub struct Crowd {
    tasks: JoinSet<Sent>,
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

/// What one client knows.
#[derive(Default)]
pub struct Sent {
    /// Hashes of the ids that were answered 202.
    acknowledged: Vec<u64>,
    refused: usize,
}

impl Crowd {
    /// Begins to send. Every event has an id of its own, with the time since `epoch` in it.
    pub fn begin<W: Watch>(
        address: SocketAddr,
        load: Load,
        epoch: Instant,
        watch: &Arc<W>,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for lane in 0..load.connections {
            let client = Client {
                address,
                load,
                lane,
                epoch,
                over: Arc::clone(&over),
                acknowledged: Arc::clone(&acknowledged),
            };
            tasks.spawn(client.send(Arc::clone(watch)));
        }
        Self {
            tasks,
            over,
            acknowledged,
        }
    }

    /// Events that were answered 202 so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops each behind its last answer.
    pub async fn stop(self) -> Sent {
        self.over.store(true, Ordering::SeqCst);
        let mut all = Sent::default();
        for sent in self.tasks.join_all().await {
            all.acknowledged.extend(sent.acknowledged);
            all.refused += sent.refused;
        }
        all
    }
}

struct Client {
    address: SocketAddr,
    load: Load,
    lane: usize,
    epoch: Instant,
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Client {
    async fn send<W: Watch>(self, watch: Arc<W>) -> Sent {
        let Load {
            connections,
            batch,
            students,
            rate,
        } = self.load;
        let mut connection = None;
        let mut sent = Sent::default();
        let every =
            rate.map(|rate| Duration::from_micros(1_000_000 * (connections * batch) as u64 / rate));
        let mut ticks = interval(every.unwrap_or(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for nth in 0_usize.. {
            // what is due is sent even if the answer before it was late
            let due = match every {
                Some(_) => ticks.tick().await,
                None => Instant::now(),
            };
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            let now = self.epoch.elapsed().as_micros();
            let ids: Vec<_> = (0..batch)
                .map(|index| format!("{MARK}{now}-{}-{nth}-{index}", self.lane))
                .collect();
            let events: Vec<_> = ids
                .iter()
                .enumerate()
                .map(|(index, id)| {
                    let place = (nth * batch + index) * connections + self.lane;
                    execution(place % students, id)
                })
                .collect();
            let body = format!("[{}]", events.join(","));
            match self.post(&mut connection, &body).await {
                Some(202) => {
                    watch.answered(due.elapsed());
                    self.acknowledged.fetch_add(batch, Ordering::Relaxed);
                    sent.acknowledged.extend(ids.iter().map(|id| hash(id)));
                }
                Some(503) => {
                    sent.refused += batch;
                    // Retry-After would be longer; a pause all the same
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Some(status) => panic!("answered {status}"),
                // the connection was turned away or closed: what was sent is not known to be there
                None => connection = None,
            }
        }
        sent
    }

    async fn post(&self, connection: &mut Option<Connection>, body: &str) -> Option<u16> {
        if connection.is_none() {
            *connection = Connection::open(self.address, INGEST_KEY).await.ok();
        }
        connection.as_mut()?.post_events(body).await.ok()
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Consoles that read everything, until they are dropped.
pub async fn consoles<W: Watch>(
    server: &Server,
    count: usize,
    epoch: Instant,
    watch: &Arc<W>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let mut request = format!("ws://{}/api/v1/live", server.address)
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", "mimamori.v1".parse().unwrap());
        let bearer = format!("Bearer {ADMIN}");
        headers.insert("Authorization", bearer.parse().unwrap());
        let socket = TcpStream::connect(server.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (mut console, _) = tokio_tungstenite::client_async(request, socket)
            .await
            .unwrap();
        let subscribe = format!(r#"{{"type":"subscribe","classroom":"{ROOM}"}}"#);
        console.send(Message::text(subscribe)).await.unwrap();
        let watch = Arc::clone(watch);
        tasks.spawn(async move {
            while let Some(Ok(frame)) = console.next().await {
                let Message::Text(text) = frame else { continue };
                if !text.starts_with(r#"{"type":"delta""#) {
                    continue;
                }
                let now = u64::try_from(epoch.elapsed().as_micros()).unwrap();
                for part in text.split(MARK).skip(1) {
                    let sent: String = part.chars().take_while(char::is_ascii_digit).collect();
                    let after = now.saturating_sub(sent.parse().unwrap());
                    watch.seen(Duration::from_micros(after));
                }
            }
        });
    }
    tasks
}

/// How many events a consumer of the journal was behind when it last looked.
pub async fn lag(api: &Api, consumer: &str) -> u64 {
    let actor = api.actor(consumer).await;
    let actor = actor.unwrap_or_else(|| panic!("there is no {consumer}"));
    let lag = actor["lagEvents"].as_u64();
    lag.unwrap_or_else(|| panic!("{consumer} does not tell its lag: {actor}"))
}

/// Waits until a consumer is no more than so many events behind; gives the time it took.
pub async fn until_lag_is_below(
    api: &Api,
    consumer: &str,
    events: u64,
    within: Duration,
) -> Duration {
    let began = Instant::now();
    while lag(api, consumer).await > events {
        assert!(began.elapsed() < within, "{consumer} is still behind");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

/// What is in the records of what was acknowledged; read from the file itself, it may be millions.
pub async fn count(dir: &Path, sent: &Sent, recovered: Duration) -> Counted {
    let mut connection = SqliteConnectOptions::new()
        .filename(dir.join("records.sqlite"))
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap();
    let mut seen = HashSet::new();
    let mut stored = 0;
    let mut last = 0_i64;
    loop {
        let rows = sqlx::query(
            "SELECT position, event_id FROM events WHERE position > ? ORDER BY position LIMIT 50000",
        )
        .bind(last)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        for row in &rows {
            last = row.get("position");
            stored += 1;
            seen.insert(hash(row.get("event_id")));
        }
        if rows.is_empty() {
            break;
        }
    }
    Counted {
        acknowledged: sent.acknowledged.len(),
        stored,
        lost: sent
            .acknowledged
            .iter()
            .filter(|id| !seen.contains(id))
            .count(),
        doubled: stored - seen.len(),
        refused: sent.refused,
        recovered,
    }
}

/// As [`count`], of a database of PostgreSQL, by its own client.
pub fn count_in(url: &str, sent: &Sent, recovered: Duration) -> Counted {
    let ids = ask(url, "SELECT event_id FROM events");
    let stored = ids.lines().count();
    let seen: HashSet<u64> = ids.lines().map(hash).collect();
    let is_lost = |id: &&u64| !seen.contains(id);
    Counted {
        acknowledged: sent.acknowledged.len(),
        stored,
        lost: sent.acknowledged.iter().filter(is_lost).count(),
        doubled: stored - seen.len(),
        refused: sent.refused,
        recovered,
    }
}

/// Resident memory of a process, in MiB.
pub fn resident_mib(server: &Server) -> f64 {
    let status = format!("/proc/{}/status", server.pid().as_raw_nonzero());
    let kib: f64 = std::fs::read_to_string(status)
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap();
    kib / 1024.0
}

/// How long a timed drill goes: as `MIMAMORI_DRILL_SECONDS` says, else its own length.
pub fn lasts(usually: u64) -> Duration {
    let seconds = std::env::var("MIMAMORI_DRILL_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(usually))
}
