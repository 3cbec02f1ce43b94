//! What is kept of people, and what not.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{
    ALWAYS, PATIENCE, Run, Server, ensure, event, event_id, eventually, program, run, skipped,
};

/// Stands in everything that a student writes or sees, and nowhere else.
const MARKER: &str = "kumquat7Q";

/// Files under the directory that hold the marker.
fn files_with_marker(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with_marker(&path));
            continue;
        }
        // a database may have moved a file away meanwhile
        let bytes = std::fs::read(&path).unwrap_or_default();
        if bytes
            .windows(MARKER.len())
            .any(|part| part == MARKER.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

/// A cell of each status, an event whose code is of a wrong type, and two that are refused.
fn lesson() -> Vec<Value> {
    let marked = |mut event: Value| {
        event["code"] = format!("{MARKER} = 1").into();
        event["result"] = json!([MARKER]);
        event["metadata"] = json!({"cell": MARKER});
        event["unknown"] = MARKER.into();
        event
    };
    let mut failed = marked(run("failed", "hanako", "c1", Run::Error));
    failed["errorMessage"] = format!("NameError: name '{MARKER}' is not defined").into();
    let mut stopped = failed.clone();
    stopped["eventId"] = "stopped".into();
    stopped["errorMessage"] = format!("KeyboardInterrupt: {MARKER}").into();
    let mut empty = marked(run("empty", "hanako", "c3", Run::Ok));
    empty["code"] = "  \n".into();
    let mut saved = event("saved", "notebook_saved", "hanako");
    saved["code"] = json!([MARKER]);
    let mut refused = failed.clone();
    refused["eventId"] = "refused".into();
    refused["eventTime"] = Value::Null;
    vec![
        marked(run("fine", "hanako", "c0", Run::Ok)),
        failed,
        stopped,
        marked(skipped("skipped", "hanako", "c2")),
        empty,
        saved,
        refused,
        json!(MARKER),
    ]
}

/// The statuses of the lesson's executions, once all are recorded, and everything that the reading calls say.
async fn told_of(server: &Server, events: &[Value]) -> (Vec<String>, String) {
    let api = server.api();
    api.ingest(events).await.good();
    let executions = eventually("the lesson is recorded", PATIENCE, async || {
        let found = api.all(&format!("/executions?{ALWAYS}"), 100).await;
        ensure(found.len() == 5, || format!("{} executions", found.len()))?;
        let rejected = api.all(&format!("/rejected?{ALWAYS}"), 100).await;
        ensure(rejected.len() == 2, || format!("{rejected:?}"))?;
        Ok::<_, String>(found)
    })
    .await;
    let mut statuses: Vec<String> = executions
        .iter()
        .map(|it| it["status"].as_str().unwrap().to_owned())
        .collect();
    statuses.sort();
    let mut all = format!("{executions:?}");
    let student = executions[0]["student"].as_str().unwrap();
    for path in [
        format!("/overview?{ALWAYS}"),
        format!("/students/{student}?{ALWAYS}"),
        format!("/students/{student}/executions?{ALWAYS}"),
        "/events?since=0".to_owned(),
        format!("/rejected?{ALWAYS}"),
        format!("/dead-letters?{ALWAYS}"),
    ] {
        all.push_str(&api.room(&path).await.good().to_string());
    }
    (statuses, all)
}

#[tokio::test]
async fn a_classroom_that_stores_no_code_has_none_on_its_disk_and_in_no_answer() {
    let off = [("MIMAMORI_CLASSROOMS__DEFAULT__STORE_CODE", "false")];
    let (with, without) = (Server::start().await, Server::with(&off).await);
    let events = lesson();

    let usual = told_of(&with, &events).await;
    let withheld = told_of(&without, &events).await;

    let expected = ["error", "interrupted", "not_run", "ok", "skipped"];
    assert_eq!(
        (&*usual.0, &*withheld.0),
        (
            &expected.map(str::to_owned)[..],
            &expected.map(str::to_owned)[..]
        )
    );
    assert!(usual.1.contains(MARKER), "{}", usual.1);
    assert!(!withheld.1.contains(MARKER), "{}", withheld.1);
    assert!(withheld.1.contains("NameError"), "{}", withheld.1);
    assert!(!files_with_marker(with.dir()).is_empty());
    let stored = files_with_marker(without.dir());
    assert_eq!(stored, [""; 0], "{MARKER} is in them");
    let rooms = without.api().get("/api/v1/classrooms").await.items();
    assert_eq!(rooms[0]["storesCode"], false);
}

#[tokio::test]
async fn everybody_can_read_what_is_kept_and_for_how_long() {
    let server = Server::with(&[
        ("MIMAMORI_PRIVACY__RETENTION", "400d"),
        ("MIMAMORI_CLASSROOMS__DEFAULT__RETENTION", "30d"),
        ("MIMAMORI_CLASSROOMS__DEFAULT__STORE_CODE", "false"),
    ])
    .await;

    let page = server.stranger().get("/privacy/default").await;
    let none = server.stranger().get("/privacy/physics").await;

    assert_eq!(page.status, 200);
    for said in ["30日間", "For 30 days", "保存しません", "are not stored"] {
        assert!(page.text.contains(said), "{said}: {}", page.text);
    }
    none.assert_problem(404);
}

#[tokio::test]
async fn what_is_past_its_term_goes_and_the_rest_stays() {
    let server = Server::start().await;
    let hours_ago = |hours: i64| {
        let now = jiff::Timestamp::now().as_millisecond();
        mimamori_actors::domain::Timestamp::from_millis(now - hours * 3_600_000).to_string()
    };
    let aged = |id: &str, hours: i64| {
        let mut event = run(id, "hanako", "c1", Run::Ok);
        event["eventTime"] = hours_ago(hours).into();
        event
    };
    let events = [aged("old", 40), aged("older", 47), aged("young", 20)];
    server.api().accepted(&events).await;
    let ids = async |server: &Server| {
        let found = server.api().all(&format!("/executions?{ALWAYS}"), 10).await;
        found.iter().map(event_id).collect::<Vec<_>>()
    };
    eventually("they are recorded", PATIENCE, async || {
        let found = ids(&server).await;
        ensure(found.len() == 3, || format!("{found:?}"))
    })
    .await;

    let server = server
        .start_again_with(&[("MIMAMORI_PRIVACY__RETENTION", "1d")])
        .await;

    eventually("the old ones are gone", PATIENCE, async || {
        let found = ids(&server).await;
        ensure(found == ["young"], || format!("{found:?}"))?;
        let metrics = server.api().get("/metrics").await.text;
        let deleted = "mimamori_retention_deleted_rows_total{table=\"events\"} 2";
        let overdue = "mimamori_retention_overdue_seconds 0";
        ensure(
            metrics.contains(deleted) && metrics.contains(overdue),
            || metrics,
        )
    })
    .await;
}

/// What a command said, once it succeeded: standard output and standard error.
async fn run_command(dir: &Path, words: &[&str]) -> (String, String) {
    let output = program(dir).args(words).output().await.unwrap();
    let (said, told) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{words:?}: {told}");
    (said, told)
}

/// The addressable cells of a CSV file: of each record, column by column.
fn records_of(csv: &str) -> Vec<std::collections::HashMap<String, String>> {
    let text = csv.strip_prefix('\u{feff}').expect("a byte order mark");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_classroom_is_exported_without_those_who_are_not_for_research() {
    let server = Server::start().await;
    let mut formula = run("e1", "hanako", "c1", Run::Ok);
    formula["code"] = "=cmd|' /C calc'!A0".into();
    let events = [
        formula,
        run("e2", "taro", "c1", Run::Error),
        event("e3", "notebook_saved", "hanako"),
    ];
    server.api().accepted(&events).await;
    let export = ["export", "--what", "executions", "--format", "csv"];
    eventually("both are exported", PATIENCE, async || {
        let (csv, _) = run_command(server.dir(), &export).await;
        let found = records_of(&csv).len();
        ensure(found == 2, || format!("{found} of 2"))
    })
    .await;

    let (csv, _) = run_command(server.dir(), &export).await;
    let refuse = ["research", "--student", "Taro@example.ac.jp", "--refuse"];
    let (said, _) = run_command(server.dir(), &refuse).await;
    let (without, told) = run_command(server.dir(), &export).await;

    let records = records_of(&csv);
    assert_eq!(records[0]["code"], "'=cmd|' /C calc'!A0");
    assert_eq!(records[1]["status"], "error");
    assert!(
        !csv.contains("@example.ac.jp") && !csv.contains("学生"),
        "{csv}"
    );
    assert!(said.contains("is not for research"), "{said}");
    assert_eq!(records_of(&without).len(), 1);
    assert!(told.contains("1 students are left out"), "{told}");

    // what was said is kept, and the stores are read where no server runs
    let mut server = server;
    server.kill9().await;
    let file = server.dir().join("events.parquet");
    let path = file.to_str().unwrap();
    let offline = [
        "export", "--what", "events", "--format", "parquet", "--output", path,
    ];
    let (_, told) = run_command(server.dir(), &offline).await;
    assert!(told.contains("1 students are left out"), "{told}");
    let parquet = std::fs::read(&file).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let student = ["research", "--student", "taro@example.ac.jp"];
    let (said, _) = run_command(server.dir(), &student).await;
    assert!(said.contains("is not for research"), "{said}");
}

#[tokio::test]
async fn a_directory_that_no_server_had_is_no_empty_classroom() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("dta");

    for words in [&["export"][..], &["research", "--student", "a@x"]] {
        let done = program(dir.path())
            .env("MIMAMORI_STORAGE__DIR", &wrong)
            .args(words)
            .output()
            .await
            .unwrap();

        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{told}");
        assert!(told.contains("no records are kept at"), "{told}");
        assert!(told.contains("MIMAMORI_STORAGE__DIR"), "{told}");
    }
    assert!(!wrong.exists());
}

#[tokio::test]
async fn what_cannot_be_exported_is_one_line_and_leaves_no_file() {
    let server = Server::start().await;
    let file = server.dir().join("out.csv");
    let path = file.to_str().unwrap();
    for (words, code, part) in [
        (
            vec!["export", "--classroom", "physics"],
            2,
            "there is no such classroom",
        ),
        (vec!["export", "--format", "xlsx"], 2, "xlsx"),
        (vec!["export", "--from", "soon"], 2, "soon"),
        (
            vec!["export", "--from", "2026-11-02", "--to", "2026-11-01"],
            2,
            "no earlier than --from",
        ),
        (
            vec!["research", "--student", "nobody@example.ac.jp", "--refuse"],
            1,
            "nothing is known",
        ),
    ] {
        let is_export = words[0] == "export";
        let output = is_export
            .then_some(["--output", path])
            .into_iter()
            .flatten();
        let done = program(server.dir())
            .args(&words)
            .args(output)
            .output()
            .await
            .unwrap();

        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(code), "{words:?}: {told}");
        assert!(told.contains(part), "{words:?}: {told}");
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    }
    let left: Vec<_> = std::fs::read_dir(server.dir()).unwrap().collect();
    let names = left.iter().map(|it| it.as_ref().unwrap().file_name());
    assert!(
        !names
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with("out.csv"))
    );
}

#[tokio::test]
async fn an_export_that_is_ended_leaves_no_half_file() {
    let server = Server::start().await;
    server
        .api()
        .accepted(&[run("e1", "hanako", "c1", Run::Ok)])
        .await;
    // it answers nobody, so there is time
    kill_process(server.pid(), Signal::STOP).unwrap();
    let mut export = program(server.dir())
        .args(["export", "--output", "out.csv"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let names = || {
        let all = std::fs::read_dir(server.dir()).unwrap();
        let names = all.map(|it| it.unwrap().file_name().into_string().unwrap());
        names
            .filter(|it| it.starts_with("out.csv"))
            .collect::<Vec<_>>()
    };
    eventually("it began", PATIENCE, async || {
        let names = names();
        ensure(names.len() == 1, || format!("{names:?}"))
    })
    .await;

    let pid = Pid::from_raw(export.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();

    let status = export.wait().await.unwrap();
    kill_process(server.pid(), Signal::CONT).unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(names(), [""; 0]);
}
