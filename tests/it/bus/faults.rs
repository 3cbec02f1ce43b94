//! Redis, or a node, is gone: who takes events in goes on, the others say so, and all repair themselves.

use super::*;
use crate::harness::redis::ask;

/// A node of each kind, a console at each, on a Redis of their own.
struct Nodes {
    redis: Redis,
    url: String,
    ingest: Server,
    node: Server,
    here: Console,
    there: Console,
    rounds: usize,
}

impl Nodes {
    async fn start() -> Self {
        let redis = Redis::start();
        let url = redis.database();
        let ingest = ingest_on(&url, &[]).await;
        class_runs(&ingest, 0, 3).await;
        let node = consoles_on(&url, &[]).await;
        Self {
            here: Console::watching(&ingest, ROOM).await,
            there: Console::watching(&node, ROOM).await,
            redis,
            url,
            ingest,
            node,
            rounds: 1,
        }
    }

    /// The console at the node that takes events in hears of them at once.
    async fn the_class_runs_and_is_seen_here(&mut self) {
        let begun = Instant::now();
        class_runs(&self.ingest, self.rounds, 3).await;
        self.rounds += 1;
        let events = 3 * self.rounds;
        self.here
            .until(PATIENCE, "the runs", |console| {
                console.rooms[ROOM].events.len() == events
            })
            .await;
        // less than any time-out of Redis, on a machine that is busy
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }

    /// Redis is away: long enough to be noticed there.
    async fn are_cut_off(&mut self) {
        self.the_class_runs_and_is_seen_here().await;
        let stale = is_told(&mut self.there, "stale", SOON).await;
        assert_eq!(stale["classroom"], ROOM);
        is_degraded(&self.node, &json!(["bus"])).await;
        is_degraded(&self.ingest, &json!(["bus"])).await;
        assert_eq!(bus_of(&self.ingest).await["state"], "backoff");
        self.the_class_runs_and_is_seen_here().await;
    }

    async fn are_whole(&mut self) {
        shows_the_present(&mut self.there, &self.ingest).await;
        is_degraded(&self.node, &json!([])).await;
        is_degraded(&self.ingest, &json!([])).await;
        self.the_class_runs_and_is_seen_here().await;
        shows_the_present(&mut self.here, &self.ingest).await;
        shows_the_present(&mut self.there, &self.ingest).await;
        self.here.level_with(&mut self.there, ROOM).await;
        let (here, there) = (&self.here.rooms[ROOM], &self.there.rooms[ROOM]);
        assert_eq!(here.students, there.students);
        assert_eq!(here.alerts, there.alerts);
        assert_eq!(self.here.snapshots, 1, "here nobody noticed");
    }
}

#[tokio::test]
async fn redis_killed_and_back_with_what_it_had() {
    let mut nodes = Nodes::start().await;

    nodes.redis.say("kill");
    nodes.are_cut_off().await;
    nodes.redis.say("start");

    nodes.are_whole().await;
}

#[tokio::test]
async fn redis_killed_and_back_empty() {
    let mut nodes = Nodes::start().await;

    nodes.redis.say("kill");
    nodes.redis.say("empty");
    nodes.are_cut_off().await;
    nodes.redis.say("start");

    nodes.are_whole().await;
}

#[tokio::test]
async fn redis_stands_still() {
    let mut nodes = Nodes::start().await;

    nodes.redis.say("freeze");
    nodes.are_cut_off().await;
    nodes.redis.say("thaw");

    nodes.are_whole().await;
}

#[tokio::test]
async fn who_was_told_that_nothing_comes_is_told_when_all_is_well() {
    let mut nodes = Nodes::start().await;

    nodes.redis.say("freeze");
    is_told(&mut nodes.there, "stale", SOON).await;
    nodes.redis.say("thaw");

    nodes
        .there
        .until(SOON, "the classroom whole", |console| {
            console.snapshots == 2
        })
        .await;
}

#[tokio::test]
async fn what_redis_forgot_without_being_gone_is_put_down_again() {
    let mut nodes = Nodes::start().await;
    ask(&nodes.url, &["FLUSHALL"]);
    nodes.the_class_runs_and_is_seen_here().await;

    nodes.are_whole().await;
    let late = Console::watching(&nodes.node, ROOM).await;
    assert_eq!(late.rooms[ROOM].students.len(), 3);
}

#[tokio::test]
async fn the_node_that_takes_events_in_is_killed_and_begins_a_new_epoch_everywhere() {
    let mut nodes = Nodes::start().await;
    nodes.the_class_runs_and_is_seen_here().await;
    shows_the_present(&mut nodes.there, &nodes.ingest).await;
    let before = nodes.there.rooms[ROOM].clone();

    nodes.ingest.kill9().await;
    let ingest = nodes.ingest.start_again().await;
    let reset = is_told(&mut nodes.there, "reset", SOON).await;
    shows_the_present(&mut nodes.there, &ingest).await;

    assert_eq!(reset["reason"], "restarted");
    let after = &nodes.there.rooms[ROOM];
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(after.students.len(), before.students.len());
    class_runs(&ingest, nodes.rounds, 3).await;
    shows_the_present(&mut nodes.there, &ingest).await;
    is_degraded(&ingest, &json!([])).await;
    let kept = ask(
        &nodes.url,
        &["XRANGE", "mimamori:1:default:deltas", "-", "+"],
    );
    assert!(kept.contains(&nodes.there.rooms[ROOM].epoch));
    assert!(!kept.contains(&before.epoch), "of no use to anybody");
}

#[tokio::test]
async fn while_nobody_takes_events_in_consoles_elsewhere_are_told_so() {
    let mut nodes = Nodes::start().await;

    nodes.ingest.kill9().await;

    let stale = is_told(&mut nodes.there, "stale", SOON).await;
    assert_eq!(stale["classroom"], ROOM);
    is_degraded(&nodes.node, &json!(["bus"])).await;
    let late = Console::watching(&nodes.node, ROOM).await;
    assert_eq!(late.rooms[ROOM].students.len(), 3, "what was is shown");
}

#[tokio::test]
async fn a_second_node_that_takes_events_in_on_the_same_redis_is_told_apart() {
    let mut nodes = Nodes::start().await;
    let rival = ingest_on(&nodes.url, &[]).await;
    is_degraded(&rival, &json!(["bus"])).await;
    class_runs(&rival, 100, 5).await;

    let bus = bus_of(&rival).await;
    let said = bus["lastError"].as_str().unwrap();
    assert!(said.contains("another node"), "{said}");
    assert!(rival.log().contains("another node"), "{}", rival.log());
    nodes.are_whole().await;
    assert_eq!(
        nodes.there.rooms[ROOM].students.len(),
        3,
        "none of the other's"
    );

    nodes.ingest.sigterm();
    is_degraded(&rival, &json!([])).await;
    shows_the_present(&mut nodes.there, &rival).await;
}
