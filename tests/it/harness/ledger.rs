//! What clients sent and what they were told, and what is left of it after a fault.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Display};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::{ALWAYS, Api, PATIENCE, Run, Server, ensure, event_id, eventually, run};

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Each sends one request after the other.
    pub connections: usize,
    /// Events a request.
    pub batch: usize,
    /// From one request of a connection to the next.
    pub every: Duration,
}

impl Pace {
    /// 8 connections × 25 batches × 10 events are 2,000 events/s.
    pub const BUSY: Self = Self {
        connections: 8,
        batch: 10,
        every: Duration::from_millis(40),
    };
}

/// What clients know.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Ids of events that were answered 202.
    pub acknowledged: HashSet<String>,
    /// Batches without an answer, or refused for now: a client sends them again.
    pub unanswered: Vec<Vec<Value>>,
    /// The last batch of each connection that was answered 202: a browser may repeat it.
    newest: Vec<Vec<Value>>,
    /// Events that were answered 503.
    pub refused: usize,
    /// Students of whom something was answered 503: it comes again behind what
    /// they did after it, and whether that is too late depends on how long it took.
    pub turned_away: HashSet<String>,
}

impl Ledger {
    /// Notes a batch that was answered 202.
    pub fn note(&mut self, batch: &[Value]) {
        self.acknowledged.extend(batch.iter().map(event_id));
    }

    /// Takes in what another knows.
    pub fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unanswered.extend(other.unanswered);
        self.newest.extend(other.newest);
        self.refused += other.refused;
        self.turned_away.extend(other.turned_away);
    }

    /// The end of a round, on the server that came back: what was acknowledged before the
    /// fault is there; what had no answer comes again, and then there is nothing else.
    /// `readable`: within so long an acknowledged event can be read.
    pub async fn settle(&mut self, api: &Api, readable: Duration) -> Settled {
        let before = self.check_events(api, readable, &[]).await.len();
        let again = self.unanswered.len();
        self.send_again(api).await;
        let events = self.check_events(api, readable, &[]).await;
        assert_eq!(events.len(), self.acknowledged.len());
        self.check_executions(api, &[]).await;
        Settled {
            before,
            again,
            events,
        }
    }

    /// A client's second try at what it had no answer for: each event is new or a
    /// duplicate, never refused. What was answered before the fault is known after it.
    pub async fn send_again(&mut self, api: &Api) {
        for batch in std::mem::take(&mut self.newest) {
            let answer = api.ingest(&batch).await.good();
            assert_eq!(answer["duplicates"], batch.len(), "{answer}");
        }
        for batch in std::mem::take(&mut self.unanswered) {
            let answer = api.ingest(&batch).await.good();
            let sum = answer["accepted"].as_u64().unwrap() + answer["duplicates"].as_u64().unwrap();
            assert_eq!(sum, batch.len() as u64, "{answer}");
            self.note(&batch);
        }
    }

    /// Everything in `/events`: once each, in the order of positions, with every
    /// acknowledged event but those in `gone`.
    pub async fn check_events(&self, api: &Api, within: Duration, gone: &[String]) -> Vec<Value> {
        eventually("every acknowledged event can be read", within, async || {
            let events = api.all("/events?since=0", 1000).await;
            let mut seen = HashSet::new();
            let mut last = 0;
            for event in &events {
                let position = event["position"].as_u64().unwrap();
                assert!(position > last, "{position} after {last}");
                last = position;
                assert!(seen.insert(event_id(event)), "twice: {event}");
            }
            let mut lost = self.acknowledged.difference(&seen);
            let unexpected = lost.clone().filter(|id| !gone.contains(id)).count();
            ensure(unexpected == 0, || {
                format!("{unexpected} are not there, {:?} and so on", lost.next())
            })?;
            Ok::<_, String>(events)
        })
        .await
    }

    /// Every acknowledged execution but those in `gone` is in the records, once.
    pub async fn check_executions(&self, api: &Api, gone: &[String]) {
        let path = format!("/executions?{ALWAYS}");
        eventually(
            "every acknowledged execution is there",
            PATIENCE,
            async || {
                let mut seen: BTreeMap<String, usize> = BTreeMap::new();
                for execution in api.all(&path, 1000).await {
                    *seen.entry(event_id(&execution)).or_default() += 1;
                }
                let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
                assert!(twice.is_empty(), "stored twice: {twice:?}");
                let missing = self
                    .acknowledged
                    .iter()
                    .filter(|id| !seen.contains_key(*id) && !gone.contains(id))
                    .count();
                ensure(missing == 0, || {
                    format!("{missing} of {} are missing", self.acknowledged.len())
                })
            },
        )
        .await;
    }
}

