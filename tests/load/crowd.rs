//! Many consoles in one thread: raw sockets and as little reading as will do.
//!
//! All consoles get the same bytes for the same delta, so a delta is read once
//! and known again by its place in the chain and its length.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::figures::Latencies;
use crate::frames::{Delta, Reader, Seen, Told, masked};
use crate::server::TOKEN;

/// So many handshakes at a time, where it is not the storm that is measured.
const POLITE: usize = 64;

thread_local! {
    /// All consoles of the thread read into it, one after the other.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 * 1024]);
}

/// How a crowd comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A few at a time.
    Politely,
    /// All at once.
    AtOnce,
}

/// Consoles that watch the classroom until they are dismissed.
pub struct Crowd {
    thread: JoinHandle<anyhow::Result<Heard>>,
    ready: Arc<AtomicUsize>,
    dismissed: Arc<Notify>,
    count: usize,
}

/// What a crowd was told.
#[derive(Default)]
pub struct Heard {
    /// Every delta of every console, in the order of arrival.
    pub deltas: Vec<Delta>,
    /// What is in the deltas.
    pub told: HashMap<Told, Seen>,
    /// When each had its opening, in microseconds since the epoch of the run.
    pub opened_us: Vec<u64>,
    /// Deltas whose `after` was not the console's last `seq`.
    pub broken: usize,
    /// Openings after the first, and resets.
    pub begun_anew: usize,
    /// Connections that the server closed.
    pub closed: usize,
    /// Of all frames.
    pub bytes: u64,
}

impl Crowd {
    /// `count` consoles in a thread of their own; `since` is JSON to resume from.
    pub fn gather(
        address: SocketAddr,
        count: usize,
        manner: Manner,
        since: Option<String>,
        epoch: Instant,
    ) -> Self {
        let ready = Arc::new(AtomicUsize::new(0));
        let dismissed = Arc::new(Notify::new());
        let (counted, ended) = (Arc::clone(&ready), Arc::clone(&dismissed));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let heard = Rc::new(RefCell::new(Heard::default()));
            let polite = match manner {
                Manner::Politely => POLITE,
                Manner::AtOnce => count,
            };
            let shared = Rc::new(Shared {
                address,
                since,
                epoch,
                ready: counted,
                turns: Semaphore::new(polite),
                heard: Rc::clone(&heard),
            });
            let tasks = LocalSet::new();
            for _ in 0..count {
                let shared = Rc::clone(&shared);
                tasks.spawn_local(async move {
                    if console(&shared).await.is_err() {
                        shared.heard.borrow_mut().closed += 1;
                    }
                });
            }
            runtime.block_on(tasks.run_until(ended.notified()));
            drop(tasks);
            drop(shared);
            let heard = Rc::into_inner(heard).context("every console has ended")?;
            Ok(heard.into_inner())
        });
        Self {
            thread,
            ready,
            dismissed,
            count,
        }
    }

    /// Waits until everyone has its opening.
    pub async fn ready(&self, within: Duration) -> anyhow::Result<()> {
        let give_up = Instant::now() + within;
        while self.ready.load(Ordering::Relaxed) < self.count {
            anyhow::ensure!(
                Instant::now() < give_up,
                "{} of {} consoles had their opening within {within:?}",
                self.ready.load(Ordering::Relaxed),
                self.count
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Everyone leaves; what they were told.
    pub async fn dismiss(self) -> anyhow::Result<Heard> {
        self.dismissed.notify_one();
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the consoles' thread failed"))?
    }
}

impl Heard {
    /// How long each event took to each console that was told of it.
    pub fn latencies(&self) -> Latencies {
        let mut latencies = Latencies::default();
        for delta in &self.deltas {
            for sent_us in self
                .told
                .get(&delta.told)
                .into_iter()
                .flat_map(|seen| &seen.events)
            {
                latencies.add(Duration::from_micros(delta.at_us.saturating_sub(*sent_us)));
            }
        }
        latencies
    }

    /// Events that consoles were told of by number only.
    pub fn omitted(&self) -> u64 {
        self.deltas
            .iter()
            .filter_map(|delta| self.told.get(&delta.told))
            .map(|seen| seen.omitted)
            .sum()
    }

    /// How old the oldest change was that a delta brought, for each delta of each console:
    /// `first_us` is the earliest event of each single step of the chain.
    pub fn ages(&self, first_us: &HashMap<u64, u64>) -> Latencies {
        let mut ages = Latencies::default();
        for delta in &self.deltas {
            let steps = delta.told.after + 1..=delta.told.seq;
            if let Some(oldest) = steps.filter_map(|seq| first_us.get(&seq)).min() {
                ages.add(Duration::from_micros(delta.at_us.saturating_sub(*oldest)));
            }
        }
        ages
    }

    /// When the oldest event of each single step was sent.
    pub fn first_of_each_step(&self) -> HashMap<u64, u64> {
        self.told
            .iter()
            .filter(|(told, _)| told.seq == told.after + 1)
            .filter_map(|(told, seen)| Some((told.seq, seen.oldest_us?)))
            .collect()
    }
}

struct Shared {
    address: SocketAddr,
    since: Option<String>,
    epoch: Instant,
    ready: Arc<AtomicUsize>,
    turns: Semaphore,
    heard: Rc<RefCell<Heard>>,
}

impl Shared {
    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

async fn console(shared: &Shared) -> anyhow::Result<()> {
    let turn = shared.turns.acquire().await?;
    let mut socket = connect(shared.address).await?;
    let since = shared.since.as_deref();
    let since = since.map_or(String::new(), |since| format!(r#","since":{since}"#));
    let subscribe = format!(r#"{{"type":"subscribe","classroom":"default"{since}}}"#);
    socket.write_all(&masked(1, subscribe.as_bytes())).await?;
    let mut reader = Reader::default();
    while !reader.is_open {
        hear(&socket, &mut reader, shared).await?;
    }
    drop(turn);
    loop {
        hear(&socket, &mut reader, shared).await?;
    }
}

/// Past the handshake.
pub async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    greet(TcpStream::connect(address).await?, address).await
}

/// Up to the end of the answer's head.
pub async fn greet(mut socket: TcpStream, address: SocketAddr) -> anyhow::Result<TcpStream> {
    socket.set_nodelay(true)?;
    let handshake = format!(
        "GET /api/v1/live HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: mimamori.v1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    socket.write_all(handshake.as_bytes()).await?;
    // byte by byte: what follows the head belongs to the frames
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    anyhow::ensure!(
        head.starts_with(b"HTTP/1.1 101"),
        "the handshake was refused"
    );
    Ok(socket)
}

/// Reads once and takes in what came.
async fn hear(socket: &TcpStream, reader: &mut Reader, shared: &Shared) -> anyhow::Result<()> {
    socket.readable().await?;
    let answer = BUFFER.with_borrow_mut(|buffer| -> anyhow::Result<bool> {
        let count = match socket.try_read(buffer) {
            Ok(0) => anyhow::bail!("closed"),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut heard = shared.heard.borrow_mut();
        let was_open = reader.is_open;
        let now_us = shared.now_us();
        let wants_pong = reader.take(&buffer[..count], now_us, &mut heard)?;
        if reader.is_open && !was_open {
            heard.opened_us.push(now_us);
            shared.ready.fetch_add(1, Ordering::Relaxed);
        }
        Ok(wants_pong)
    })?;
    if answer {
        // six bytes; a socket that takes none of them is closed by the server soon
        let _ = socket.try_write(&masked(10, b""));
    }
    Ok(())
}
