//! Actors that panic, wait for ever or never return, in the real program: what
//! breaks is replaced, nobody else's event is lost, and consoles hardly notice.
//!
//! The program is `mimamori-faulty`: the same, with faults where events ask for
//! them (`tests/faulty`).

pub mod ends;
pub mod others;
pub mod sessions;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::{Api, Console, PATIENCE, ROOM, Run, Server, ensure, eventually, run};

/// A faulty session delays nobody else by more than 1 s, which a drill measures: this
/// has room for a busy machine.
const SESSION: Duration = Duration::from_secs(3);
/// A faulty router or classroom delays nobody by more than 3 s, and as above.
const ROUTER_OR_CLASSROOM: Duration = Duration::from_secs(10);
/// What has no place in the live path delays nobody; far less than the for ever
/// for which who depended on it would wait.
const NOBODY: Duration = Duration::from_secs(10);
/// What depends on held threads never answers; far more than an answer takes on a busy machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// An actor that may be without progress for 30 s, and threads without a turn, are here
/// found after so long.
const SHORT_PATIENCE: (&str, &str) = ("FAULTY_PATIENCE_SECONDS", "5");
const PATIENT_FOR: Duration = Duration::from_secs(5);

/// An event that asks for a fault.
fn fault(id: &str, student: &str, how_and_who: &str) -> Value {
    run(id, student, &format!("fault:{how_and_who}"), Run::Ok)
}

/// A student who has nothing to do with it, and the console that watches her.
struct Hanako {
    api: Api,
    console: Console,
    sent: u64,
    /// The longest that a cell took on this machine while nothing was wrong.
    usual: Duration,
}

impl Hanako {
    async fn at(server: &Server) -> Self {
        let mut hanako = Self {
            api: server.api(),
            console: Console::watching(server, ROOM).await,
            sent: 0,
            usual: Duration::ZERO,
        };
        hanako.runs_a_cell().await;
        hanako.usual = hanako.works(Duration::from_millis(500)).await;
        hanako
    }

    /// Runs one cell; how long it takes until the console shows it.
    async fn runs_a_cell(&mut self) -> Duration {
        self.sent += 1;
        let event = run(&format!("hanako-{}", self.sent), "hanako", "c1", Run::Ok);
        let begun = Instant::now();
        self.api.accepted(&[event]).await;
        let sent = self.sent;
        self.console
            .until(PATIENCE, "hanako's run", |console| {
                let hanako = console.rooms[ROOM].named("hanako");
                hanako.is_some_and(|student| student["executions"] == sent)
            })
            .await;
        begun.elapsed()
    }

    /// Works on for so long; the longest that one of her cells took.
    async fn waits_at_most(&mut self, during: Duration) -> Delay {
        Delay {
            longest: self.works(during).await,
            usual: self.usual,
        }
    }

    /// One cell after the other; the longest that one took.
    async fn works(&mut self, during: Duration) -> Duration {
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        while begun.elapsed() < during {
            longest = longest.max(self.runs_a_cell().await);
        }
        longest
    }
}

/// How long a cell took while something else failed.
#[derive(Debug, Clone, Copy)]
pub struct Delay {
    pub longest: Duration,
    usual: Duration,
}

impl Delay {
    /// Less than on any day and this.
    #[track_caller]
    fn assert_less_than(self, most: Duration) {
        // twice: the machine has the fault to see to as well
        let bound = most + self.usual * 2;
        assert!(self.longest < bound, "{self:?}, of {bound:?}");
    }
}

/// Every accepted event of the clients is there once, poison included.
async fn assert_all_there(api: &Api, expected: u64) {
    eventually("every event is there", PATIENCE, async || {
        let events = api.all("/events?since=0", 1000).await;
        let ids: BTreeSet<_> = events
            .iter()
            .map(|event| event["eventId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), events.len(), "one is there twice");
        ensure(events.len() as u64 == expected, || {
            format!("{} of {expected}", events.len())
        })
    })
    .await;
}

/// How many entries of sessions became dead letters.
async fn wait_for_dead_letters(api: &Api, expected: usize, within: Duration) {
    eventually("the dead letters", within, async || {
        let letters = api.all("/dead-letters", 100).await;
        let of_sessions = letters
            .iter()
            .filter(|letter| letter["consumer"] == "sessions")
            .count();
        ensure(of_sessions == expected, || format!("{letters:?}"))
    })
    .await;
}

/// The student's runs that are known live.
async fn wait_for_runs(api: &Api, student: &str, expected: u64) {
    eventually("the session goes on", PATIENCE, async || {
        let all = api.room("/overview").await.good();
        let found = all["students"].as_array().unwrap().iter().find(|known| {
            known["name"]
                .as_str()
                .is_some_and(|name| name.ends_with(student))
        });
        ensure(
            found.is_some_and(|known| known["executions"] == expected),
            || format!("{found:?}"),
        )
    })
    .await;
}

/// It went on undisturbed. A machine that gives it no turn for a second may have
/// it found frozen: that is not the fault's doing.
async fn assert_went_on(api: &Api, name: &str) {
    let actor = api.actor(name).await.unwrap();
    let was_frozen = actor["lastError"]
        .as_str()
        .is_some_and(|error| error.contains("frozen"));
    assert!(actor["restarts"] == 0 || was_frozen, "{actor}");
}

/// What the metric without labels shows; zero if it is not there.
async fn metric(api: &Api, name: &str) -> f64 {
    let text = api.get("/metrics").await.text;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let value = lines.find_map(|(known, value)| (known == name).then_some(value));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// Everything that must always answer, does.
async fn assert_health_answers(api: &Api) {
    health_answers(api).await.unwrap();
}

/// As [`assert_health_answers`], of a server that may be ending: then it is the reason.
async fn health_answers(api: &Api) -> Result<(), String> {
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/health/actors"] {
        let begun = Instant::now();
        let answer = api.try_get(path).await.map_err(|error| error.to_string())?;
        ensure(answer.status == 200, || format!("{path}: {}", answer.text))?;
        assert!(begun.elapsed() < ANSWERS_WITHIN, "{path}");
    }
    Ok(())
}
