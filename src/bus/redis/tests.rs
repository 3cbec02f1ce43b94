//! Publisher and reader on a real Redis that loses, refuses and is given what it should not have.

use std::time::Duration;

use bytes::Bytes;
use mimamori_actors::domain::Cursor;
use mimamori_actors::mirrors::{MirrorTree, Mirrors, STALE_AFTER};
use mimamori_actors::outbox::{Item, Outbox, OutboxLimits};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::names::PUBLISHER;
use super::*;
use crate::clock::SystemClock;
use crate::redis::Patience;
use crate::redis::tests::server::{Redis as Server, ask, database};

// the tests of the whole program do more with it
#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/it/harness/proxy.rs"]
mod proxy;

use proxy::{Mode, Proxy};

const DELTAS: &str = "mimamori:1:default:deltas";
const SNAPSHOT: &str = "mimamori:1:default:snapshot";
/// Longer than anything here takes on a machine that is busy.
const SOON: Duration = Duration::from_secs(15);

pub(super) fn room() -> ClassroomId {
    ClassroomId::new("default")
}

pub(super) fn opening(epoch: &str) -> Opening {
    opening_at(epoch, 0)
}

fn opening_at(epoch: &str, seq: u64) -> Opening {
    let snapshot = json!({
        "type": "snapshot", "classroom": "default", "epoch": epoch, "seq": seq,
        "students": [], "alerts": [], "recent": [],
    });
    Opening::read(snapshot.to_string().as_bytes()).unwrap()
}

/// About so many bytes.
pub(super) fn delta(epoch: &str, seq: u64, bytes: usize) -> Arc<Delta> {
    let frame = json!({
        "type": "delta", "classroom": "default", "epoch": epoch, "after": seq - 1, "seq": seq,
        "students": [], "removed": ["x".repeat(bytes)], "events": [], "eventsOmitted": 0, "alerts": [],
    });
    Arc::new(Delta::read(Bytes::from(frame.to_string())).unwrap())
}

/// A node that folds: what stands between its classroom and Redis.
struct Folding {
    census: Arc<Census>,
    hand_over: Arc<HandOver>,
    _task: Task,
}

impl Folding {
    fn on(url: &str) -> Self {
        let census = Arc::new(Census::default());
        census.part("root", "root", None);
        let hand_over = Arc::new(HandOver::default());
        hand_over.begin(opening("e"));
        let journal = JournalId::new("jrn_a");
        let publisher = Publisher::new(&ground(url), Arc::clone(&hand_over), &journal, &census);
        Self {
            census,
            hand_over,
            _task: Task::spawn("publisher", move || publisher.clone().carry()),
        }
    }

    fn tell(&self, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            self.hand_over.put(&delta("e", seq, 10));
        }
    }

    /// The bus in its tree.
    fn bus(&self) -> Value {
        json!(self.census.tree().unwrap())["children"][0].clone()
    }
}

/// The number of the last beat.
fn beats(url: &str) -> u64 {
    let beat = ask(url, &["HGET", PUBLISHER, "b"]);
    let beat: Value = serde_json::from_str(&beat).unwrap_or_default();
    beat["number"].as_u64().unwrap_or_default()
}

/// A node that mirrors.
struct Mirroring {
    tree: MirrorTree,
    _task: Task,
}

impl Mirroring {
    fn of(url: &str) -> Self {
        let tree = MirrorTree::plant(&[room()], 10);
        let part = part(tree.census());
        Self {
            _task: read(ground(url), Arc::clone(tree.mirrors()), part),
            tree,
        }
    }

    fn mirrors(&self) -> &Mirrors {
        self.tree.mirrors()
    }

    async fn has(&self, epoch: &str, seq: u64) {
        let epoch = epoch.to_owned();
        let there = Some(Cursor { epoch, seq });
        until("it is mirrored", || self.mirrors().cursor(&room()) == there).await;
    }
}

