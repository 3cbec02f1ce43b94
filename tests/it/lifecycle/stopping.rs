//! Stopping, and starting again on the same directory.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::{command, complained, said};
use crate::harness::{
    Console, Ended, INGEST_KEY, PATIENCE, ROOM, Run, Server, ensure, eventually, run,
};

/// From SIGTERM to the end.
const DRAIN: Duration = Duration::from_secs(5);
/// Ended at once: what a shell reports of a process that a signal ended.
const ENDED_BY_SIGNAL: i32 = 130;

#[tokio::test]
async fn sigterm_lets_go_of_consoles_and_exits_with_0_within_5_seconds() {
    let mut server = Server::start().await;
    server.api().accepted(&[run("e1", "a", "c", Run::Ok)]).await;
    let mut console = Console::watching(&server, ROOM).await;
    let began = Instant::now();

    server.sigterm();
    let end = console.ended(DRAIN).await;
    let status = server.ended(DRAIN).await;

    assert_eq!(end, Ended::Closed(1001));
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(began.elapsed() <= DRAIN, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_in_hand_is_finished_while_draining_and_readiness_says_so() {
    let mut server = Server::start().await;
    let body = json!([run("in-hand", "a", "c", Run::Ok)]).to_string();
    let head = format!(
        "POST /k/{INGEST_KEY}/api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut in_hand = TcpStream::connect(server.address).await.unwrap();
    in_hand.write_all(head.as_bytes()).await.unwrap();
    in_hand.write_all(&body.as_bytes()[..20]).await.unwrap();
    // kept open from before, as a load balancer's probe may be
    let mut probe = TcpStream::connect(server.address).await.unwrap();
    ask_readiness(&mut probe).await.expect("ready before");
    settled(&server).await;

    server.sigterm();
    let drained = drained(&server, &mut probe).await;
    in_hand.write_all(&body.as_bytes()[20..]).await.unwrap();
    let mut answer = String::new();
    let _ = timeout(DRAIN, in_hand.read_to_string(&mut answer)).await;
    let status = server.ended(DRAIN).await;

    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(drained, "readiness never said so");
    let server = server.start_again().await;
    eventually("what was answered 202 is there", PATIENCE, async || {
        let events = server.api().all("/events?since=0", 10).await;
        ensure(events.len() == 1, || format!("{events:?}"))
    })
    .await;
}

/// A request that follows another on the loopback is answered after that one was accepted.
async fn settled(server: &Server) {
    for _ in 0..3 {
        server.stranger().get("/livez").await;
    }
}

async fn ask_readiness(socket: &mut TcpStream) -> Option<String> {
    socket
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .ok()?;
    let mut bytes = [0; 4096];
    match timeout(PATIENCE, socket.read(&mut bytes)).await {
        Ok(Ok(count)) if count > 0 => Some(String::from_utf8_lossy(&bytes[..count]).into_owned()),
        _ => None,
    }
}

/// Readiness says 503 while draining: on the connection that was open, or on a new
/// one. Nobody may be refused before it was said.
async fn drained(server: &Server, probe: &mut TcpStream) -> bool {
    let deadline = Instant::now() + DRAIN;
    while Instant::now() < deadline {
        let answer = match ask_readiness(probe).await {
            Some(answer) => Some(answer),
            None => match TcpStream::connect(server.address).await {
                Ok(mut fresh) => ask_readiness(&mut fresh).await,
                Err(_) => return false,
            },
        };
        if answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 503")) {
            return true;
        }
    }
    false
}

/// strace holds every fdatasync of the server back, as a disk does that hangs.
async fn hang_disk(server: &Server) -> Child {
    let pid = server.pid().as_raw_nonzero().to_string();
    let mut strace = Command::new("strace")
        .args(["-f", "-p", &pid, "-o", "/dev/null"])
        .args(["-e", "trace=fdatasync"])
        .args(["-e", "inject=fdatasync:delay_enter=60s"])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(strace.stderr.take().unwrap()).lines();
    let attached = timeout(PATIENCE, said.next_line()).await.unwrap().unwrap();
    assert!(
        attached
            .as_ref()
            .is_some_and(|line| line.contains("attached")),
        "{attached:?}"
    );
    strace
}

/// Its first thread is gone for good, whoever still looks at another.
async fn has_exited(server: &Server) {
    let stat = format!("/proc/{}/stat", server.pid().as_raw_nonzero());
    eventually("the process exits", PATIENCE, async || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        ensure(state.is_empty() || state.starts_with('Z'), || {
            state.to_owned()
        })
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_not_waited_for_and_is_no_success() {
    let mut server = Server::start().await;
    let mut strace = hang_disk(&server).await;
    let api = server.stranger();
    let path = format!("/k/{INGEST_KEY}/api/v1/events");
    let event = run("e1", "a", "c", Run::Ok);
    let in_hand = tokio::spawn(async move {
        let request = api.request(reqwest::Method::POST, &path).json(&[event]);
        crate::harness::Api::send(request).await
    });
    settled(&server).await;
    let began = Instant::now();

    server.sigterm();
    has_exited(&server).await;
    let took = began.elapsed();
    // strace may still hold the thread that it delays, and so the end of the process from us
    strace.kill().await.unwrap();
    let status = server.ended(PATIENCE).await;

    // the limit leaves a traced process on a busy machine little of the 5 s; the disk would take 60
    assert!(took <= 2 * DRAIN, "{took:?}");
    assert_eq!(status.code(), Some(1), "{}", server.log());
    let answer = in_hand.await.unwrap();
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 503));
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let mut server = Server::start().await;
    // something that a patient drain would wait for
    let mut half = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /k/{INGEST_KEY}/api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n["
    );
    half.write_all(head.as_bytes()).await.unwrap();
    let mut console = Console::watching(&server, ROOM).await;

    server.sigterm();
    // the first signal has been taken when consoles are told
    console.ended(DRAIN).await;
    server.sigterm();
    let status = server.ended(DRAIN).await;

    // neither drained (0) nor ended by the limit of a drain (1)
    assert_eq!(status.code(), Some(ENDED_BY_SIGNAL), "{}", server.log());
}

/// 30 runs of 5 students.
fn thirty() -> Vec<Value> {
    (0..30)
        .map(|nth| run(&format!("e{nth}"), &format!("s{}", nth % 5), "c", Run::Ok))
        .collect()
}

#[tokio::test]
async fn after_a_stop_known_events_are_duplicates_and_positions_go_on() {
    let mut server = Server::start().await;
    let events = thirty();
    server.api().accepted(&events).await;
    let last = newest(&server, "e29").await;
    server.sigterm();
    assert!(server.ended(PATIENCE).await.success());

    let server = server.start_again().await;
    let again = server.api().ingest(&events).await.good();
    let mut changed = events[0].clone();
    changed["code"] = json!("something else");
    let conflict = server.api().ingest(&[changed]).await;
    server
        .api()
        .accepted(&[run("new", "s0", "c", Run::Ok)])
        .await;

    let counts = (&again["accepted"], &again["duplicates"]);
    assert_eq!(counts, (&json!(0), &json!(30)), "{again}");
    assert_eq!(
        conflict.json["rejected"][0]["code"], "conflict",
        "{}",
        conflict.text
    );
    let newest = newest(&server, "new").await;
    assert!(newest["position"].as_u64() > last["position"].as_u64());
}

/// The last event that can be read, once it is this one.
async fn newest(server: &Server, id: &str) -> Value {
    eventually("the newest event", PATIENCE, async || {
        let newest = server.api().all("/events?since=0", 100).await.pop();
        let newest = newest.unwrap_or_default();
        ensure(newest["eventId"] == id, || newest.to_string())?;
        Ok::<_, String>(newest)
    })
    .await
}

#[tokio::test]
async fn after_a_stop_every_student_is_as_before() {
    let mut server = Server::start().await;
    server.api().accepted(&thirty()).await;
    let mut before = Console::watching(&server, ROOM).await;
    before
        .until(PATIENCE, "all runs", |console| {
            console.rooms[ROOM].sum("executions") == 30
        })
        .await;
    server.sigterm();
    assert!(server.ended(PATIENCE).await.success());

    let server = server.start_again().await;
    let mut after = Console::watching(&server, ROOM).await;
    after
        .until(PATIENCE, "all runs", |console| {
            console.rooms[ROOM].sum("executions") == 30
        })
        .await;

    assert_eq!(after.rooms[ROOM].students, before.rooms[ROOM].students);
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_does_not_start() {
    let server = Server::start().await;

    let second = command(server.dir(), &["serve"], &[]).await;

    assert_eq!(second.status.code(), Some(1), "{}", complained(&second));
    assert_eq!(said(&second), "");
    assert!(
        complained(&second).contains(&*server.dir().to_string_lossy()),
        "{}",
        complained(&second)
    );
    assert_eq!(server.api().get("/readyz").await.status, 200);
}
