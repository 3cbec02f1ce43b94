//! The only place that talks to InfluxDB: its 1.x routes, which 2.x and 3 also serve.
//!
//! Points and their lines are made with the crate `influxdb`. Its own client
//! hides why something was refused, takes a word in a name for an error, and
//! neither compresses nor ends: so the requests are made here. What the server
//! says may repeat names and paths of students: only words that we know are
//! taken from it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use influxdb::{Query as _, WriteQuery};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::super::SeriesError;
use crate::config::InfluxUrl;
use crate::keys::Secret;

/// Until a connection is there.
const CONNECTS_WITHIN: Duration = Duration::from_secs(3);
/// Until points are in.
const WRITES_WITHIN: Duration = Duration::from_secs(10);
/// So long nobody who reads waits for a server that is away: it is asked by its writer, where
/// there is one, more often than that.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// An idle connection is kept so long: less than what stands between us may do.
const IDLE: Duration = Duration::from_secs(20);
/// An answer to a question has at most so much.
const MOST_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// What is said about points that were not taken has at most so much; the rest is not read.
const MOST_REASON_BYTES: usize = 16 * 1024;

/// What is wrong with points themselves, whenever they come.
const FOR_GOOD: [&str; 7] = [
    "partial write",
    UNREADABLE,
    "invalid boolean",
    "invalid number",
    "field type conflict",
    "max-values-per-tag limit exceeded",
    "max-series-per-database limit exceeded",
];
const UNREADABLE: &str = "unable to parse";
/// What else is worth telling.
const WORTH_TELLING: [&str; 10] = [
    NOT_EXECUTED,
    CLOSED,
    "retention policy not found",
    "authorization failed",
    "unauthorized",
    "no space left on device",
    "cache-max-memory-size exceeded",
    "timeout",
    "not supported",
    "database is required",
];
/// One of several statements did not get its turn: it may be said again.
pub(super) const NOT_EXECUTED: &str = "not executed";
/// What 1.6.7 now and then says to a DELETE, and not to the same one a moment later.
const CLOSED: &str = "engine is closed";
/// So often an order is given again then, each time after a longer wait.
const ORDERS: u32 = 5;
const ORDERED_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Older than what the database keeps: by the will of whoever runs it.
const BEYOND_RETENTION: &str = "beyond retention policy";

/// One table of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Table {
    /// Where its rows are from.
    #[serde(default)]
    pub(super) name: String,
    /// What its columns hold.
    #[serde(default)]
    pub(super) columns: Vec<String>,
    /// What all of its rows have in common.
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    /// The rows, the time first.
    #[serde(default)]
    pub(super) values: Vec<Vec<Value>>,
    #[serde(default)]
    partial: bool,
}

#[derive(Debug, Deserialize)]
struct Answer {
    results: Vec<Answered>,
}

#[derive(Debug, Deserialize)]
struct Answered {
    #[serde(default)]
    series: Vec<Table>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    partial: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    writing: Url,
    asking: Url,
    pinging: Url,
    /// Until when it is taken for away without being asked, and why.
    away: Mutex<Option<(Instant, String)>>,
    token: Option<HeaderValue>,
    login: Option<(String, Secret)>,
    database: String,
}