/// Of a node in this database.
pub(super) fn ground(url: &str) -> Ground {
    Ground {
        redis: Redis::new(&url.parse().unwrap(), Patience::default()).unwrap(),
        clock: Arc::new(SystemClock),
        signs: "the same".to_owned(),
    }
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// One of the numbers that the server counts.
fn counted(url: &str, name: &str) -> u64 {
    let info = ask(url, &["INFO", "stats"]);
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.strip_prefix(':')).unwrap();
    number.trim().parse().unwrap()
}

#[tokio::test]
async fn while_a_class_tells_faster_than_redis_answers_it_beats_all_the_same() {
    let url = database();
    let place = url.split(['@', '/']).find_map(|part| part.parse().ok());
    let proxy = Proxy::before(place.unwrap()).await;
    proxy.set(Mode::Delay(Duration::from_millis(30))).await;
    let folding = Folding::on(&proxy.instead_of(place.unwrap(), &url));
    let hand_over = Arc::clone(&folding.hand_over);
    let telling = tokio::spawn(async move {
        for seq in 1.. {
            hand_over.put(&delta("e", seq, 10));
            sleep(Duration::from_millis(2)).await;
        }
    });

    // not by way of it: this is no part of the test
    let beats = || beats(&url);
    until("it beats", || beats() > 0).await;
    let before = beats();
    // one of them may belong to the beginning
    until("it beats on", || beats() >= before + 3).await;
    telling.abort();
}

#[tokio::test]
async fn what_redis_takes_away_alone_is_put_down_again_and_nobody_is_blamed() {
    let url = database();
    let folding = Folding::on(&url);
    let mirroring = Mirroring::of(&url);
    let mut seq = 0;
    mirroring.has("e", seq).await;

    for key in [DELTAS, SNAPSHOT, PUBLISHER] {
        folding.tell(seq + 1..=seq + 3);
        mirroring.has("e", seq + 3).await;
        ask(&url, &["DEL", key]);
        seq += 4;
        folding.tell(seq..=seq);
        mirroring.has("e", seq).await;
        until("it stands there again", || {
            ask(&url, &["EXISTS", key]) == "1"
        })
        .await;
        Mirroring::of(&url).has("e", seq).await;
    }

    let bus = folding.bus();
    assert_eq!(
        (&bus["state"], &bus["lastError"]),
        (&json!("running"), &Value::Null)
    );
}

#[tokio::test]
async fn who_lost_the_stream_between_two_deltas_gets_the_snapshot_at_once() {
    let url = database();
    let folding = Folding::on(&url);
    let mirroring = Mirroring::of(&url);
    folding.tell(1..=3);
    mirroring.has("e", 3).await;
    drop(folding);
    let begun = Instant::now();

    // as if the stream had been evicted with the fourth in it, which nobody had read
    let frame = String::from_utf8(opening_at("e", 5).frame().to_vec()).unwrap();
    ask(&url, &["HSET", SNAPSHOT, "s", "5", "f", &frame]);
    let fifth = String::from_utf8(delta("e", 5, 10).frame.to_vec()).unwrap();
    let entry = ["e", "e", "a", "4", "s", "5", "d", &fifth];
    ask(&url, &[&["XADD", DELTAS, "*"], &entry[..]].concat());

    mirroring.has("e", 5).await;
    assert!(begun.elapsed() < STALE_AFTER, "{:?}", begun.elapsed());
    Mirroring::of(&url).has("e", 5).await;
}

#[tokio::test]
async fn who_was_told_that_nothing_comes_gets_the_classroom_whole_though_nothing_happened() {
    let mut server = Server::start();
    let url = server.database();
    let _folding = Folding::on(&url);
    let mirroring = Mirroring::of(&url);
    mirroring.has("e", 0).await;
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let console = mirroring.tree.consoles();
    let console = console.connect(Arc::clone(&outbox)).unwrap();
    console.subscribe(&room(), None).await.unwrap();
    is_told(&outbox, "snapshot").await;

    server.say("freeze");
    is_told(&outbox, "stale").await;
    server.say("thaw");

    is_told(&outbox, "snapshot").await;
}

