//! On a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::spoken; // for `server`
use ::redis::cmd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

// the tests of the whole program do more with it
#[allow(dead_code, unreachable_pub)]
#[path = "../../tests/it/harness/redis.rs"]
pub(crate) mod server;

use server::{PASSWORD, Redis as Server};

fn redis(url: &str) -> Redis {
    let patience = Patience {
        connect: Duration::from_millis(300),
        answer: Duration::from_millis(200),
    };
    Redis::new(&url.parse().unwrap(), patience).unwrap()
}

async fn set(line: &Line, value: &str) -> Result<(), RedisFault> {
    line.ask(cmd("SET").arg("key").arg(value)).await
}

async fn get(line: &Line) -> Result<Option<String>, RedisFault> {
    line.ask(cmd("GET").arg("key")).await
}

async fn lost(line: &Line) {
    let mut current = line.current.clone();
    current.wait_for(Option::is_none).await.unwrap();
}

#[tokio::test]
async fn a_line_is_made_again_when_the_server_was_killed_and_came_back() {
    let mut server = Server::start();
    let line = redis(&server.database()).line();
    line.up().await;
    set(&line, "kept").await.unwrap();

    server.say("kill");
    lost(&line).await;
    let meanwhile = get(&line).await;
    server.say("start");
    line.up().await;
    let afterwards = get(&line).await;

    assert_eq!(meanwhile, Err(RedisFault::Away("not connected".to_owned())));
    assert_eq!(afterwards, Ok(Some("kept".to_owned())));
}

#[tokio::test]
async fn a_server_that_stands_still_is_left_in_time_and_found_again() {
    let mut server = Server::start();
    let redis = redis(&server.database());
    let line = redis.line();
    line.up().await;

    server.say("freeze");
    let begun = tokio::time::Instant::now();
    let asked = get(&line).await;
    let connected = redis.connect().await.err();
    let waited = begun.elapsed();
    lost(&line).await;
    server.say("thaw");
    line.up().await;

    assert_eq!(asked, Err(RedisFault::Away("no answer in time".to_owned())));
    assert!(
        matches!(connected, Some(RedisFault::Away(_))),
        "{connected:?}"
    );
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    assert_eq!(get(&line).await, Ok(None));
}

#[tokio::test]
async fn a_command_that_blocks_is_waited_for_on_a_connection_made_for_it() {
    let url = server::database();
    let block = Duration::from_millis(400);
    let mut connection = redis(&url).connect_to_block(block).await.unwrap();

    let nothing: Result<Option<(String, String)>, _> = cmd("BLPOP")
        .arg("empty")
        .arg(block.as_secs_f64())
        .query_async(&mut connection)
        .await;

    assert_eq!(nothing.unwrap(), None);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_stands_in_no_error() {
    let url = server::database().replace(PASSWORD, "another-secret");
    let redis = redis(&url);

    let fault = redis.connect().await.unwrap_err();

    let shown = format!("{fault} {fault:?} {redis} {redis:?} {:?}", redis.line());
    assert!(matches!(fault, RedisFault::Refused(_)), "{shown}");
    assert!(!shown.contains("another-secret"), "{shown}");
}

#[tokio::test]
async fn an_argument_of_an_unknown_command_stands_in_no_error() {
    let line = redis(&server::database()).line();
    line.up().await;

    let unknown: Result<(), _> = line.ask(cmd("NOSUCH").arg("a student's name")).await;

    let Err(RedisFault::Refused(reason)) = unknown else {
        panic!("{unknown:?}");
    };
    assert!(reason.contains("unknown command"), "{reason}");
    assert!(!reason.contains("student"), "{reason}");
}

/// The address of what answers every command with this; counts its connections.
async fn always(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut came = [0; 4096];
                while let Ok(bytes @ 1..) = socket.read(&mut came).await {
                    let commands = came[..bytes].iter().filter(|byte| **byte == b'*').count();
                    let answers = format!("-{answer}\r\n").repeat(commands);
                    if socket.write_all(answers.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, connections)
}

#[tokio::test]
async fn a_server_that_still_loads_is_away_and_not_asked_again_and_again() {
    let (url, connections) = always("LOADING Redis is loading the dataset in memory").await;
    let line = redis(&url).line();

    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(
            get(&line).await,
            Err(RedisFault::Away("not connected".to_owned()))
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let connections = connections.load(Ordering::Relaxed);
    assert!((2..=7).contains(&connections), "{connections} in 2 s");
}

#[tokio::test]
async fn what_passes_is_told_from_what_does_not() {
    for (answer, passes) in [
        ("LOADING Redis is loading the dataset in memory", true),
        (
            "READONLY You can't write against a read only replica.",
            true,
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            true,
        ),
        ("MISCONF Redis is configured to save RDB snapshots", true),
        ("MASTERDOWN Link with MASTER is down", true),
        ("NOAUTH Authentication required.", false),
        (
            "NOPERM this user has no permissions to run the 'ping' command",
            false,
        ),
        ("ERR unknown command", false),
    ] {
        let (url, _) = always(answer).await;

        let fault = redis(&url).connect().await.unwrap_err();

        assert_eq!(
            matches!(fault, RedisFault::Away(_)),
            passes,
            "{answer}: {fault}"
        );
    }
}
