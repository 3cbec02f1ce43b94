//! The disk is full to the last byte: another process fills it, and later gives it back.
//!
//! The free-space mark keeps the server itself from filling a disk; nothing
//! keeps others from it. So a small file system is mounted and filled to its
//! end, again and again, whatever the server gives back meanwhile.

pub mod small_disk;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions, Connection, Row};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::{JoinHandle as Task, JoinSet};
use tokio::time::{Instant, interval, sleep, timeout};

use crate::harness::{
    Api, Console, Counted, Ledger, PATIENCE, ROOM, Run, Server, assert_is, ensure, eventually,
    program, recount, run,
};
use small_disk::SmallDisk;

/// The journal's segments are a sixteenth of it, so that there is always one to begin and one to let go.
const JOURNAL_BYTES: &str = "32MiB";
const MARK_BYTES: &str = "8MiB";
/// Clients that send one after the other, so often, so many events: 400 events/s.
const CLIENTS: usize = 4;
const EVERY: Duration = Duration::from_millis(50);
const BATCH: usize = 5;
/// Wide enough for every event of a drill.
const ALWAYS: &str = "from=2026-01-01T00:00:00Z&to=2200-01-01T00:00:00Z";

/// Students at work, who send again what was refused until it is taken, as the extension does.
struct Clients {
    tasks: JoinSet<Ledger>,
    is_over: Arc<AtomicBool>,
}

impl Clients {
    fn begin(server: &Server) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            let api = Api::new(&server.base(), None);
            tasks.spawn(work(api, client, Arc::clone(&is_over)));
        }
        Self { tasks, is_over }
    }

    /// What they know, once everything that they sent was taken.
    async fn stop(self) -> Ledger {
        self.is_over.store(true, Ordering::SeqCst);
        let mut all = Ledger::default();
        for ledger in self.tasks.join_all().await {
            all.merge(ledger);
        }
        all
    }
}

async fn work(api: Api, client: usize, is_over: Arc<AtomicBool>) -> Ledger {
    let mut ledger = Ledger::default();
    let mut ticks = interval(EVERY);
    let mut nth = 0;
    while !is_over.load(Ordering::SeqCst) {
        let batch: Vec<_> = (0..BATCH)
            .map(|index| execution(client, nth, index))
            .collect();
        nth += 1;
        loop {
            ticks.tick().await;
            // an end of the process shows here
            let answer = api.ingest(&batch).await;
            if answer.status == 202 {
                assert_eq!(answer.json["accepted"], BATCH, "{}", answer.text);
                ledger.note(&batch);
                break;
            }
            answer.assert_problem(503);
            // `no_room`: a segment was to be begun between two looks at the disk
            let code = answer.json["code"].as_str().unwrap_or_default();
            assert!(["disk_full", "no_room"].contains(&code), "{}", answer.text);
            let retry_after: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=60).contains(&retry_after), "{retry_after}");
            ledger.refused += BATCH;
        }
    }
    ledger
}

fn execution(client: usize, nth: usize, index: usize) -> Value {
    let how = match (nth + index) % 4 {
        0 => Run::Error,
        _ => Run::Ok,
    };
    run(
        &format!("c{client}-{nth}-{index}"),
        &format!("s{client}-{index}"),
        &format!("cell-{}", nth / 7 % 5),
        how,
    )
}

/// A console that stays, until it has seen so many executions as it is told in the end.
fn watch(mut console: Console, mut executions: watch::Receiver<Option<u64>>) -> Task<()> {
    tokio::spawn(async move {
        while executions.borrow().is_none() {
            tokio::select! {
                _ = executions.changed() => {}
                () = console.listen(Duration::from_secs(3_600)) => panic!("it was closed"),
            }
        }
        let executions = executions.borrow().unwrap();
        console
            .until(
                PATIENCE,
                "the console that stayed has everything",
                |console| console.rooms[ROOM].sum("executions") == executions,
            )
            .await;
    })
}

/// Every actor of the tree that reads the journal, with how far it is behind. Or the
/// tree, if one of them is not there: on a busy machine it may be being replaced.
async fn lags(api: &Api) -> Result<Vec<(String, u64)>, String> {
    let tree = api.get("/api/v1/health/actors").await.good();
    let mut lags = Vec::new();
    let mut open = vec![&tree];
    while let Some(actor) = open.pop() {
        let name = actor["name"].as_str().unwrap_or_default();
        if ["records", "series", "router"].contains(&name) {
            lags.push((name.to_owned(), actor["lagEvents"].as_u64().unwrap_or(0)));
        }
        open.extend(actor["children"].as_array().into_iter().flatten());
    }
    ensure(lags.len() == 3, || tree.to_string())?;
    Ok(lags)
}