/// Until a frame of this type came; what came before it is taken out, too.
async fn is_told(outbox: &Outbox, kind: &str) {
    let beginning = format!("{{\"type\":\"{kind}\"");
    let is = |item| matches!(item, Item::Frame(frame) if frame.starts_with(beginning.as_bytes()));
    until(kind, || std::iter::from_fn(|| outbox.try_next()).any(is)).await;
}

#[tokio::test]
async fn the_lease_of_who_has_been_silent_for_long_is_taken_and_of_who_has_not_is_not() {
    let url = database();
    let long_ago = ask(&url, &["TIME"])
        .lines()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1_000
        - 11_000;
    ask(
        &url,
        &[
            "HSET",
            PUBLISHER,
            "n",
            "jrn_b/1",
            "t",
            &long_ago.to_string(),
            "b",
            "{}",
        ],
    );

    let folding = Folding::on(&url);
    until("it publishes", || folding.bus()["state"] == "running").await;
    let rival = Folding::on(&database_of(&url, "jrn_c/1"));
    until("it says why not", || rival.bus()["state"] == "backoff").await;

    let said = rival.bus()["lastError"].to_string();
    assert!(said.contains("another node"), "{said}");
    assert!(ask(&url, &["HGET", PUBLISHER, "n"]).starts_with("jrn_a/"));
}

/// Another database of the same server that this node publishes to now.
fn database_of(_: &str, node: &str) -> String {
    let url = database();
    let time = ask(&url, &["TIME"])
        .lines()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1_000;
    ask(
        &url,
        &[
            "HSET",
            PUBLISHER,
            "n",
            node,
            "t",
            &time.to_string(),
            "b",
            "{}",
        ],
    );
    url
}

#[tokio::test]
async fn a_redis_that_is_full_is_left_alone_for_a_while_and_used_again_when_there_is_room() {
    let server = Server::start();
    let url = server.database();
    ask(&url, &["CONFIG", "SET", "maxmemory", "1"]);
    let folding = Folding::on(&url);
    until("it says so", || {
        folding.bus()["lastError"].to_string().contains("OOM")
    })
    .await;
    let connected = || counted(&url, "total_connections_received");

    let before = connected();
    sleep(Duration::from_secs(2)).await;
    // this client's own are among them
    let tries = connected() - before - 1;
    ask(&url, &["CONFIG", "SET", "maxmemory", "0"]);

    assert!((1..=7).contains(&tries), "{tries} in 2 s");
    Mirroring::of(&url).has("e", 0).await;
    until("it runs", || folding.bus()["state"] == "running").await;
}

