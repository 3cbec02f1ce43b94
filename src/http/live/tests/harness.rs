//! A server with one classroom, and a console that speaks to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use mimamori_actors::domain::{
    ClassroomId, Cursor, EventBrief, EventId, EventKind, Heard, Moment, Position, SessionKey,
    SessionUpdate, StudentId, StudentView, Timestamp,
};
use mimamori_actors::feed::{Delta, Feed, FeedLimits, Resume, reset_frame};
use mimamori_actors::live::{Console, Consoles, SubscribeError, TooManyConsoles};
use mimamori_actors::outbox::Outbox;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response as Handshake;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::super::{Live, LiveSettings, OpenSockets, SignIn};
use super::route::Route;
use crate::http::accept::{self, AcceptOptions};
use crate::http::auth::OriginCheck;
use crate::http::{Head, Viewer};

/// Nothing on the loopback takes so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const OWN_ORIGIN: &str = "http://127.0.0.1:8000";
pub(in super::super) const TOKEN: &str = "mma_good-token";
/// The value of [`COOKIE`], which is a token too.
pub(in super::super) const SESSION: &str = "mms_good-session";
/// Of a sign-in link.
pub(in super::super) const LINK: &str = "mml_good-link";
pub(super) const COOKIE: &str = "mimamori_session=mms_good-session";

/// Knows one token, one link and one session.
#[derive(Default)]
pub(in super::super) struct FakeSignIn {
    pub(in super::super) is_signed_out: AtomicBool,
    /// Whoever asks for the viewer of a cookie panics.
    pub(super) panics: AtomicBool,
}

impl SignIn for FakeSignIn {
    fn origin(&self, head: &Head) -> OriginCheck {
        match head.header("origin") {
            None => OriginCheck::Absent,
            Some(OWN_ORIGIN) => OriginCheck::Ours,
            Some(_) => OriginCheck::Foreign,
        }
    }

    fn viewer_of_token(&self, token: &str) -> Option<Viewer> {
        match token {
            TOKEN => Some(Viewer::Admin),
            LINK => Some(Viewer::Instructor),
            SESSION => (!self.is_signed_out.load(Ordering::Relaxed)).then_some(Viewer::Instructor),
            _ => None,
        }
    }

    fn is_link(&self, token: &str) -> bool {
        token == LINK
    }

    fn viewer_of_cookie(&self, head: &Head) -> Option<Viewer> {
        assert!(!self.panics.load(Ordering::Relaxed), "as a test asks for");
        let is_good = head
            .header("cookie")
            .is_some_and(|line| line.contains(COOKIE));
        (is_good && !self.is_signed_out.load(Ordering::Relaxed)).then_some(Viewer::Instructor)
    }
}

/// The classroom `default`, and who watches it.
pub(super) struct Room {
    feed: Feed,
    outboxes: Vec<Arc<Outbox>>,
    position: u64,
    is_ready: bool,
}

/// The tree, in one struct behind a lock.
#[derive(Clone)]
pub(super) struct FakeConsoles {
    room: Arc<Mutex<Room>>,
    max_consoles: usize,
}

