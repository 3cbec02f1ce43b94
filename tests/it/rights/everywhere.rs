//! PostgreSQL, InfluxDB and Redis together, a node for consoles beside: a backup is
//! taken, a student erased, the backup restored, in that order. The stores are asked
//! with their own clients.

use std::collections::BTreeSet;
use std::fs;

use tempfile::TempDir;

use super::*;
use crate::harness::influxdb::Database;
use crate::harness::{Console, ROOM, influxdb, postgres, redis};

/// What all nodes sign with.
const SIGNING: &str = "signing-secret-not-for-logs-0123456789";

/// Where everything of a test is.
struct Stores {
    records: String,
    series: Database,
    redis: String,
}

impl Stores {
    fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("MIMAMORI_RECORDS__URL", self.records.clone()),
            ("MIMAMORI_SERIES__URL", self.series.url()),
            ("MIMAMORI_BUS__URL", self.redis.clone()),
            ("MIMAMORI_CACHE__URL", self.redis.clone()),
            ("MIMAMORI_AUTH__SIGNING_SECRET", SIGNING.to_owned()),
        ]
    }

    /// Where any of these words stands outside of `storage.dir`.
    fn hold(&self, words: &[&str]) -> Vec<String> {
        let mut found = found_in_tables(&self.records, words);
        let mut of = |place: &str, text: String| {
            let text = text.to_lowercase();
            let words = words.iter().filter(|word| text.contains(**word));
            found.extend(words.map(|word| format!("{word} in {place}")));
        };
        for measurement in self.series.ask("SHOW MEASUREMENTS") {
            let name = measurement.rsplit(',').next().unwrap().to_owned();
            let rows = self.series.ask(&format!("SELECT * FROM {name}"));
            of(&name, rows.join("\n"));
        }
        of(
            "tag values",
            self.series
                .ask("SHOW TAG VALUES WITH KEY IN (team, notebook)")
                .join("\n"),
        );
        for key in self.keys() {
            of("a name in Redis", key.clone());
            of(&key, self.redis_holds(&key));
        }
        found
    }

    fn keys(&self) -> BTreeSet<String> {
        let keys = redis::ask(&self.redis, &["KEYS", "*"]);
        keys.lines().map(str::to_owned).collect()
    }

    fn redis_holds(&self, key: &str) -> String {
        let ask = |words: &[&str]| redis::ask(&self.redis, words);
        match ask(&["TYPE", key]).as_str() {
            "string" => ask(&["GET", key]),
            "stream" => ask(&["XRANGE", key, "-", "+"]),
            "hash" => ask(&["HGETALL", key]),
            "set" => ask(&["SMEMBERS", key]),
            // gone meanwhile
            "none" => String::new(),
            other => panic!("{key} is a {other}"),
        }
    }

    /// Answers that are kept, by their names.
    fn kept_answers(&self) -> BTreeSet<String> {
        let mut keys = self.keys();
        keys.retain(|key| {
            let rest = key.strip_prefix("mimamori:cache:1:").unwrap_or_default();
            rest.contains(':') && !rest.starts_with("gone:")
        });
        keys
    }
}

fn borrowed<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    env.iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

async fn order(dir: &Path, stores: &Stores, words: &[&str]) -> String {
    let mut command = program(dir);
    command.args(words).envs(stores.env()).stdin(Stdio::null());
    let output = tokio::time::timeout(Duration::from_secs(60), command.output());
    good(&output.await.expect("it ends").unwrap())
}

/// The chart and every list, so that the answers are kept.
async fn read_everything(server: &Server) {
    let api = server.api();
    for path in ["/overview", "/help", "/executions?query=zzcode", "/cells"] {
        let _ = api.room(path).await;
    }
}

/// The executions of all students that the chart counts.
async fn charted(server: &Server) -> u64 {
    let overview = server.api().room("/overview").await.good();
    let activity = overview["activity"].as_array().unwrap();
    let counts = activity.iter().map(|it| it["executions"].as_u64().unwrap());
    counts.sum()
}

async fn is_charted(server: &Server, executions: u64) {
    eventually("the chart counts them", PATIENCE, async || {
        let counted = charted(server).await;
        ensure(counted == executions, || {
            format!("{counted}, not {executions}")
        })
    })
    .await;
}