#[tokio::test]
async fn a_redis_that_takes_away_what_ends_first_takes_answers_and_nothing_of_the_bus() {
    let server = Server::start();
    let (url, of_cache) = (server.database(), server.database());
    let folding = Folding::on(&url);
    let mirroring = Mirroring::of(&url);
    mirroring.has("e", 0).await;
    ask(&url, &["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    let used = ask(&url, &["INFO", "memory"]);
    let used = used
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let limit = used.unwrap().trim().parse::<u64>().unwrap() + 2_000_000;
    ask(&url, &["CONFIG", "SET", "maxmemory", &limit.to_string()]);

    let fill = "for i = 1, 4000 do redis.call('SET', ARGV[1] .. i, string.rep('x', 2000), 'PX', 3600000) end";
    for round in 0..3 {
        ask(&of_cache, &["EVAL", fill, "0", &format!("{round}:")]);
        folding.tell(round + 1..=round + 1);
        mirroring.has("e", round + 1).await;
    }

    assert!(counted(&url, "evicted_keys") > 1_000);
    let there = ask(&url, &["EXISTS", PUBLISHER, DELTAS, SNAPSHOT]);
    assert_eq!(
        (there.as_str(), &folding.bus()["lastError"]),
        ("3", &Value::Null)
    );
}

#[tokio::test]
async fn an_entry_that_is_none_of_ours_costs_a_few_looks_and_no_delta() {
    for stray in [
        // of an epoch before, as a Redis that stood still takes it in late
        ["e", "before", "a", "7", "s", "8", "d", BEFORE],
        // of a later version
        ["e", "e", "s", "2", "d", "{\"type\":\"other\"}", "z", "1"],
    ] {
        let server = Server::start();
        let url = server.database();
        let folding = Folding::on(&url);
        let mirroring = Mirroring::of(&url);
        folding.tell(1..=1);
        mirroring.has("e", 1).await;

        ask(&url, &[&["XADD", DELTAS, "*"], &stray[..]].concat());
        let before = counted(&url, "total_commands_processed");
        sleep(Duration::from_secs(2)).await;
        let commands = counted(&url, "total_commands_processed") - before;
        folding.tell(2..=2);
        mirroring.has("e", 2).await;

        assert!(commands < 150, "{commands} commands in 2 s");
    }
}

const BEFORE: &str = r#"{"type":"delta","classroom":"default","epoch":"before","after":7,"seq":8,"students":[],"removed":[],"events":[],"eventsOmitted":0,"alerts":[]}"#;

#[tokio::test]
async fn a_redis_that_comes_back_with_what_it_had_yesterday_turns_nobody_back() {
    let url = database();
    let folding = Folding::on(&url);
    let mirroring = Mirroring::of(&url);
    folding.tell(1..=2);
    mirroring.has("e", 2).await;
    drop(folding);
    let time = ask(&url, &["TIME"])
        .lines()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap();
    let yesterday = ((time - 86_400) * 1_000).to_string();
    let beat = json!({ "node": "jrn_a/1", "number": 5, "classrooms": { "default": { "cursor": { "epoch": "old", "seq": 0 } } } });
    let frame = String::from_utf8(opening("old").frame().to_vec()).unwrap();

    ask(&url, &["FLUSHDB"]);
    let mark = ask(&url, &["XADD", DELTAS, "*", "e", "old", "s", "0"]);
    ask(
        &url,
        &[
            "HSET", SNAPSHOT, "e", "old", "s", "0", "i", &mark, "f", &frame,
        ],
    );
    ask(
        &url,
        &[
            "HSET",
            PUBLISHER,
            "n",
            "jrn_a/1",
            "t",
            &yesterday,
            "b",
            &beat.to_string(),
        ],
    );
    sleep(Duration::from_millis(1_500)).await;

    mirroring.has("e", 2).await;
    // the same from this second is another matter
    ask(
        &url,
        &["HSET", PUBLISHER, "t", &(time * 1_000 + 1_500).to_string()],
    );
    mirroring.has("old", 0).await;
}

#[tokio::test]
async fn who_was_away_for_longer_than_a_read_takes_in_goes_on_without_a_reset() {
    let url = database();
    let folding = Folding::on(&url);
    let mirroring = Mirroring::of(&url);
    mirroring.has("e", 0).await;
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    let console = mirroring
        .tree
        .consoles()
        .connect(Arc::clone(&outbox))
        .unwrap();
    console.subscribe(&room(), None).await.unwrap();
    let number = url.rsplit('/').next().unwrap();
    let reads =
        |line: &&str| line.contains(&format!(" db={number} ")) && line.contains("cmd=xread");
    let mut list = String::new();
    until("it reads", || {
        list = ask(&url, &["CLIENT", "LIST"]);
        list.lines().any(|line| reads(&line))
    })
    .await;
    let reader = list.lines().find(reads).unwrap();
    let id = reader.split(' ').next().unwrap();
    let id = id.strip_prefix("id=").unwrap();

    ask(&url, &["CLIENT", "KILL", "ID", id]);
    // enough for a new snapshot behind them
    folding.tell(1..=2_100);
    mirroring.has("e", 2_100).await;

    while let Some(item) = outbox.try_next() {
        let Item::Frame(frame) = item else {
            panic!("{item:?}");
        };
        assert!(!frame.starts_with(b"{\"type\":\"reset\""));
    }
}
