//! A person's rights, from outside: everything is handed out, everything is
//! erased, and nobody else's is touched.

mod cut_short;
mod everywhere;
mod series_away;
mod whole;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Child;

use crate::harness::postgres::ask;
use crate::harness::{
    ALWAYS, PATIENCE, Run, Server, ensure, event, eventually, help, program, run,
};

/// Where the records of a test are.
type Size<'a> = Option<&'a str>;

/// Nothing else says any of these words.
const ADDRESS: &str = "Erika.Zzaddressqq@Example.AC.JP";
const MARKS: [&str; 5] = [
    "zzaddressqq",
    "zznameqq",
    "zzcodeqq",
    "zzpathqq",
    "zzteamqq",
];

fn env(size: Size<'_>) -> Vec<(&str, &str)> {
    size.map(|url| ("MIMAMORI_RECORDS__URL", url))
        .into_iter()
        .collect()
}

/// An event of the person, with a mark wherever there is room for one.
fn marked(id: &str, kind: &str) -> Value {
    let mut event = match kind {
        "cell_executed" => run(id, "erika", "zzcodeqq-cell", Run::Error),
        "help" => help(id, "erika", true),
        _ => event(id, kind, "erika"),
    };
    event["emailAddress"] = json!(ADDRESS);
    event["userName"] = json!("zznameqq エリカ");
    event["teamName"] = json!("zzteamqq");
    event["notebookPath"] = json!("home/zzpathqq/nb.ipynb");
    event["metadata"] = json!({ "note": "zzcodeqq in metadata" });
    if kind == "cell_executed" {
        event["code"] = json!("zzcodeqq = 1");
        event["result"] = json!(["zzcodeqq out"]);
        event["errorMessage"] = json!("NameError: zzcodeqq");
    }
    event
}

/// What the person leaves: a session, executions, help, alerts, refused events.
async fn leave_traces(server: &Server, round: &str) {
    let api = server.api();
    let id = |name: &str| format!("{round}-{name}");
    api.accepted(&[marked(&id("open"), "notebook_opened")])
        .await;
    for nth in 0..4 {
        api.accepted(&[marked(&id(&format!("run{nth}")), "cell_executed")])
            .await;
    }
    api.accepted(&[marked(&id("help"), "help")]).await;
    let mut unknown = marked(&id("refused"), "cell_executed");
    unknown["eventType"] = json!("zzcodeqq");
    let mut conflict = marked(&id("run0"), "cell_executed");
    conflict["code"] = json!("zzcodeqq = 2");
    let answer = api.ingest(&[unknown, conflict]).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
}

/// What others leave beside it.
async fn others(server: &Server, round: &str, count: usize) {
    let api = server.api();
    for nth in 0..count {
        let student = format!("other{}", nth % 7);
        let id = format!("{round}-other-{nth}");
        api.accepted(&[run(&id, &student, "cell", Run::Ok)]).await;
    }
}

/// The person's id, as the overview knows it.
async fn person_id(server: &Server) -> String {
    let api = server.api();
    eventually("the person is known", PATIENCE, async || {
        let overview = api.room("/overview").await.good();
        let students = overview["students"].as_array().unwrap().clone();
        let found = students
            .into_iter()
            .find(|student| student["name"].as_str().unwrap().contains("zznameqq"));
        found
            .map(|student| student["id"].as_str().unwrap().to_owned())
            .ok_or("not there")
    })
    .await
}

/// What others can read of themselves, in its order.
async fn of_others(server: &Server) -> (Vec<Value>, Vec<Value>) {
    let api = server.api();
    let is_others = |value: &Value| !MARKS.iter().any(|mark| value.to_string().contains(mark));
    let mut events = api.all("/events?since=0", 1000).await;
    events.retain(is_others);
    let mut executions = api.all(&format!("/executions?{ALWAYS}"), 1000).await;
    executions.retain(is_others);
    (events, executions)
}

async fn all_in_the_records(server: &Server, events: usize) {
    let api = server.api();
    eventually("everything is in the records", PATIENCE, async || {
        let found = api.all("/events?since=0", 1000).await.len();
        ensure(found == events, || format!("{found} of {events}"))
    })
    .await;
}

fn command(server: &Server, size: Size<'_>, words: &[&str]) -> tokio::process::Command {
    let mut command = program(server.dir());
    command
        .args(words)
        .envs(env(size))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn call(server: &Server, size: Size<'_>, words: &[&str]) -> Output {
    let output = command(server, size, words).output();
    tokio::time::timeout(Duration::from_secs(60), output)
        .await
        .expect("it ends")
        .unwrap()
}

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn erase(server: &Server, size: Size<'_>) -> Output {
    call(server, size, &["erase", "--student", ADDRESS, "--yes"]).await
}

fn begin_to_erase(server: &Server, size: Size<'_>) -> Child {
    let words = ["erase", "--student", ADDRESS, "--yes"];
    command(server, size, &words).spawn().unwrap()
}

/// The files in which any of these words stands, in whatever case; the log is no part of the directory.
fn found_in(dir: &Path, words: &[&str]) -> Vec<String> {
    let mut grep = std::process::Command::new("grep");
    grep.args(["-r", "-i", "-F", "-o", "-a", "--exclude=test.log"]);
    for word in words {
        grep.args(["-e", word]);
    }
    let output = grep.arg(dir).output().expect("grep is there");
    let mut found: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    found.dedup();
    found
}

/// Nothing of the person stands in any file or table but the id in the list.
async fn nothing_is_left(server: &Server, size: Size<'_>, id: &str) {
    let words: Vec<&str> = MARKS.into_iter().chain([id]).collect();
    let list = server.dir().join("erasures.jsonl").display().to_string();
    eventually("nothing is left", PATIENCE, async || {
        let mut found = found_in(server.dir(), &words);
        found.retain(|place| *place != format!("{list}:{id}"));
        if let Some(url) = size {
            found.extend(found_in_tables(url, &words));
        }
        ensure(found.is_empty(), || format!("{found:?}"))
    })
    .await;
}

fn found_in_tables(url: &str, words: &[&str]) -> Vec<String> {
    let tables = ask(
        url,
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE relkind = 'r' AND nspname = 'public'",
    );
    // all at once: a look that takes long is one of long ago
    let any: Vec<_> = words.iter().map(|word| format!("'%{word}%'")).collect();
    let any = any.join(", ");
    let each = tables.lines().map(|table| {
        format!(
            "SELECT 'table {table}', COUNT(*) FROM \"{table}\" t \
             WHERE lower(t::text) LIKE ANY (ARRAY[{any}]) HAVING COUNT(*) > 0"
        )
    });
    let each: Vec<_> = each.collect();
    let found = ask(url, &each.join(" UNION ALL "));
    found.lines().map(str::to_owned).collect()
}

/// Nothing of the person is in any answer.
async fn nothing_is_shown(server: &Server, id: &str) {
    let api = server.api();
    let mut answers = vec![
        api.room("/overview").await.good().to_string(),
        api.room("/help").await.good().to_string(),
        api.room("/rejected").await.good().to_string(),
        api.room("/dead-letters").await.good().to_string(),
        api.room(&format!("/executions?{ALWAYS}&query=zzcode"))
            .await
            .good()
            .to_string(),
    ];
    for event in api.all("/events?since=0", 1000).await {
        answers.push(event.to_string());
    }
    for answer in answers {
        for mark in MARKS.into_iter().chain([id]) {
            assert!(!answer.contains(mark), "{mark} in {answer}");
        }
    }
    assert_eq!(api.room(&format!("/students/{id}")).await.status, 404);
}