/// How far the journal is by its own note, and how far each of its readers has kept it.
fn noted(data: &Path) -> Option<(u64, BTreeMap<String, u64>)> {
    let noted = fs::read(data.join("journal/offsets.json")).ok()?;
    let noted: Value = serde_json::from_slice(&noted).ok()?;
    let readers = noted["consumers"].as_object()?.iter();
    let readers = readers.map(|(name, offset)| (name.clone(), offset.as_u64().unwrap_or(0)));
    Some((noted["end"].as_u64()?, readers.collect()))
}

/// Waits until these readers have kept everything up to `end`. While clients go on to
/// send that tells more than nobody being behind: on a busy machine somebody always is.
async fn have_kept(data: &Path, end: u64, readers: &[&str]) {
    eventually(
        "what came before there was room is kept",
        PATIENCE,
        async || {
            let (_, kept) = noted(data).ok_or("no offsets.json")?;
            let have = readers
                .iter()
                .all(|reader| kept.get(*reader).is_some_and(|offset| *offset >= end));
            ensure(have, || format!("{kept:?}, the end was {end}"))
        },
    )
    .await;
}

/// Waits until nobody is behind any more and nothing is degraded.
async fn caught_up(server: &Server) {
    let api = server.api();
    eventually("everybody has caught up", PATIENCE, async || {
        let lags = lags(&api).await?;
        ensure(lags.iter().all(|(_, lag)| *lag == 0), || {
            format!("{lags:?}")
        })?;
        let ready = api.get("/readyz").await;
        ensure(ready.status == 200, || ready.text.clone())?;
        ensure(ready.json["degraded"] == json!([]), || ready.text)
    })
    .await;
}

/// Waits until there is room and a checkpoint of the sessions behind it; gives the times that took.
async fn recovered(server: &Server, data: &Path) -> Duration {
    let api = server.api();
    let began = Instant::now();
    eventually("there is room again", PATIENCE, async || {
        let ready = api.get("/readyz").await;
        ensure(ready.status == 200, || ready.text)
    })
    .await;
    let ready = began.elapsed();
    let before = noted(data).map_or(0, |(end, _)| end);
    let end = eventually("the journal's end is noted again", PATIENCE, async || {
        let (end, _) = noted(data).ok_or("no offsets.json")?;
        ensure(end > before, || format!("still {end}"))?;
        Ok::<_, String>(end)
    })
    .await;
    have_kept(data, end, &["records", "series"]).await;
    let all = began.elapsed();
    have_kept(data, end, &["sessions"]).await;
    let kept = began.elapsed();
    println!(
        "  ready {ready:.1?} after there was room, in the stores {all:.1?}, snapshots {kept:.1?}"
    );
    ready
}

/// Holds everything that can be read against what was acknowledged.
async fn check(server: &Server, data: &Path, ledger: &Ledger) -> usize {
    let api = server.api();
    let events = ledger.check_events(&api, PATIENCE, &[]).await;
    ledger.check_executions(&api, &[]).await;
    let stored = count_in_the_file(data).await;
    assert_eq!(
        stored,
        (ledger.acknowledged.len(), ledger.acknowledged.len())
    );
    check_series(&api, ledger.acknowledged.len() as u64).await;
    let expected = recount(&events);
    let mut console = Console::watching(server, ROOM).await;
    console
        .until(PATIENCE, "a new console has everything", |console| {
            console.rooms[ROOM].sum("executions") == events.len() as u64
        })
        .await;
    for (id, student) in &console.rooms[ROOM].students {
        assert_is(student, &expected[id]);
    }
    events.len()
}

/// The series have a writer of their own, which may be later than that of the
/// records; never do they count more than there was.
async fn check_series(api: &Api, expected: u64) {
    eventually("the series have everything", PATIENCE, async || {
        let overview = api.room(&format!("/overview?{ALWAYS}")).await.good();
        let counted = overview["activity"].as_array().unwrap().iter();
        let counted: u64 = counted
            .map(|bucket| bucket["executions"].as_u64().unwrap())
            .sum();
        assert!(counted <= expected, "{counted} counted, {expected} sent");
        ensure(counted == expected, || {
            format!("{counted} counted, {expected} sent")
        })
    })
    .await;
}

/// Rows and distinct events, of the events and of the executions alike.
async fn count_in_the_file(data: &Path) -> (usize, usize) {
    let mut connection = SqliteConnectOptions::new()
        .filename(data.join("records.sqlite"))
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap();
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM events) AS stored,
                (SELECT COUNT(DISTINCT event_id) FROM events) AS distinct_ids,
                (SELECT COUNT(*) FROM executions) AS executions",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let [stored, distinct, executions] = ["stored", "distinct_ids", "executions"]
        .map(|column| usize::try_from(row.get::<i64, _>(column)).unwrap());
    assert_eq!(stored, executions);
    (stored, distinct)
}

/// While nothing is left: no room is told, and what is known can still be read.
async fn is_refused_and_goes_on(server: &Server, hold: Duration) {
    let api = server.api();
    eventually("no room is told", PATIENCE, async || {
        let ready = api.get("/readyz").await;
        ensure(ready.status == 503 && ready.text.contains("disk"), || {
            ready.text
        })
    })
    .await;
    let until = Instant::now() + hold;
    while Instant::now() < until {
        assert_eq!(api.get("/livez").await.status, 200);
        assert_eq!(api.get("/readyz").await.status, 503);
        api.room("/events?since=0").await.items();
        sleep(Duration::from_millis(100)).await;
    }
}

