//! A network that fails on demand: a TCP proxy on the loopback between the program
//! and one of its servers, whose mode is switched while it runs. It ends with its owner.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Connections at a time; further ones wait in the listen queue.
const CONNECTIONS: usize = 512;
/// What is read at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces of a direction that are under way; behind them the sender waits.
const PIECES: usize = 256;
const BACKLOG: u32 = 1024;

/// What becomes of what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It goes on to the server, and the answer back.
    Pass,
    /// Nobody listens; connections that are there are reset.
    Refuse,
    /// Connections are taken and nothing goes on, in either direction, until the mode changes.
    Hang,
    /// Every answer comes so much later.
    Delay(Duration),
}

/// How it is now: the mode, and how often connections were reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weather {
    mode: Mode,
    resets: u64,
}

/// The proxy. Dropped, it ends and so do its connections.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    seen: watch::Receiver<Weather>,
    places: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before `server` on a free port; it passes everything on.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let fair = Weather {
            mode: Mode::Pass,
            resets: 0,
        };
        let (weather, now) = watch::channel(fair);
        let (notice, seen) = watch::channel(fair);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let door = Door {
            address,
            server,
            now,
            notice,
            places: Arc::clone(&places),
        };
        let serving = tokio::spawn(door.serve(listener));
        Self {
            address,
            weather,
            seen,
            places,
            serving,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address with the proxy's place instead of the server's: `scheme://…@HOST:PORT/…`.
    pub fn instead_of(&self, server: SocketAddr, url: &str) -> String {
        let changed = url.replace(&server.to_string(), &self.address.to_string());
        assert_ne!(changed, url, "the address names the server");
        changed
    }

    /// From now on; whoever connects after it returns meets this mode.
    pub async fn set(&self, mode: Mode) {
        self.change(|weather| weather.mode = mode).await;
    }

    /// Resets all connections that are there, without a word to either side. Others may come at once.
    pub async fn reset(&self) {
        self.change(|weather| weather.resets += 1).await;
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        CONNECTIONS - self.places.available_permits()
    }

    async fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.weather.send_modify(change);
        let wanted = *self.weather.borrow();
        let mut seen = self.seen.clone();
        let _ = seen.wait_for(|seen| *seen == wanted).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort(); // its connections are its own, and end with it
    }
}

/// What takes connections.
struct Door {
    address: SocketAddr,
    server: SocketAddr,
    now: watch::Receiver<Weather>,
    notice: watch::Sender<Weather>,
    places: Arc<Semaphore>,
}

impl Door {
    async fn serve(mut self, mut listener: TcpListener) {
        let mut connections = JoinSet::new();
        let places = Arc::clone(&self.places);
        loop {
            let weather = *self.now.borrow_and_update();
            if weather.mode == Mode::Refuse {
                drop(listener);
                listener = self.closed(weather).await;
                continue;
            }
            self.notice.send_replace(weather);
            tokio::select! {
                changed = self.now.changed() => if changed.is_err() { return },
                taken = take(&places, &listener) => {
                    let Ok((client, place)) = taken else { continue };
                    let (server, now) = (self.server, self.now.clone());
                    connections.spawn(async move {
                        let _ = carry(client, server, now).await;
                        drop(place);
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Keeps the port and does not listen, until the mode changes.
    async fn closed(&mut self, weather: Weather) -> TcpListener {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.notice.send_replace(weather);
        let wait = self.now.wait_for(|now| now.mode != Mode::Refuse);
        if wait.await.is_err() {
            std::future::pending::<()>().await; // the owner is gone and ends this
        }
        socket.listen(BACKLOG).unwrap()
    }
}

async fn take(
    places: &Arc<Semaphore>,
    listener: &TcpListener,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await;
    let (client, _) = listener.accept().await?;
    Ok((client, place.expect("nobody closes it")))
}

/// One connection, until both sides ended it or it is reset.
async fn carry(
    mut client: TcpStream,
    server: SocketAddr,
    now: watch::Receiver<Weather>,
) -> io::Result<()> {
    let begun = now.borrow().resets;
    let mut until = now.clone();
    let is_over = |now: &Weather| now.mode == Mode::Refuse || now.resets != begun;
    client.set_nodelay(true)?;
    let reach = async {
        settled(&mut now.clone()).await;
        TcpStream::connect(server).await
    };
    let mut server = tokio::select! {
        reached = reach => reached?,
        _ = until.wait_for(is_over) => return reset(&client),
    };
    server.set_nodelay(true)?;
    let both = async {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let there = pump(from_client, to_server, now.clone(), Way::Question);
        let back = pump(from_server, to_client, now.clone(), Way::Answer);
        tokio::try_join!(there, back)
    };
    tokio::select! {
        done = both => return done.map(|_| ()),
        _ = until.wait_for(is_over) => {}
    }
    reset(&server)?;
    reset(&client)
}

/// Once it is dropped it ends without a word, and what was under way is gone.
fn reset(stream: &TcpStream) -> io::Result<()> {
    Ok(set_socket_linger(stream, Some(Duration::ZERO))?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Question,
    Answer,
}

/// Carries bytes one way, each piece when the mode lets it.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut now: watch::Receiver<Weather>,
    way: Way,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let reading = async move {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = from.read(&mut piece).await?;
            piece.truncate(read);
            let is_end = read == 0;
            if sender.send((Instant::now(), piece)).await.is_err() || is_end {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((came, piece)) = pieces.recv().await {
            due(&mut now, came, way).await;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(reading, writing)?;
    Ok(())
}

/// Returns when a piece that came then may go on.
async fn due(now: &mut watch::Receiver<Weather>, came: Instant, way: Way) {
    loop {
        settled(now).await;
        let mode = now.borrow_and_update().mode;
        let (Mode::Delay(delay), Way::Answer) = (mode, way) else {
            return;
        };
        tokio::select! {
            () = sleep_until(came + delay) => return,
            changed = now.changed() => if changed.is_err() { return },
        }
    }
}

/// Returns when the mode lets anything through.
async fn settled(now: &mut watch::Receiver<Weather>) {
    let _ = now.wait_for(|now| now.mode != Mode::Hang).await;
}