impl FakeConsoles {
    fn new(max_consoles: usize) -> Self {
        let feed = Feed::new(
            default_classroom(),
            "epoch-1".to_owned(),
            FeedLimits::default(),
        );
        let room = Room {
            feed,
            outboxes: Vec::new(),
            position: 0,
            is_ready: true,
        };
        Self {
            room: Arc::new(Mutex::new(room)),
            max_consoles,
        }
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Room) -> T) -> T {
        change(&mut self.room.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One event of this student; consoles are told at once.
    pub(super) fn event(&self, student: &str) -> Arc<Delta> {
        self.event_of(student, "山田")
    }

    pub(super) fn event_of(&self, student: &str, name: &str) -> Arc<Delta> {
        self.with(|room| room.event(student, name))
    }

    pub(super) fn set_ready(&self, is_ready: bool) {
        self.with(|room| room.is_ready = is_ready);
    }

    pub(super) fn watching(&self) -> usize {
        self.with(|room| room.outboxes.len())
    }

    /// Of the console that subscribed last.
    pub(super) fn outbox(&self) -> Arc<Outbox> {
        self.with(|room| Arc::clone(room.outboxes.last().expect("somebody watches")))
    }

    pub(super) fn seq(&self) -> u64 {
        self.with(|room| room.feed.cursor().seq)
    }
}

impl Room {
    fn event(&mut self, student: &str, name: &str) -> Arc<Delta> {
        self.position += 1;
        let update = update(student, name, self.position);
        self.feed.apply(update, heard());
        let delta = self.feed.tick(heard()).expect("an event is told");
        for outbox in &self.outboxes {
            outbox.deliver(&delta);
        }
        delta
    }

    fn open(&mut self, outbox: &Arc<Outbox>, since: Option<Cursor>) {
        let classroom = default_classroom();
        let resumed = since.map(|since| (self.feed.resume(&since), since));
        match resumed {
            Some((Resume::Deltas(deltas), since)) => {
                outbox.begin(&classroom, Vec::new(), since);
                for delta in &deltas {
                    outbox.deliver(delta);
                }
            }
            Some((Resume::Reset { reason }, _)) => {
                let opening = vec![reset_frame(&classroom, reason), self.feed.snapshot(heard())];
                outbox.begin(&classroom, opening, self.feed.cursor());
            }
            None => outbox.begin(
                &classroom,
                vec![self.feed.snapshot(heard())],
                self.feed.cursor(),
            ),
        }
        self.close(outbox);
        self.outboxes.push(Arc::clone(outbox));
    }

    fn close(&mut self, outbox: &Arc<Outbox>) {
        self.outboxes.retain(|other| !Arc::ptr_eq(other, outbox));
    }
}

impl Consoles for FakeConsoles {
    fn connect(&self, outbox: Arc<Outbox>) -> Result<Box<dyn Console>, TooManyConsoles> {
        if self.watching() >= self.max_consoles {
            return Err(TooManyConsoles);
        }
        Ok(Box::new(FakeConsole {
            consoles: self.clone(),
            outbox,
        }))
    }
}

struct FakeConsole {
    consoles: FakeConsoles,
    outbox: Arc<Outbox>,
}

#[async_trait]
impl Console for FakeConsole {
    async fn subscribe(
        &self,
        classroom: &ClassroomId,
        since: Option<Cursor>,
    ) -> Result<(), SubscribeError> {
        if *classroom != default_classroom() {
            return Err(SubscribeError::NotFound);
        }
        self.consoles.with(|room| {
            if !room.is_ready {
                return Err(SubscribeError::Unavailable);
            }
            room.open(&self.outbox, since);
            Ok(())
        })
    }

    fn unsubscribe(&self, _classroom: &ClassroomId) {
        self.consoles.with(|room| room.close(&self.outbox));
    }
}

impl Drop for FakeConsole {
    fn drop(&mut self) {
        self.consoles.with(|room| room.close(&self.outbox));
    }
}

/// A running server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) consoles: FakeConsoles,
    pub(super) sign_in: Arc<FakeSignIn>,
    pub(super) draining: watch::Sender<bool>,
    pub(super) withdrawals: watch::Sender<u64>,
    pub(super) open: OpenSockets,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(LiveSettings::default(), 1000).await
    }

    pub(super) async fn start_with(settings: LiveSettings, max_consoles: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            consoles: FakeConsoles::new(max_consoles),
            sign_in: Arc::default(),
            draining: watch::Sender::new(false),
            withdrawals: watch::Sender::new(0),
            open: OpenSockets::new(),
        };
        let live = Live {
            sign_in: Arc::clone(&server.sign_in) as Arc<dyn SignIn>,
            consoles: Arc::new(server.consoles.clone()),
            draining: server.draining.subscribe(),
            withdrawals: server.withdrawals.subscribe(),
            open: server.open.clone(),
            settings,
        };
        tokio::spawn(serve(listener, live));
        server
    }

    /// Opens a socket with these headers, the subprotocol included if one is named.
    pub(super) async fn open(&self, headers: &[(&'static str, &str)]) -> (Page, Handshake) {
        let mut request = format!("ws://{}/api/v1/live", self.address)
            .into_client_request()
            .unwrap();
        let mut protocol = "mimamori.v1";
        for (name, value) in headers {
            if *name == "sec-websocket-protocol" {
                protocol = value;
            } else {
                request.headers_mut().append(*name, value.parse().unwrap());
            }
        }
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (socket, response) = client_async(request, socket).await.unwrap();
        (Page { socket }, response)
    }

    /// A console that is signed in and was greeted.
    pub(super) async fn console(&self) -> Page {
        let (mut page, _) = self
            .open(&[("authorization", &format!("Bearer {TOKEN}"))])
            .await;
        assert_eq!(page.hear().await["type"], "hello");
        page
    }

    /// A console that has the snapshot.
    pub(super) async fn watching(&self) -> (Page, Value) {
        let mut page = self.console().await;
        page.say(json!({"type": "subscribe", "classroom": "default"}))
            .await;
        let snapshot = page.hear().await;
        assert_eq!(snapshot["type"], "snapshot");
        (page, snapshot)
    }

    /// The head of the answer and, of a problem, its document.
    pub(super) async fn raw(&self, request: &str) -> String {
        let is_whole = |answer: &[u8]| answer.ends_with(b"}");
        String::from_utf8(self.raw_until(request, is_whole).await).unwrap()
    }

    /// The head of the answer.
    pub(super) async fn raw_head(&self, request: &str) -> String {
        let has_head = |answer: &[u8]| answer.windows(4).any(|bytes| bytes == b"\r\n\r\n");
        let answer = self.raw_until(request, has_head).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Everything that comes until the server closes.
    pub(super) async fn raw_until_close(&self, request: &str) -> Vec<u8> {
        self.raw_until(request, |_| false).await
    }

    async fn raw_until(&self, request: &str, is_enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while !is_enough(&answer) {
            let read = tokio::time::timeout(PATIENCE, socket.read(&mut chunk));
            match read.await.unwrap().unwrap() {
                0 => break,
                count => answer.extend_from_slice(&chunk[..count]),
            }
        }
        answer
    }
}

/// The route behind the accept loop, whose sockets it takes over.
async fn serve(listener: TcpListener, live: Live) {
    let options = AcceptOptions {
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        max_connections: 10_000,
        drain_deadline: PATIENCE,
    };
    accept::serve(listener, Route(live), options, std::future::pending()).await;
}

/// A console's side of a socket.
pub(super) struct Page {
    pub(super) socket: WebSocketStream<TcpStream>,
}

impl Page {
    pub(super) async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    pub(super) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next text frame.
    pub(super) async fn hear(&mut self) -> Value {
        match self.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// Reads on until the server closes; its code, or nothing if it just went away.
    pub(super) async fn end(&mut self) -> Option<u16> {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(frame))) => return Some(frame.unwrap().code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(PATIENCE, self.socket.next())
            .await
            .expect("something comes")
    }
}

/// A handshake with these headers instead of the right ones, as text.
pub(super) fn handshake(method: &str, path: &str, without: &str, with: &str) -> String {
    let right = [
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: mimamori.v1",
        "Authorization: Bearer mma_good-token",
    ];
    let mut request = format!("{method} {path} HTTP/1.1\r\n");
    for line in right {
        if without.is_empty() || !line.starts_with(without) {
            request.push_str(&format!("{line}\r\n"));
        }
    }
    format!("{request}{with}\r\n\r\n")
}

/// Whether the last frame is an unmasked close with this code.
pub(super) fn ends_with_close(received: &[u8], code: u16) -> bool {
    let at = |from_end: usize| received.len().checked_sub(from_end);
    (4..=127).filter_map(at).any(|start| {
        let frame = &received[start..];
        frame[0] == 0x88
            && usize::from(frame[1]) == frame.len() - 2
            && frame[2..4] == code.to_be_bytes()
    })
}

pub(super) fn default_classroom() -> ClassroomId {
    ClassroomId::new("default")
}

fn heard() -> Heard {
    Heard::of_wall(at(0))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_760_000_000_000 + seconds * 1000)
}

fn update(student: &str, name: &str, position: u64) -> SessionUpdate {
    let id = StudentId::new(student);
    let view = StudentView {
        position: Position(position),
        id: id.clone(),
        name: name.into(),
        team: None,
        is_default_address: false,
        people: Vec::new(),
        notebook: None,
        cell_id: None,
        cell_index: None,
        executions: position,
        errors: 0,
        consecutive_errors: 0,
        is_last_run_failed: false,
        last_activity: Some(Moment::of_wall(at(0))),
        help: None,
        alerts: Vec::new(),
    };
    SessionUpdate {
        key: SessionKey {
            classroom: default_classroom(),
            student: id.clone(),
        },
        position: view.position,
        view: Arc::new(view),
        event: Some(EventBrief {
            event_id: EventId::new(format!("event-{position}")),
            event_type: EventKind::CellExecuted,
            student: id,
            notebook: None,
            cell_id: None,
            cell_index: None,
            status: None,
            event_time: at(0),
        }),
        alerts: Vec::new(),
    }
}
