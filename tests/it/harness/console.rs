//! A console: signs in, subscribes, and holds what it is told against the contract.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{ADMIN, PATIENCE, Server};

/// How a console shows who it is.
#[derive(Debug, Clone, Default)]
pub struct SignIn {
    /// `Authorization: Bearer`
    pub bearer: Option<String>,
    /// The subprotocol `bearer.<token>`
    pub subprotocol: Option<String>,
    /// The cookie `mimamori_session`
    pub cookie: Option<String>,
    /// `Origin`
    pub origin: Option<String>,
    /// A query, where no token is ever read from
    pub query: Option<String>,
    /// Without the subprotocol `mimamori.v1`
    pub is_without_protocol: bool,
}

impl SignIn {
    /// As programs do.
    pub fn bearer(token: &str) -> Self {
        Self {
            bearer: Some(token.to_owned()),
            ..Self::default()
        }
    }
}

/// How a connection ended, or that it never began.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Refused with this status.
    Refused(u16),
    /// Closed with this code.
    Closed(u16),
    /// The connection was gone.
    Gone,
}

/// A classroom as a console knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Room {
    /// Of which incarnation `seq` is.
    pub epoch: String,
    /// The last delta.
    pub seq: u64,
    /// By id.
    pub students: BTreeMap<String, Value>,
    /// Open ones, by id.
    pub alerts: BTreeMap<String, Value>,
    /// Ids of the events of its feed, each once.
    pub events: BTreeSet<String>,
    /// Events that it was told of by number only.
    pub omitted: u64,
}

impl Room {
    /// The sum of a counter over its students.
    pub fn sum(&self, counter: &str) -> u64 {
        self.students
            .values()
            .map(|student| student[counter].as_u64().unwrap())
            .sum()
    }

    /// The student whose name ends so.
    pub fn named(&self, name: &str) -> Option<&Value> {
        self.students.values().find(|student| {
            student["name"]
                .as_str()
                .is_some_and(|full| full.ends_with(name))
        })
    }
}

/// A connection, and what was told over it.
pub struct Console {
    socket: WebSocketStream<TcpStream>,
    /// By classroom.
    pub rooms: BTreeMap<String, Room>,
    /// Frames of other types, in their order.
    pub other: VecDeque<Value>,
    /// How many snapshots came.
    pub snapshots: usize,
    /// How many deltas came.
    pub deltas: usize,
}

impl Console {
    /// Signed in with the admin token and past the `hello`.
    pub async fn open(server: &Server) -> Self {
        let mut console = Self::connect(server, &SignIn::bearer(ADMIN)).await.unwrap();
        console.hello().await;
        console
    }

    /// As [`Console::open`], and subscribed from the beginning: past the snapshot.
    pub async fn watching(server: &Server, classroom: &str) -> Self {
        let mut console = Self::open(server).await;
        console.subscribe(classroom).await;
        console
    }

    /// The connection, before anything is said.
    pub async fn connect(server: &Server, sign_in: &SignIn) -> Result<Self, Ended> {
        Self::connect_with_buffer(server, sign_in, None).await
    }

    /// With a small receive buffer a console that does not read is soon felt by the server.
    pub async fn connect_with_buffer(
        server: &Server,
        sign_in: &SignIn,
        receive_bytes: Option<u32>,
    ) -> Result<Self, Ended> {
        Self::connect_at(server.address, sign_in, receive_bytes).await
    }

    /// The same, to whatever listens there.
    pub async fn connect_at(
        address: SocketAddr,
        sign_in: &SignIn,
        receive_bytes: Option<u32>,
    ) -> Result<Self, Ended> {
        let query = sign_in.query.as_deref().unwrap_or_default();
        let uri: Uri = format!("ws://{address}/api/v1/live{query}")
            .parse()
            .unwrap();
        let mut request = ClientRequestBuilder::new(uri);
        if !sign_in.is_without_protocol {
            request = request.with_sub_protocol("mimamori.v1");
        }
        if let Some(token) = &sign_in.subprotocol {
            request = request.with_sub_protocol(format!("bearer.{token}"));
        }
        if let Some(token) = &sign_in.bearer {
            request = request.with_header("Authorization", format!("Bearer {token}"));
        }
        if let Some(cookie) = &sign_in.cookie {
            request = request.with_header("Cookie", cookie);
        }
        if let Some(origin) = &sign_in.origin {
            request = request.with_header("Origin", origin);
        }
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(address).await.unwrap();
        match timeout(PATIENCE, client_async(request, stream))
            .await
            .unwrap()
        {
            Ok((socket, _)) => Ok(Self {
                socket,
                rooms: BTreeMap::new(),
                other: VecDeque::new(),
                snapshots: 0,
                deltas: 0,
            }),
            Err(Error::Http(response)) => Err(Ended::Refused(response.status().as_u16())),
            Err(_) => Err(Ended::Gone),
        }
    }