/// Of the metrics, those that tell what was done about the full disk.
async fn print_what_was_done(api: &Api) {
    let metrics = api.get("/metrics").await.text;
    let told = metrics.lines().filter(|line| {
        ["reopened", "unavailable", "snapshots_failures", "postponed"]
            .iter()
            .any(|word| line.contains(word))
            && !line.starts_with('#')
    });
    for line in told {
        println!("  {line}");
    }
}

fn environment(data: &Path) -> [(&'static str, &str); 3] {
    [
        ("MIMAMORI_STORAGE__DIR", data.to_str().unwrap()),
        ("MIMAMORI_STORAGE__MIN_FREE_BYTES", MARK_BYTES),
        ("MIMAMORI_JOURNAL__MAX_BYTES", JOURNAL_BYTES),
    ]
}

/// Fills the disk for so long, so often.
pub async fn fill(disk: &SmallDisk, rounds: usize, hold: Duration) -> Counted {
    let data = disk.data();
    let server = Server::with(&environment(&data)).await;
    let api = server.api();
    let (executions, watched) = watch::channel(None);
    let watching = watch(Console::watching(&server, ROOM).await, watched);
    let clients = Clients::begin(&server);
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        sleep(Duration::from_secs(1)).await;
        let filler = disk.fill();
        is_refused_and_goes_on(&server, hold).await;

        filler.give_back();

        longest = longest.max(recovered(&server, &data).await);
    }
    let ledger = clients.stop().await;
    caught_up(&server).await;
    print_what_was_done(&api).await;
    let stored = check(&server, &data, &ledger).await;
    assert!(ledger.refused > 0, "nothing was refused: it was not full");
    executions.send_replace(Some(stored as u64));
    watching.await.unwrap();

    let server = server.start_again().await;
    caught_up(&server).await;
    assert_eq!(check(&server, &data, &ledger).await, stored);
    // its files must be closed before the disk can go
    drop(server);
    println!(
        "  {} events acknowledged, {stored} stored, {} refused for now, lost 0, doubled 0",
        ledger.acknowledged.len(),
        ledger.refused
    );
    Counted::checked(&ledger, stored, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_when_there_is_room_everything_goes_on_by_itself() {
    if let Some(disk) = SmallDisk::in_memory() {
        fill(&disk, 1, Duration::from_secs(2)).await;
    }
}

/// What a start on a disk with so little room does: the line that it ended with, or nothing if it serves.
async fn start_on(data: &Path) -> Option<String> {
    let mut command = program(data.parent().unwrap());
    command
        .arg("serve")
        .envs(environment(data))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut listening = String::new();
    let stdout = child.stdout.take().unwrap();
    let stdout = timeout(PATIENCE, BufReader::new(stdout).read_line(&mut listening)).await;
    stdout.unwrap().unwrap();
    if !listening.is_empty() {
        let said: Value = serde_json::from_str(&listening).unwrap();
        let api = Api::new(said["listening"].as_str().unwrap(), None);
        api.ingest(&[execution(0, 0, 0)]).await.assert_problem(503);
        let ready = api.get("/readyz").await;
        assert_eq!(ready.status, 503, "{}", ready.text);
        child.kill().await.unwrap();
        return None;
    }
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    Some(said.lines().last().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_full_disk_ends_with_a_line_that_says_so_or_serves_and_nothing_is_thrown_away()
{
    let Some(disk) = SmallDisk::ext4() else {
        return;
    };
    let data = disk.data();
    let mut server = Server::with(&environment(&data)).await;
    let clients = Clients::begin(&server);
    sleep(Duration::from_millis(500)).await;
    let ledger = clients.stop().await;
    caught_up(&server).await;
    server.kill9().await;

    for kib in [0, 4, 16, 48, 128, 512, 2_048] {
        let filler = disk.fill_but(kib << 10);
        let line = start_on(&data).await;
        fs::remove_file(filler).unwrap();
        println!(
            "  with {kib} KiB left: {}",
            line.as_deref().unwrap_or("it serves")
        );
        assert!(
            line.is_none_or(|line| line.contains("No space left") || line.contains("full")),
            "{kib} KiB"
        );
    }

    let filler = disk.fill_but(0);
    let line = start_on(&disk.data().with_file_name("fresh")).await;
    println!("  with nothing there yet: {line:?}");
    assert!(line.is_some(), "it serves from nothing");
    fs::remove_file(filler).unwrap();
    let names = fs::read_dir(&data).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().contains("damaged")),
        "{names:?}"
    );
    let server = server.start_again().await;
    caught_up(&server).await;
    check(&server, &data, &ledger).await;
    drop(server);
}
