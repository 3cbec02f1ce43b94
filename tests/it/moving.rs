//! `mimamori import`, as an administrator runs it.

use std::path::Path;
use std::process::{Output, Stdio};

use crate::harness::influxdb;
use crate::harness::postgres::{PASSWORD, ask, database};
use crate::harness::{Api, PATIENCE, Run, Server, ensure, eventually, program, run};

const FORMER_SERVICE: &str = "\
    CREATE TABLE teams (id serial PRIMARY KEY, team_name varchar); \
    CREATE TABLE students (id serial PRIMARY KEY, email varchar, name varchar, team_id int); \
    CREATE TABLE notebooks (id serial PRIMARY KEY, path varchar); \
    CREATE TABLE cells (id serial PRIMARY KEY, cell_id varchar, notebook_id int); \
    CREATE TABLE cell_executions (execution_id varchar, notebook_id int, cell_id int, \
        student_id int, executed_at timestamp, execution_count int, status varchar, \
        duration float8, error_message text, output text, code_content text, cell_index int, \
        cell_type varchar); \
    INSERT INTO teams (team_name) VALUES ('チームA'); \
    INSERT INTO students (email, name, team_id) \
        SELECT 's' || n || '@example.ac.jp', '学生 ' || n, 1 FROM generate_series(1, 40) n; \
    INSERT INTO notebooks (path) VALUES ('week1.ipynb'); \
    INSERT INTO cells (cell_id, notebook_id) VALUES ('cell-one', 1); \
    INSERT INTO cell_executions SELECT 'x' || n, 1, 1, 1 + n % 40, \
        timestamp '2026-04-10 01:00' + n * interval '1 second', n, \
        CASE WHEN n % 10 = 0 THEN 'error' ELSE 'success' END, NULL, NULL, NULL, 'former(' || n || ')', \
        0, 'code' FROM generate_series(1, 3000) n";

async fn import(dir: &Path, settings: &[(&str, &str)], former: &str) -> Output {
    import_as(dir, settings, former, &[]).await
}

async fn import_as(
    dir: &Path,
    settings: &[(&str, &str)],
    former: &str,
    options: &[&str],
) -> Output {
    program(dir)
        .envs(settings.iter().copied())
        .args(["import", "cell-monitor", former])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

fn tells_what_would_be(dry: &Output) {
    let told = String::from_utf8_lossy(&dry.stdout);
    for said in [
        "executions         3000          3000",
        "a dry run: nothing was kept",
    ] {
        assert!(told.contains(said), "{told}");
    }
}

#[tokio::test]
async fn history_of_the_former_service_is_read_beside_what_notebooks_send_now() {
    let (former, records) = (database(), database());
    ask(&former, FORMER_SERVICE);
    let settings = [("MIMAMORI_RECORDS__URL", &*records)];
    let server = Server::with(&settings).await;
    server
        .api()
        .accepted(&[run("now", "s1", "cell", Run::Ok)])
        .await;
    let dir = server.dir().to_owned();
    let refused = import(&dir, &settings, &former).await;
    server.sigterm();
    let mut server = server;
    server.ended(std::time::Duration::from_secs(10)).await;

    let tried = import_as(&dir, &settings, &former, &["--dry-run"]).await;
    let first = import(&dir, &settings, &former).await;
    let second = import(&dir, &settings, &former).await;
    let server = server.start_again().await;

    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("stop the server"), "{complaint}");
    tells_what_would_be(&tried);
    let told = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(
        first.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&first.stderr)
    );
    assert!(
        told.contains("3000 more than before; all adds up"),
        "{told}"
    );
    let again = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(again.contains("0 more than before; all adds up"), "{again}");
    for output in [&refused, &tried, &first, &second] {
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        assert!(!String::from_utf8_lossy(&all).contains(PASSWORD));
    }
    let api = server.api();
    let day = "from=2026-04-10T00:00:00Z&to=2026-04-11T00:00:00Z";
    let overview = api.room(&format!("/overview?{day}")).await.good();
    assert_eq!(
        overview["totals"]["executions"], 3_000,
        "{}",
        overview["totals"]
    );
    assert_eq!(overview["totals"]["errors"], 300);
    assert_eq!(overview["totals"]["active"], 40);
    assert_eq!(overview["totals"]["students"], 40);
    let buckets = overview["activity"].as_array().unwrap().iter();
    let counted: u64 = buckets.map(|it| it["executions"].as_u64().unwrap()).sum();
    assert_eq!(counted, 3_000);
    let found = api
        .room(&format!("/executions?query=former(17)&{day}"))
        .await
        .items();
    assert_eq!(found.len(), 1);
    the_present_knows_nothing_of_it(&api, &records).await;
}

async fn the_present_knows_nothing_of_it(api: &Api, records: &str) {
    eventually("the lesson is the one of now", PATIENCE, async || {
        let lessons = ask(records, "SELECT COUNT(*) FROM lessons");
        let events = api.room("/events").await.items();
        let is_one = lessons == "1" && events.len() == 1 && events[0]["position"] == 1;
        ensure(is_one, || format!("{lessons} lessons, {events:?}"))
    })
    .await;
    assert_eq!(ask(records, "SELECT COUNT(*) FROM alerts"), "0");
}

#[tokio::test]
async fn with_influxdb_the_charts_of_then_come_from_there() {
    let (former, influx) = (database(), influxdb::database());
    ask(&former, FORMER_SERVICE);
    let url = influx.url();
    let settings = [("MIMAMORI_SERIES__URL", &*url)];
    let mut server = Server::with(&settings).await;
    server.sigterm();
    server.ended(std::time::Duration::from_secs(10)).await;

    let done = import(server.dir(), &settings, &former).await;
    let server = server.start_again().await;

    assert!(done.status.success(), "{done:?}");
    let day = "from=2026-04-10T00:00:00Z&to=2026-04-11T00:00:00Z";
    let overview = server.api().room(&format!("/overview?{day}")).await.good();
    let buckets = overview["activity"].as_array().unwrap().iter();
    let counted: u64 = buckets.map(|it| it["executions"].as_u64().unwrap()).sum();
    assert_eq!(counted, 3_000);
    assert_eq!(
        influx.count("SELECT COUNT(position) FROM mimamori_events"),
        3_000
    );
    assert!(!server.dir().join("series").exists());
}