/// What is there after a round; nothing of it lost, nothing twice.
#[derive(Debug)]
pub struct Settled {
    before: usize,
    again: usize,
    /// As `/events` tells them.
    pub events: Vec<Value>,
}

impl Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events were there, {} batches were sent again, {} events now, lost 0, doubled 0",
            self.before,
            self.again,
            self.events.len()
        )
    }
}

/// Clients at work until the server is gone.
pub struct Senders {
    tasks: JoinSet<Ledger>,
}

impl Senders {
    /// Begins to send, at this pace, executions whose ids begin with `name`. Each
    /// connection has students of its own, as a browser has: nothing they did
    /// is newer than the batch that it lost its connection with.
    pub fn begin(server: &Server, name: &str, pace: Pace) -> Self {
        let mut tasks = JoinSet::new();
        for connection in 0..pace.connections {
            let api = Api::new(&server.base(), None);
            let name = format!("{name}-c{connection}");
            tasks.spawn(send(api, name, connection, pace));
        }
        Self { tasks }
    }

    /// What they know when the server is gone.
    pub async fn until_it_is_gone(self) -> Ledger {
        let mut all = Ledger::default();
        for ledger in self.tasks.join_all().await {
            all.merge(ledger);
        }
        all
    }
}

async fn send(api: Api, name: String, connection: usize, pace: Pace) -> Ledger {
    let mut ledger = Ledger::default();
    let mut ticks = interval(pace.every);
    for nth in 0.. {
        ticks.tick().await;
        let batch: Vec<_> = (0..pace.batch)
            .map(|index| execution(&name, connection, nth, index))
            .collect();
        match api.try_ingest(&batch).await {
            Ok(answer) if answer.status == 202 => {
                assert_eq!(answer.json["accepted"], pace.batch, "{}", answer.text);
                ledger.note(&batch);
                ledger.newest = vec![batch];
            }
            Ok(answer) => {
                // overloaded or on its way down: nothing of it is kept, and it comes again
                assert_eq!(answer.status, 503, "{}", answer.text);
                ledger.refused += batch.len();
                ledger.turned_away.extend(batch.iter().map(student));
                ledger.unanswered.push(batch);
            }
            Err(_) => {
                ledger.unanswered.push(batch);
                break;
            }
        }
    }
    ledger
}

fn student(event: &Value) -> String {
    event["userName"].as_str().unwrap().to_owned()
}

fn execution(name: &str, connection: usize, nth: usize, index: usize) -> Value {
    let student = format!("s{connection}-{index}");
    let how = if (nth / 3 + index).is_multiple_of(3) {
        Run::Error
    } else {
        Run::Ok
    };
    run(
        &format!("{name}-{nth}-{index}"),
        &student,
        &format!("cell-{}", (nth / 7 + index) % 5),
        how,
    )
}

/// What a fault left, for a test to hold against what it promised and for a drill to print.
#[derive(Debug, Default, Clone)]
pub struct Counted {
    /// Events that were answered 202.
    pub acknowledged: usize,
    /// Events that are in the records.
    pub stored: usize,
    /// Acknowledged ones that are not.
    pub lost: usize,
    /// Events that are there more than once.
    pub doubled: usize,
    /// Events that were answered 503.
    pub refused: usize,
    /// From the start, or from the end of the fault, until it was ready again.
    pub recovered: Duration,
}

impl Counted {
    /// After the checks of [`Ledger`], which fail where one is lost or doubled.
    pub fn checked(ledger: &Ledger, stored: usize, recovered: Duration) -> Self {
        Self {
            acknowledged: ledger.acknowledged.len(),
            stored,
            refused: ledger.refused,
            recovered,
            ..Self::default()
        }
    }

    /// Of one fault after the other, each in a directory of its own.
    pub fn plus(self, next: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + next.acknowledged,
            stored: self.stored + next.stored,
            lost: self.lost + next.lost,
            doubled: self.doubled + next.doubled,
            refused: self.refused + next.refused,
            recovered: self.recovered.max(next.recovered),
        }
    }

    /// Of one fault after the other in the same directory: counts are those of
    /// the last, the longest time counts.
    pub fn followed_by(self, next: Self) -> Self {
        Self {
            recovered: self.recovered.max(next.recovered),
            ..next
        }
    }
}
