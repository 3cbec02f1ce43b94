//! The socket belongs to whoever starts the server, as systemd does it: a restart refuses nobody.

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::{
    Console, Counted, INGEST_KEY, PATIENCE, ROOM, Run, Server, ensure, event_id, eventually,
    exchange, program_under, run,
};

/// Makes standard input descriptor 3, as systemd hands it over, for the program that follows.
const HAND_OVER: [&str; 4] = [
    "sh",
    "-c",
    "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"",
    "sh",
];

fn held(socket: &TcpListener) -> Stdio {
    Stdio::from(OwnedFd::from(socket.try_clone().unwrap()))
}

/// What a client has to show for it.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<String>,
    /// Requests that got no answer, or 503, and came again.
    again: usize,
}

/// Posts one event after the other, each over a connection of its own, which must never be refused.
async fn post(address: SocketAddr, sender: usize, over: Arc<AtomicBool>) -> Sent {
    let mut sent = Sent::default();
    for nth in 0.. {
        let id = format!("take-{sender}-{nth}");
        let body = json!([run(&id, &format!("s{sender}"), "c", Run::Ok)]).to_string();
        let request = format!(
            "POST /k/{INGEST_KEY}/api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        loop {
            // panics if the connection is refused
            let answer = exchange(address, request.as_bytes()).await;
            match answer.status {
                202 => break,
                0 | 503 => sent.again += 1,
                _ => panic!("{}", answer.text),
            }
        }
        sent.acknowledged.push(id);
        if over.load(Ordering::SeqCst) {
            return sent;
        }
    }
    sent
}

/// Stops it and starts the next so often; fails if one connection is refused, or an event lost or doubled.
pub async fn restart_under_load(rounds: usize) -> Counted {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let dir = Arc::new(TempDir::with_prefix("mimamori-it-").unwrap());
    let mut server = Server::on_under(&dir, &HAND_OVER, held(&socket)).await;
    assert_eq!(server.address, address, "http.listen is not looked at");
    let over = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for sender in 0..4 {
        senders.spawn(post(address, sender, Arc::clone(&over)));
    }

    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        server.sigterm();
        assert!(server.ended(PATIENCE).await.success(), "{}", server.log());
        server = Server::on_under(&dir, &HAND_OVER, held(&socket)).await;
        longest = longest.max(began.elapsed());
    }
    over.store(true, Ordering::SeqCst);

    let mut acknowledged = HashSet::new();
    let mut again = 0;
    for sent in senders.join_all().await {
        again += sent.again;
        acknowledged.extend(sent.acknowledged);
    }
    println!(
        "{} acknowledged, {again} sent again, none refused",
        acknowledged.len()
    );
    let api = server.api();
    eventually("each acknowledged event once", PATIENCE, async || {
        let events = api.all("/events?since=0", 1000).await;
        let seen: HashSet<_> = events.iter().map(event_id).collect();
        assert_eq!(seen.len(), events.len(), "an event is there twice");
        ensure(seen == acknowledged, || {
            format!("{} of {}", seen.len(), acknowledged.len())
        })
    })
    .await;
    let log = server.log();
    assert!(log.contains("http.listen is not looked at"), "{log}");
    Console::watching(&server, ROOM).await;
    Counted {
        acknowledged: acknowledged.len(),
        stored: acknowledged.len(),
        recovered: longest,
        ..Counted::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_behind_a_socket_that_somebody_holds_refuses_no_connection() {
    restart_under_load(2).await;
}

#[tokio::test]
async fn what_is_handed_over_and_cannot_be_served_stops_the_start_with_one_line() {
    let dir = TempDir::with_prefix("mimamori-it-").unwrap();
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let deaf = || Stdio::from(OwnedFd::from(deaf.try_clone().unwrap()));
    let unheard = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let cases = [
        ("LISTEN_FDS=1", deaf(), "LISTEN_FDS"),
        ("LISTEN_FDS=1", Stdio::null(), "LISTEN_FDS"),
        ("LISTEN_FDS=1", Stdio::from(unheard), "does not listen"),
        ("LISTEN_FDS=2", deaf(), "2 sockets"),
    ];
    for (variables, stdin, said) in cases {
        let script = format!("exec 3<&0; {variables} exec \"$@\"");

        let output = program_under(&["sh", "-c", &script, "sh"], dir.path())
            .stdin(stdin)
            .output()
            .await
            .unwrap();

        let log = String::from_utf8_lossy(&output.stderr);
        let last = log.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(
            last.starts_with("mimamori: ") && last.contains(said),
            "{last}"
        );
    }
}
