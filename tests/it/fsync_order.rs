//! No 202 leaves before its event is on disk, seen from below: strace shows
//! every write, and every fdatasync with its begin and its end.

use std::collections::HashMap;
use std::path::Path;

use reqwest::Method;
use tokio::task::JoinSet;

use crate::harness::{Api, INGEST_KEY, PATIENCE, Run, Server, ensure, eventually, run};

const CONNECTIONS: usize = 6;
const REQUESTS: usize = 30;

/// A system call as strace saw it: the lines on which it began and ended. A
/// thread stands still while strace looks, so what stands on a later line
/// happened because of nothing that stands on an even later one.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
    began: usize,
    ended: usize,
}

/// Puts `<unfinished ...>` and `<... resumed>` together.
fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, Call> = HashMap::new();
    let mut calls = Vec::new();
    for (nth, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            if let Some(call) = unfinished.remove(thread) {
                calls.push(Call { ended: nth, ..call });
            }
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else {
            continue;
        };
        let call = Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            began: nth,
            ended: nth,
        };
        if line.ends_with("<unfinished ...>") {
            unfinished.insert(thread, call);
        } else {
            calls.push(call);
        }
    }
    // what never ended, such as an answer that was being written as the process ended, did begin
    calls.extend(unfinished.into_values().map(|call| Call {
        ended: usize::MAX,
        ..call
    }));
    calls
}

/// The file that a call is about: `5</data/journal/1.seg>, …`; nothing for a socket.
fn file(call: &Call) -> Option<&str> {
    let (_, rest) = call.arguments.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    path.starts_with('/').then_some(path)
}

/// Checks one request whose id stands in its event, in its journal record, and in its answer.
fn check(calls: &[Call], journal: &str, id: &str) -> Result<(), String> {
    let quoted = format!("{id}.");
    let answer = calls
        .iter()
        .find(|call| {
            file(call).is_none()
                && call.arguments.contains("202 Accepted")
                && call.arguments.contains(&quoted)
        })
        .ok_or_else(|| format!("{id}: no 202 was seen"))?;
    let written: Vec<_> = calls
        .iter()
        .filter(|call| file(call).is_some_and(|path| path.starts_with(journal)))
        .filter(|call| call.name.contains("write") && call.arguments.contains(&quoted))
        .collect();
    if written.is_empty() {
        return Err(format!("{id}: its record was never seen to be written"));
    }
    let is_covered = written.iter().any(|write| {
        calls.iter().any(|sync| {
            (sync.name == "fdatasync" || sync.name == "fsync")
                && file(sync) == file(write)
                && sync.began > write.ended
                && sync.ended < answer.began
        })
    });
    if is_covered {
        Ok(())
    } else {
        Err(format!(
            "{id}: answered on line {} before a sync that covers it",
            answer.began
        ))
    }
}

/// Sends one event after the other; event and request have the same id.
async fn send(api: Api, connection: usize) {
    let path = format!("/k/{INGEST_KEY}/api/v1/events");
    for nth in 0..REQUESTS {
        // ends with a dot, so that no id is the beginning of another
        let id = format!("order-{connection}-{nth}.");
        let event = run(&id, &format!("s{connection}"), "cell", Run::Ok);
        let request = api
            .request(Method::POST, &path)
            .header("X-Request-Id", &id)
            .json(&[event]);
        let answer = Api::send(request).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert_eq!(answer.header("x-request-id"), id);
    }
}

async fn finished(trace: &Path) -> String {
    eventually("strace has written everything", PATIENCE, async || {
        let text = std::fs::read(trace).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        ensure(text.trim_end().ends_with("+++"), || {
            format!("{} bytes", text.len())
        })?;
        Ok::<_, String>(text)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_202_is_written_to_a_socket_before_the_fdatasync_that_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let strace = [
        "strace",
        "-D",
        "-f",
        "-y",
        "-s",
        "1000000",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        "trace=fdatasync,fsync,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg",
        "--",
    ];
    let mut server = Server::under(&strace).await;
    let journal = server.dir().join("journal").to_str().unwrap().to_owned();

    let mut senders = JoinSet::new();
    for connection in 0..CONNECTIONS {
        senders.spawn(send(server.stranger(), connection));
    }
    senders.join_all().await;
    server.sigterm();
    server.ended(PATIENCE).await;

    let calls = calls(&finished(&trace).await);
    let faults: Vec<_> = (0..CONNECTIONS)
        .flat_map(|connection| (0..REQUESTS).map(move |nth| format!("order-{connection}-{nth}")))
        .filter_map(|id| check(&calls, &journal, &id).err())
        .collect();
    assert!(
        faults.is_empty(),
        "{} of {}: {faults:#?}",
        faults.len(),
        CONNECTIONS * REQUESTS
    );
}

#[test]
fn the_check_tells_a_sync_that_covers_from_one_that_does_not() {
    let write = r#"7 pwrite64(5</d/journal/1>, "..id.\"..", 9, 0) = 9"#;
    let answer =
        r#"8 sendto(9<socket:[1]>, "HTTP/1.1 202 Accepted\r\nx-request-id: id.\r\n", 9) = 9"#;
    let begun = "7 fdatasync(5</d/journal/1> <unfinished ...>";
    let done = "7 <... fdatasync resumed>) = 0";
    let other = "7 fdatasync(6</d/journal/2>) = 0";
    let verdict = |lines: &[&str]| check(&calls(&lines.join("\n")), "/d/journal", "id").is_ok();

    assert!(verdict(&[write, begun, done, answer]));
    assert!(
        !verdict(&[write, begun, answer, done]),
        "the sync was not over"
    );
    assert!(
        !verdict(&[begun, write, done, answer]),
        "the sync began before the write"
    );
    assert!(!verdict(&[write, other, answer]), "of another file");
    assert!(!verdict(&[begun, done, answer]), "never written");
}