/// Nothing of them stands anywhere but the id in the list.
async fn nothing_is_left_in(dir: &Path, stores: &Stores, id: &str) {
    let words: Vec<&str> = MARKS.into_iter().chain([id]).collect();
    let list = dir.join("erasures.jsonl").display().to_string();
    eventually("nothing is left", PATIENCE, async || {
        let mut found = found_in(dir, &words);
        found.retain(|place| *place != format!("{list}:{id}"));
        found.extend(stores.hold(&words));
        ensure(found.is_empty(), || format!("{found:?}"))
    })
    .await;
}

/// What was there before anybody was erased.
struct Before {
    id: String,
    of_others: (Vec<Value>, Vec<Value>),
    kept_answers: BTreeSet<String>,
}

/// A class with the person in it, in every store.
async fn class(server: &Server, stores: &Stores) -> Before {
    others(server, "before", 20).await;
    leave_traces(server, "first").await;
    others(server, "after", 20).await;
    all_in_the_records(server, 46).await;
    is_charted(server, 44).await;
    let id = person_id(server).await;
    read_everything(server).await;
    let kept_answers = eventually("they are in every store", PATIENCE, async || {
        let standing = stores.hold(&[&id]);
        for place in ["events", "students", "mimamori_events", "mimamori:1:"] {
            let is_there = standing.iter().any(|it| it.contains(place));
            ensure(is_there, || format!("{place}: {standing:?}"))?;
        }
        let kept_answers = stores.kept_answers();
        ensure(!kept_answers.is_empty(), || "no answer is kept".to_owned())?;
        Ok::<_, String>(kept_answers)
    })
    .await;
    let teams = stores.hold(&["zzteamqq"]);
    assert!(teams.iter().any(|it| it.contains("tag_values")));
    Before {
        id,
        of_others: of_others(server).await,
        kept_answers,
    }
}

/// Nobody but the others is anywhere, at the node that takes events in and at the other one.
async fn is_erased(server: &Server, stores: &Stores, before: &Before) {
    nothing_is_shown(server, &before.id).await;
    nothing_is_left_in(server.dir(), stores, &before.id).await;
    assert!(before.kept_answers.is_disjoint(&stores.kept_answers()));
    is_charted(server, 40).await;
    all_in_the_records(server, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_erased_stays_erased_when_an_older_backup_is_restored_with_every_store_real() {
    let mut stores = Stores {
        records: postgres::database(),
        series: influxdb::database(),
        redis: redis::database(),
    };
    let env = stores.env();
    let mut server = Server::with(&borrowed(&env)).await;
    let role = ("MIMAMORI_SERVE__ROLE", "consoles");
    let node = Server::with(&[&borrowed(&env)[..], &[role]].concat()).await;
    let before = class(&server, &stores).await;
    let mut console = Console::watching(&node, ROOM).await;
    let has_all = |console: &Console| console.rooms[ROOM].sum("executions") == 44;
    console.until(PATIENCE, "every run", has_all).await;
    assert!(console.rooms[ROOM].students.contains_key(&before.id));
    let backups = TempDir::with_prefix("mimamori-it-").unwrap();
    let backup = backups.path().join("first");
    let (beside, backup) = (backups.path().to_str().unwrap(), backup.to_str().unwrap());
    order(server.dir(), &stores, &["backup", backup]).await;

    let words = ["erase", "--student", ADDRESS, "--yes", "--also", beside];
    order(server.dir(), &stores, &words).await;

    is_erased(&server, &stores, &before).await;
    console
        .until(PATIENCE, "the other node's console is told", |console| {
            !console.rooms[ROOM].students.contains_key(&before.id)
        })
        .await;
    let fresh = Console::watching(&node, ROOM).await;
    assert_eq!(fresh.rooms[ROOM].students.len(), 7);
    assert_eq!(of_others(&server).await, before.of_others);

    server.sigterm();
    server.ended(PATIENCE).await;
    let dir = TempDir::with_prefix("mimamori-it-").unwrap();
    stores.records = postgres::database();
    order(dir.path(), &stores, &["restore", backup]).await;
    let held = found_in_tables(&stores.records, &[&before.id]);
    assert!(!held.is_empty(), "the backup was of before");
    let env = stores.env();
    let server = Server::on(dir, &borrowed(&env)).await;

    is_erased(&server, &stores, &before).await;
    let (_, executions) = of_others(&server).await;
    assert_eq!(executions, before.of_others.1);
    let list = fs::read_to_string(server.dir().join("erasures.jsonl")).unwrap();
    assert!(list.lines().last().unwrap().contains("\"done\""), "{list}");
}
