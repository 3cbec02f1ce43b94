//! Posts a class to a server: each event its own request, at its time, with the real client's retries.

use std::fmt;
use std::future::Future;
use std::io::{IsTerminal, Write, stderr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mimamori_actors::domain::Timestamp;
use reqwest::{StatusCode, Url, header};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::class::Class;
use super::wire::faster;
use crate::tools::{EVENTS, client, reason};

/// Requests in flight; as many browsers of a large class would have.
const IN_FLIGHT: usize = 512;
/// The real client tries again after these pauses, on 5xx or no answer, then gives up.
const RETRIES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(2_000),
];
/// What is in flight at the end may take so long.
const LAST: Duration = Duration::from_secs(12);

/// What class to send, and where to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many students.
    pub students: usize,
    /// How many times faster than a real class.
    pub speed: f64,
    /// Where to post, key included.
    pub url: Url,
    /// When to stop by itself.
    pub duration: Option<Duration>,
    /// Which class.
    pub seed: u64,
    /// How often to tell of progress on standard error; never, if nothing.
    pub print_every: Option<Duration>,
}

/// What became of the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events posted, copies included, retries not.
    pub sent: u64,
    /// Taken by the server.
    pub accepted: u64,
    /// Known to the server.
    pub duplicates: u64,
    /// Refused for good: 4xx, or named in the answer.
    pub refused: u64,
    /// Attempts that were answered 5xx or not at all.
    pub errors: u64,
    /// Given up after the last attempt.
    pub lost: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {}, accepted {}, duplicates {}, refused {}, errors {}, lost {}",
            self.sent, self.accepted, self.duplicates, self.refused, self.errors, self.lost
        )
    }
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    accepted: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
    errors: AtomicU64,
    lost: AtomicU64,
}

impl Counters {
    fn tally(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            sent: read(&self.sent),
            accepted: read(&self.accepted),
            duplicates: read(&self.duplicates),
            refused: read(&self.refused),
            errors: read(&self.errors),
            lost: read(&self.lost),
        }
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// The address to post to: a base or `…/k/KEY` gets the path of ingest, any other path stays.
pub fn ingest_address(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    let is_key = path
        .rsplit_once('/')
        .is_some_and(|(before, _)| before.ends_with("/k"));
    if path.is_empty() || is_key {
        url.set_path(&format!("{path}{EVENTS}"));
    }
    url
}

/// A seed that is another one each time.
pub fn fresh_seed() -> u64 {
    // short enough to be typed again
    now().as_millis().unsigned_abs() % 1_000_000_007
}

/// Ends at Ctrl-C or SIGTERM.
pub async fn ctrl_c() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

/// Posts the class until `stop`, or until its duration is over, and waits for what is in flight.
///
/// # Errors
/// When no HTTP client can be made.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<Tally> {
    let sender = Arc::new(Sender {
        client: client()?,
        url: settings.url.clone(),
        counters: Counters::default(),
    });
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let posting = post_all(&settings, &sender, &permits);
    let progress = tell_progress(&sender.counters, settings.print_every);
    let over = async {
        match settings.duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let (mut stop, mut progress) = (pin!(stop), pin!(progress));
    tokio::select! {
        () = posting => {}
        () = &mut progress => {}
        () = over => {}
        () = &mut stop => {}
    }
    // whoever has all permits has waited for every request
    let all = u32::try_from(IN_FLIGHT).expect("a small constant");
    tokio::select! {
        _ = timeout(LAST, permits.acquire_many(all)) => {}
        () = &mut progress => {}
    }
    if settings.print_every.is_some() {
        print_progress("\n");
    }
    Ok(sender.counters.tally())
}

/// Bounded by the permits: when the server is slow, the class is late, and no event is left out.
async fn post_all(settings: &Settings, sender: &Arc<Sender>, permits: &Arc<Semaphore>) {
    let (begun, start) = (Instant::now(), now());
    for event in Class::new(settings.seed, settings.students) {
        sleep_until(begun + faster(event.at, settings.speed)).await;
        let permit = Arc::clone(permits).acquire_owned().await;
        let body = format!("[{}]", event.to_json(start, settings.speed));
        let sender = Arc::clone(sender);
        tokio::spawn(async move {
            sender.post(body).await;
            drop(permit);
        });
    }
}

async fn tell_progress(counters: &Counters, every: Option<Duration>) {
    let Some(every) = every else {
        return std::future::pending().await;
    };
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        // on a terminal the line is written over itself
        let end = if stderr().is_terminal() {
            "\x1b[K\r"
        } else {
            "\n"
        };
        print_progress(&format!("{}{end}", counters.tally()));
    }
}

fn print_progress(text: &str) {
    // a reader that went away is no reason to stop the class
    let _ = stderr().lock().write_all(text.as_bytes());
}

struct Sender {
    client: reqwest::Client,
    url: Url,
    counters: Counters,
}

/// What ingest answers; other servers may answer otherwise.
#[derive(Deserialize)]
struct Answer {
    accepted: u64,
    duplicates: u64,
    rejected: Vec<serde::de::IgnoredAny>,
}

impl Sender {
    async fn post(&self, body: String) {
        add(&self.counters.sent, 1);
        let mut retries = RETRIES.iter();
        while !self.attempt(body.clone()).await {
            add(&self.counters.errors, 1);
            match retries.next() {
                Some(pause) => sleep(*pause).await,
                None => return add(&self.counters.lost, 1),
            }
        }
    }

    /// Whether that settled it, one way or the other.
    async fn attempt(&self, body: String) -> bool {
        let request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/plain, */*")
            .header(header::ORIGIN, "http://localhost:8888")
            .body(body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(error = reason(error), "no answer");
                return false;
            }
        };
        let status = answer.status();
        if status.is_server_error() {
            return false;
        }
        if !status.is_success() {
            self.refused(status);
            return true;
        }
        match answer.json::<Answer>().await {
            Ok(answer) => self.count(&answer),
            Err(_) => add(&self.counters.accepted, 1),
        }
        true
    }

    fn refused(&self, status: StatusCode) {
        add(&self.counters.refused, 1);
        tracing::warn!(status = status.as_u16(), "an event was refused for good");
    }

    fn count(&self, answer: &Answer) {
        add(&self.counters.accepted, answer.accepted);
        add(&self.counters.duplicates, answer.duplicates);
        add(&self.counters.refused, answer.rejected.len() as u64);
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
