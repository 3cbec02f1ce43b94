//! How the program starts, stops, and starts again, and its other commands.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::harness::{
    ADMIN, Api, Console, Ended, INGEST_KEY, PATIENCE, READABLE, ROOM, Run, Server, ensure,
    eventually, program, run,
};

/// SIGTERM to exit (contract, issue 2): the tests' own patience is on top of it.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs a command to its end in this directory.
async fn command(dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let running = program(dir)
        .args(arguments)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output();
    timeout(PATIENCE, running)
        .await
        .expect("the command ends")
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// stopping

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
    let events = server.api().all("/events?since=0", 10).await;
    assert_eq!(
        events.len(),
        1,
        "what was answered 202 on the way down is there"
    );
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

/// Readiness says 503 while draining: on the connection that was open, or on a new one.
async fn drained(server: &Server, probe: &mut TcpStream) -> bool {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        let answer = match ask_readiness(probe).await {
            Some(answer) => Some(answer),
            None => match TcpStream::connect(server.address).await {
                Ok(mut fresh) => ask_readiness(&mut fresh).await,
                // it takes nobody in any more: a prober sees that too
                Err(_) => return true,
            },
        };
        if answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 503")) {
            return true;
        }
    }
    false
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
    let began = Instant::now();

    server.sigterm();
    // the first signal has been taken when consoles are told
    console.ended(DRAIN).await;
    server.sigterm();
    server.ended(Duration::from_secs(2)).await;

    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

// starting again

#[tokio::test]
async fn after_a_stop_everything_is_as_it_was_and_known_events_are_duplicates() {
    let mut server = Server::start().await;
    let events: Vec<_> = (0..30)
        .map(|nth| run(&format!("e{nth}"), &format!("s{}", nth % 5), "c", Run::Ok))
        .collect();
    server.api().accepted(&events).await;
    let mut console = Console::watching(&server, ROOM).await;
    console
        .until(READABLE, "all runs", |console| {
            console.rooms[ROOM].sum("executions") == 30
        })
        .await;
    let last = server
        .api()
        .all("/events?since=0", 100)
        .await
        .pop()
        .unwrap();
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
    let mut after = Console::watching(&server, ROOM).await;
    after
        .until(READABLE, "all runs", |console| {
            console.rooms[ROOM].sum("executions") == 31
        })
        .await;

    assert_eq!(
        (&again["accepted"], &again["duplicates"]),
        (&json!(0), &json!(30))
    );
    assert_eq!(
        conflict.json["rejected"][0]["code"], "conflict",
        "{}",
        conflict.text
    );
    for (id, student) in &console.rooms[ROOM].students {
        if !student["name"].as_str().unwrap().ends_with("s0") {
            assert_eq!(&after.rooms[ROOM].students[id], student);
        }
    }
    let newest = eventually("the new event", READABLE, async || {
        let newest = server
            .api()
            .all("/events?since=0", 100)
            .await
            .pop()
            .unwrap();
        ensure(newest["eventId"] == "new", || newest.to_string())?;
        Ok::<_, String>(newest)
    })
    .await;
    assert!(
        newest["position"].as_u64() > last["position"].as_u64(),
        "positions never go back"
    );
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

// configuration

#[tokio::test]
async fn check_config_tells_every_fault_at_once_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let faults = [
        ("MIMAMORI_HTTP__LISTEN", "nowhere"),
        ("MIMAMORI_HTTP__HEADER_TIMEOUT", "soon"),
        ("MIMAMORI_LIVE__MAX_CONSOLES", "-3"),
        ("MIMAMORI_JOURNAL__MAX_BYTES", "much"),
        ("MIMAMORI_RECORDS__URL", "mysql://127.0.0.1/x"),
        ("MIMAMORI_NO__SUCH_KEY", "1"),
    ];

    for arguments in [["check-config"], ["serve"]] {
        let output = command(dir.path(), &arguments, &faults).await;

        assert_eq!(output.status.code(), Some(2), "{}", complained(&output));
        let complaint = complained(&output).to_ascii_lowercase();
        for key in [
            "http.listen",
            "http.header_timeout",
            "live.max_consoles",
            "journal.max_bytes",
            "records.url",
            "no",
        ] {
            assert!(
                complaint.contains(key),
                "{key} is not named in:\n{complaint}"
            );
        }
        assert!(!complaint.contains("panicked"), "{complaint}");
        assert_eq!(said(&output), "");
    }
}

#[tokio::test]
async fn check_config_accepts_the_defaults_and_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();

    let output = command(dir.path(), &["check-config"], &[]).await;

    assert!(output.status.success(), "{}", complained(&output));
    let all = said(&output) + &complained(&output);
    assert!(!all.contains(ADMIN) && !all.contains(INGEST_KEY), "{all}");
}