    /// The first frame after sign-in.
    pub async fn hello(&mut self) {
        let hello = self.frame().await.unwrap();
        assert_eq!(hello, json!({"type": "hello", "heartbeatMs": 15000}));
    }

    /// From the beginning, up to the snapshot.
    pub async fn subscribe(&mut self, classroom: &str) {
        self.say(&json!({"type": "subscribe", "classroom": classroom}))
            .await;
        self.until(PATIENCE, "the snapshot", |console| {
            console.rooms.contains_key(classroom)
        })
        .await;
    }

    /// Goes on, on a new connection, from where this one was.
    pub async fn resume(self, server: &Server, classroom: &str) -> Self {
        self.resume_at(server.address, classroom).await
    }

    /// The same, at whatever listens there.
    pub async fn resume_at(self, address: SocketAddr, classroom: &str) -> Self {
        let mut resumed = Self::connect_at(address, &SignIn::bearer(ADMIN), None)
            .await
            .unwrap();
        resumed.hello().await;
        let room = self.rooms[classroom].clone();
        let since = json!({"epoch": room.epoch, "seq": room.seq});
        resumed.rooms.insert(classroom.to_owned(), room);
        let subscribe = json!({"type": "subscribe", "classroom": classroom, "since": since});
        resumed.say(&subscribe).await;
        resumed
    }