impl Client {
    pub(super) fn new(url: &InfluxUrl, token: Option<&Secret>) -> Result<Self, SeriesError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECTS_WITHIN)
            .pool_idle_timeout(IDLE)
            // hours are hashes for the most part: to pack them took longer than to send them
            .no_gzip()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| SeriesError::Away(format!("no client: {error}")))?;
        let of = |route: &str, name: &str| {
            let mut of = url.route(route);
            of.query_pairs_mut()
                .append_pair("db", url.database())
                .append_pair(name, "ns");
            of
        };
        let token = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Token {}", token.expose()))
                .expect("the configuration takes visible characters only");
            value.set_sensitive(true);
            value
        });
        let login = url.login();
        Ok(Self {
            http,
            writing: of("write", "precision"),
            asking: of("query", "epoch"),
            pinging: url.route("ping"),
            away: Mutex::default(),
            token,
            login: login.map(|(user, password)| (user.to_owned(), password.clone())),
            database: url.database().to_owned(),
        })
    }

    /// Makes the database if that may be and must be; whether it is there is seen by what follows.
    pub(super) async fn make_database(&self, within: Duration) -> Result<(), SeriesError> {
        let statement = format!("CREATE DATABASE {}", quoted_name(&self.database));
        match self.order(&statement, within).await {
            // by far the most are not allowed to: not with 2.x, and not without administration
            Ok(()) | Err(SeriesError::Refused(_) | SeriesError::NoDatabase) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes points, all with times in nanoseconds. How many of them are older
    /// than what the database keeps, and therefore are not in it.
    pub(super) async fn write(&self, points: Vec<WriteQuery>) -> Result<u64, SeriesError> {
        if points.is_empty() {
            return Ok(0);
        }
        let answer = self.post(points)?.await;
        outcome(answer.inspect_err(|error| self.note_away(error))?).await
    }

    /// The same of points that nobody waits for: a server that has no time for them is not
    /// taken for away by those who ask it.
    pub(super) async fn write_behind(&self, points: Vec<WriteQuery>) -> Result<u64, SeriesError> {
        if points.is_empty() {
            return Ok(0);
        }
        outcome(self.post(points)?.await?).await
    }

    fn post(
        &self,
        points: Vec<WriteQuery>,
    ) -> Result<impl Future<Output = Result<Response, SeriesError>>, SeriesError> {
        let lines = points.build();
        let lines = lines.map_err(|error| SeriesError::Refused(error.to_string()))?;
        let request = self
            .http
            .post(self.writing.clone())
            .header(CONTENT_ENCODING, "gzip")
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(compressed(lines.get().as_bytes()));
        Ok(self.send(request, WRITES_WITHIN))
    }

    /// Whether anybody answers. What is answered is not looked at, but a fault of the server:
    /// a path that is not for us (a proxy, a version that asks who we are) is an answer, too.
    pub(super) async fn ping(&self, within: Duration) -> Result<(), SeriesError> {
        let answer = self.send(self.http.get(self.pinging.clone()), within).await;
        let status = answer.inspect_err(|error| self.note_away(error))?.status();
        if status.is_server_error() {
            return Err(SeriesError::Away(told(status, "")));
        }
        Ok(())
    }

    /// Fails at once while it is known that the server is away.
    pub(super) fn check_known(&self) -> Result<(), SeriesError> {
        match &*self.away() {
            Some((until, reason)) if *until > Instant::now() => {
                Err(SeriesError::Away(reason.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn note_away(&self, error: &SeriesError) {
        let reason = match error {
            SeriesError::Away(reason) => reason.clone(),
            _ => "it did not answer in time".to_owned(),
        };
        *self.away() = Some((Instant::now() + KNOWN_FOR, reason));
    }

    fn away(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        // a plain assignment under this lock cannot be left half done
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one question, or several with `;` between them, answered one after the other.
    pub(super) async fn ask(
        &self,
        statement: &str,
        within: Duration,
    ) -> Result<Vec<Table>, SeriesError> {
        let mut url = self.asking.clone();
        url.query_pairs_mut().append_pair("q", statement);
        match self.answer(self.http.get(url), within).await {
            Ok(answer) => Ok(answer.into_iter().flat_map(|one| one.series).collect()),
            // no point is at fault when we are told nothing
            Err(SeriesError::Refused(reason)) => Err(SeriesError::Away(reason)),
            Err(error) => Err(error),
        }
    }

    /// Says what is to be done: one statement or several, which may all be done again.
    pub(super) async fn order(
        &self,
        statements: &str,
        within: Duration,
    ) -> Result<(), SeriesError> {
        let mut form = self.asking.clone();
        form.query_pairs_mut().clear().append_pair("q", statements);
        let form = form.query().unwrap_or_default();
        let mut given = 1;
        loop {
            let request = self
                .http
                .post(self.asking.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.to_owned());
            match self.answer(request, within).await {
                Err(SeriesError::Refused(reason)) if reason.contains(CLOSED) && given < ORDERS => {
                    sleep(ORDERED_AGAIN_AFTER * given).await;
                    given += 1;
                }
                done => return done.map(|_| ()),
            }
        }
    }

    async fn answer(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<Vec<Answered>, SeriesError> {
        let answer = self.send(request, within).await?;
        let status = answer.status();
        let body = read(answer, MOST_ANSWER_BYTES).await;
        let body = body.map_err(|failed| failed.error)?;
        if !status.is_success() {
            return Err(refusal(status, &String::from_utf8_lossy(&body)));
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| SeriesError::Away("its answer is none of InfluxDB".to_owned()))?;
        for one in &answer.results {
            if let Some(error) = &one.error {
                return Err(refusal(StatusCode::OK, error));
            }
            if one.partial || one.series.iter().any(|table| table.partial) {
                let reason = "it cuts its answers short (max-row-limit)";
                return Err(SeriesError::Away(reason.to_owned()));
            }
        }
        Ok(answer.results)
    }

    async fn send(
        &self,
        request: RequestBuilder,
        within: Duration,
    ) -> Result<Response, SeriesError> {
        let request = match (&self.token, &self.login) {
            (Some(token), _) => request.header(AUTHORIZATION, token),
            (None, Some((user, password))) => request.basic_auth(user, Some(password.expose())),
            (None, None) => request,
        };
        let answer = request.timeout(within).send().await.map_err(lost)?;
        *self.away() = None;
        Ok(answer)
    }
}

/// What was read before it failed.
struct Broken {
    bytes: Vec<u8>,
    error: SeriesError,
}

async fn read(mut answer: Response, most: usize) -> Result<Vec<u8>, Broken> {
    let mut bytes = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= most => bytes.extend_from_slice(&chunk),
            Ok(Some(chunk)) => {
                bytes.extend_from_slice(&chunk[..most - bytes.len()]);
                let error = SeriesError::Away("its answer is too long".to_owned());
                return Err(Broken { bytes, error });
            }
            Ok(None) => return Ok(bytes),
            Err(error) => {
                let error = lost(error);
                return Err(Broken { bytes, error });
            }
        }
    }
}

/// No answer, or none to its end. The address is not repeated.
fn lost(error: reqwest::Error) -> SeriesError {
    if error.is_timeout() && !error.is_connect() {
        return SeriesError::TooSlow;
    }
    let what = if error.is_connect() {
        "it cannot be reached"
    } else {
        "the connection broke"
    };
    let mut source: &dyn std::error::Error = &error;
    while let Some(cause) = source.source() {
        source = cause;
    }
    let cause = if source.is::<std::io::Error>() {
        format!("{what}: {source}")
    } else {
        what.to_owned()
    };
    SeriesError::Away(cause)
}

/// What became of points.
async fn outcome(answer: Response) -> Result<u64, SeriesError> {
    let status = answer.status();
    let body = read(answer, MOST_REASON_BYTES)
        .await
        .unwrap_or_else(|so_far| so_far.bytes);
    taken(status, &String::from_utf8_lossy(&body))
}

/// What its answer says became of them.
fn taken(status: StatusCode, body: &str) -> Result<u64, SeriesError> {
    if status.is_success() {
        return Ok(0);
    }
    let is_about_points = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
    if is_about_points.contains(&status) {
        // what it could not read it repeats, and there any word may stand
        if body.contains(BEYOND_RETENTION) && !body.contains(UNREADABLE) {
            return Ok(dropped(body));
        }
        if FOR_GOOD.iter().any(|said| body.contains(said)) {
            return Err(SeriesError::Refused(told(status, body)));
        }
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return Err(SeriesError::Refused(told(status, body)));
    }
    match refusal(status, body) {
        // not one of the points is at fault
        SeriesError::Refused(reason) => Err(SeriesError::Away(reason)),
        other => Err(other),
    }
}

/// Why a question was not answered, or an order not obeyed.
fn refusal(status: StatusCode, body: &str) -> SeriesError {
    let is_missing = status == StatusCode::NOT_FOUND || body.contains("database not found");
    match status {
        _ if is_missing => SeriesError::NoDatabase,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            SeriesError::Away(told(status, body))
        }
        _ if status.is_client_error() || status == StatusCode::OK => {
            SeriesError::Refused(told(status, body))
        }
        _ => SeriesError::Away(told(status, body)),
    }
}

/// How many points a partial write left out, as it says; at least one.
fn dropped(body: &str) -> u64 {
    let digits = body.rsplit("dropped=").next().unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let number = digits[..end.unwrap_or(digits.len())].parse();
    number.unwrap_or(0).max(1)
}

/// What may be repeated of what the server said.
fn told(status: StatusCode, body: &str) -> String {
    let known = FOR_GOOD.iter().chain(&WORTH_TELLING);
    let known: Vec<_> = known
        .filter(|said| body.contains(**said))
        .copied()
        .collect();
    let status = status.as_u16();
    if known.is_empty() {
        return format!("it answered {status}");
    }
    format!("it answered {status}: {}", known.join(", "))
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing into a Vec can't fail")
}

/// A name in a statement.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text in a statement.
pub(super) fn quoted_text(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{}'", text.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests;