#[tokio::test]
async fn a_file_and_the_environment_and_a_file_of_a_secret_are_read_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(
        &file,
        "[http]\nlisten = \"127.0.0.1:1\"\nheader_timeout = \"3s\"\n",
    )
    .unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "adm_from_a_file_0123456789abcdef\n").unwrap();

    let output = program(dir.path())
        .args(["check-config", "--config", file.to_str().unwrap()])
        .env_remove("MIMAMORI_AUTH__ADMIN_TOKEN")
        .env("MIMAMORI_AUTH__ADMIN_TOKEN_FILE", &secret)
        .output()
        .await
        .unwrap();

    assert!(output.status.success(), "{}", complained(&output));
    let missing = command(
        dir.path(),
        &["check-config", "--config", "/no/such/file.toml"],
        &[],
    )
    .await;
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        complained(&missing).contains("/no/such/file.toml"),
        "{}",
        complained(&missing)
    );
}

#[tokio::test]
async fn a_wrong_call_exits_with_2_and_help_with_0() {
    let dir = tempfile::tempdir().unwrap();

    for wrong in [&["no-such-command"][..], &["serve", "--no-such-flag"], &[]] {
        let output = command(dir.path(), wrong, &[]).await;
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong:?}: {}",
            complained(&output)
        );
    }
    for word in [
        "serve",
        "migrate",
        "check-config",
        "link",
        "simulate",
        "replay",
        "journal",
    ] {
        let output = command(dir.path(), &[word, "--help"], &[]).await;
        assert!(output.status.success(), "{word}: {}", complained(&output));
        assert!(said(&output).len() > 80, "{word}");
    }
}

// links

#[tokio::test]
async fn link_prints_the_ingest_address_and_a_link_that_signs_in() {
    let server = Server::start().await;

    let output = command(server.dir(), &["link"], &[]).await;

    assert!(output.status.success(), "{}", complained(&output));
    let printed = said(&output);
    let words: Vec<_> = printed.split_whitespace().collect();
    let ingest = words
        .iter()
        .find(|word| word.contains(&format!("/k/{INGEST_KEY}")))
        .unwrap();
    assert!(ingest.starts_with(&server.base()), "{printed}");
    let link = words.iter().find(|word| word.contains("#token=")).unwrap();
    assert!(link.starts_with(&server.base()), "{printed}");
    let (_, token) = link.split_once("#token=").unwrap();
    assert_ne!(token, ADMIN);
    let signed_in = server
        .stranger()
        .post("/api/v1/session", &json!({ "token": token }))
        .await;
    let cookie = signed_in
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let rooms = server
        .stranger()
        .request(reqwest::Method::GET, "/api/v1/classrooms")
        .header("Cookie", &cookie);
    assert_eq!(
        Api::send(rooms).await.unwrap().status,
        200,
        "{}",
        signed_in.text
    );
    let actors = server
        .stranger()
        .request(reqwest::Method::GET, "/api/v1/health/actors")
        .header("Cookie", cookie);
    assert_eq!(
        Api::send(actors).await.unwrap().status,
        403,
        "a link takes no part in administration"
    );
}

#[tokio::test]
async fn secrets_are_printed_to_a_terminal_only() {
    let server = Server::start().await;
    server.api().get("/api/v1/classrooms").await.good();

    let log = server.log();

    for secret in [ADMIN, INGEST_KEY, "#token="] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

// tools

#[tokio::test]
async fn the_recorded_requests_are_replayed_by_the_tool_too() {
    let server = Server::start().await;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cell-monitor");

    let output = command(
        server.dir(),
        &[
            "replay",
            fixtures.to_str().unwrap(),
            "--url",
            &server.base(),
            "--key",
            INGEST_KEY,
        ],
        &[],
    )
    .await;

    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        complained(&output)
    );
    let events = server.api().all("/events?since=0", 100).await;
    assert_eq!(events.len(), 36);
}

#[tokio::test]
async fn a_simulated_class_comes_alive_on_a_console() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let url = format!("{}/k/{INGEST_KEY}/api/v1/events", server.base());

    let simulate = [
        "simulate",
        "--students",
        "20",
        "--speed",
        "60",
        "--duration",
        "3",
        "--seed",
        "7",
        "--url",
        &url,
    ];
    let (output, ()) = tokio::join!(
        command(server.dir(), &simulate, &[]),
        console.until(PATIENCE, "students move", |console| {
            let room = &console.rooms[ROOM];
            room.students.len() >= 10 && room.sum("executions") >= 5
        })
    );

    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        complained(&output)
    );
    assert_eq!(
        server.api().room("/rejected").await.items(),
        Vec::<Value>::new()
    );
}

#[tokio::test]
async fn the_journal_is_inspected_beside_a_running_server() {
    let server = Server::start().await;
    server
        .api()
        .accepted(&[run("e1", "a", "c", Run::Ok), run("e2", "a", "c", Run::Ok)])
        .await;

    let dir = server.dir().to_str().unwrap();
    let output = command(server.dir(), &["journal", "inspect", dir], &[]).await;

    assert!(output.status.success(), "{}", complained(&output));
    assert!(
        !said(&output).contains("@example.ac.jp"),
        "no address is shown: {}",
        said(&output)
    );
}