    /// Sends a frame.
    pub async fn say(&mut self, frame: &Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    /// Sends whatever it is; the server may have gone.
    pub async fn send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// The next text frame as JSON, or how the connection ended.
    pub async fn frame(&mut self) -> Result<Value, Ended> {
        self.frame_within(PATIENCE)
            .await
            .unwrap_or_else(|| panic!("no frame within {PATIENCE:?}"))
    }

    async fn frame_within(&mut self, within: Duration) -> Option<Result<Value, Ended>> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            return match timeout(left, self.socket.next()).await.ok()? {
                Some(Ok(Message::Text(text))) => Some(Ok(serde_json::from_str(&text).unwrap())),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(Some(frame)))) => {
                    Some(Err(Ended::Closed(frame.code.into())))
                }
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                    panic!("a frame that is not text")
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => Some(Err(Ended::Gone)),
            };
        }
    }

    /// How the connection ends; what is told until then is taken in.
    pub async fn ended(&mut self, within: Duration) -> Ended {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.frame_within(left).await {
                Some(Ok(frame)) => self.take_in(frame),
                Some(Err(ended)) => return ended,
                None => panic!("still open after {within:?}"),
            }
        }
    }

    /// Takes in frames until it holds.
    pub async fn until(&mut self, within: Duration, what: &str, holds: impl Fn(&Self) -> bool) {
        if let Err(ended) = self.try_until(within, what, holds).await {
            panic!("{what}: the connection ended: {ended:?}");
        }
    }

    /// As [`Console::until`], of a connection that may end.
    pub async fn try_until(
        &mut self,
        within: Duration,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), Ended> {
        let deadline = Instant::now() + within;
        while !holds(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.frame_within(left).await {
                Some(frame) => self.take_in(frame?),
                None => panic!("{what}: not within {within:?}; rooms: {:#?}", self.rooms),
            }
        }
        Ok(())
    }

    /// Takes in what comes, for so long.
    pub async fn listen(&mut self, during: Duration) {
        let deadline = Instant::now() + during;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.frame_within(left).await {
                Some(Ok(frame)) => self.take_in(frame),
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Takes in what comes, until both know this classroom up to the same delta: one who
    /// asks later may have been told of something that came meanwhile.
    pub async fn level_with(&mut self, other: &mut Self, classroom: &str) {
        let place = |console: &Self| {
            let room = &console.rooms[classroom];
            (room.epoch.clone(), room.seq)
        };
        let deadline = Instant::now() + PATIENCE;
        while place(self) != place(other) {
            assert!(
                Instant::now() < deadline,
                "{:?}",
                (place(self), place(other))
            );
            let a_while = Duration::from_millis(50);
            tokio::join!(self.listen(a_while), other.listen(a_while));
        }
    }

    /// The next frame that is neither snapshot nor delta.
    pub async fn other(&mut self) -> Value {
        self.until(PATIENCE, "another frame", |console| {
            !console.other.is_empty()
        })
        .await;
        self.other.pop_front().unwrap()
    }

    /// The room that a frame is about, as it was known.
    fn take_in(&mut self, frame: Value) {
        match frame["type"].as_str().unwrap() {
            "snapshot" => self.take_snapshot(&frame),
            "delta" => self.take_delta(&frame),
            _ => self.other.push_back(frame),
        }
    }

    fn take_snapshot(&mut self, frame: &Value) {
        self.snapshots += 1;
        let classroom = frame["classroom"].as_str().unwrap().to_owned();
        let old = self.rooms.remove(&classroom).unwrap_or_default();
        let mut room = Room {
            epoch: frame["epoch"].as_str().unwrap().to_owned(),
            seq: frame["seq"].as_u64().unwrap(),
            events: old.events,
            omitted: old.omitted,
            ..Room::default()
        };
        for student in frame["students"].as_array().unwrap() {
            let id = student["id"].as_str().unwrap();
            if let Some(known) = old.students.get(id) {
                assert_never_falls(known, student);
            }
            assert_is_student(student);
            room.students.insert(id.to_owned(), student.clone());
        }
        take_alerts(&mut room, &frame["alerts"]);
        let recent = frame["recent"].as_array().unwrap();
        assert!(recent.len() <= 50, "{} recent events", recent.len());
        room.events.extend(recent.iter().map(whose_event));
        self.rooms.insert(classroom, room);
    }

    fn take_delta(&mut self, frame: &Value) {
        self.deltas += 1;
        let classroom = frame["classroom"].as_str().unwrap();
        let room = self
            .rooms
            .get_mut(classroom)
            .expect("a snapshot comes first");
        assert_eq!(
            frame["epoch"],
            room.epoch.as_str(),
            "of another incarnation: {frame}"
        );
        assert_eq!(frame["after"], room.seq, "the chain is broken: {frame}");
        let seq = frame["seq"].as_u64().unwrap();
        assert!(seq > room.seq, "{frame}");
        room.seq = seq;
        for student in frame["students"].as_array().unwrap() {
            assert_is_student(student);
            let id = student["id"].as_str().unwrap().to_owned();
            if let Some(known) = room.students.insert(id, student.clone()) {
                assert_never_falls(&known, student);
            }
        }
        for id in frame["removed"].as_array().unwrap() {
            room.students.remove(id.as_str().unwrap());
        }
        take_alerts(room, &frame["alerts"]);
        for event in frame["events"].as_array().unwrap() {
            assert!(
                room.events.insert(whose_event(event)),
                "told twice: {event}"
            );
        }
        room.omitted += frame["eventsOmitted"].as_u64().unwrap();
    }
}

fn whose_event(event: &Value) -> String {
    // an id is unique only together with its student
    format!(
        "{} {}",
        event["student"].as_str().unwrap(),
        event["eventId"].as_str().unwrap()
    )
}

fn take_alerts(room: &mut Room, alerts: &Value) {
    for alert in alerts.as_array().unwrap() {
        let id = alert["id"].as_str().unwrap().to_owned();
        match alert["state"].as_str().unwrap() {
            "closed" => drop(room.alerts.remove(&id)),
            _ => drop(room.alerts.insert(id, alert.clone())),
        }
    }
}

/// Within a lesson (and no test is longer than one) these never fall, merged or not.
fn assert_never_falls(known: &Value, now: &Value) {
    for counter in ["executions", "errors"] {
        assert!(
            now[counter].as_u64() >= known[counter].as_u64(),
            "{counter} fell: {known} {now}"
        );
    }
    // ISO 8601 in UTC with milliseconds: the order of texts is that of times
    assert!(
        now["lastActivity"].as_str() >= known["lastActivity"].as_str(),
        "lastActivity fell: {known} {now}"
    );
}

/// The members of a Student, exactly (contract, section 5), but for those that are
/// there only where they say something.
pub fn assert_is_student(student: &Value) {
    let members: Vec<_> = student
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .filter(|member| !["isDefaultAddress", "people"].contains(member))
        .collect();
    let mut expected = [
        "id",
        "name",
        "team",
        "status",
        "notebook",
        "cellId",
        "cellIndex",
        "executions",
        "errors",
        "consecutiveErrors",
        "lastActivity",
        "help",
    ];
    expected.sort_unstable();
    assert_eq!(members, expected, "{student}");
    let status = student["status"].as_str().unwrap();
    assert!(
        ["help", "stuck", "error", "active", "idle", "offline"].contains(&status),
        "{student}"
    );
}
