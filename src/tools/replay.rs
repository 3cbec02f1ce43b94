//! Sends recorded requests again: their method, path, headers and body, in their order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use mimamori_actors::domain::Timestamp;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until};

use super::{EVENTS, client, reason};
use crate::files::short_text;

/// A recorded file is read whole.
const MOST_BYTES: u64 = 256 << 20;

/// Headers that belong to the recorded connection, not to the request.
const OF_THE_CONNECTION: [&str; 6] = [
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "transfer-encoding",
];

/// Where to send, and how fast.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server; an ingest address is taken too.
    pub base: Url,
    /// The ingest key, if it does not stand in `base`.
    pub key: Option<String>,
    /// Keeps the recorded pauses, so many times shorter; without it, there are none.
    pub speed: Option<f64>,
}

/// A request as it was recorded.
#[derive(Debug)]
pub struct Recorded {
    /// The file's name, to tell of it.
    pub name: String,
    request: Request,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    recorded_at: Option<Timestamp>,
    /// As it stands: the server shall read what the client wrote.
    body: Option<Box<RawValue>>,
}

/// Reads recorded requests: of files in the order given, of directories in the order of names.
///
/// # Errors
/// When a file cannot be read or holds something else, or there is none at all.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Recorded>> {
    let mut recorded = Vec::new();
    for path in paths {
        for file in files(path)? {
            recorded.extend(read_file(&file)?);
        }
    }
    if recorded.is_empty() {
        bail!("no recorded request in what was given");
    }
    Ok(recorded)
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let at = || path.display().to_string();
    if !std::fs::metadata(path).with_context(at)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(at)? {
        let file = entry.with_context(at)?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> anyhow::Result<Vec<Recorded>> {
    let at = || path.display().to_string();
    let text = short_text(path, MOST_BYTES).with_context(at)?;
    let requests: Vec<Request> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).with_context(at)?
    } else {
        vec![serde_json::from_str(&text).with_context(at)?]
    };
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let named = |request| Recorded {
        name: name.clone(),
        request,
    };
    Ok(requests.into_iter().map(named).collect())
}

/// Sends them one after the other, tells of each answer in a line, and returns how many were not 2xx.
///
/// # Errors
/// When no HTTP client can be made, or a record holds what is no request.
pub async fn run(
    settings: &Settings,
    requests: &[Recorded],
    mut tell: impl FnMut(&str),
) -> anyhow::Result<usize> {
    let client = client()?;
    let begun = Instant::now();
    let first = requests
        .iter()
        .find_map(|recorded| recorded.request.recorded_at);
    let mut refused = 0;
    for recorded in requests {
        sleep_until(begun + pause(settings, first, recorded)).await;
        let request = recorded
            .to_request(settings)
            .with_context(|| recorded.name.clone())?;
        let outcome = send(&client, request).await;
        if !outcome.is_success {
            refused += 1;
        }
        let Request { method, path, .. } = &recorded.request;
        tell(&format!(
            "{} {method} {path} {}",
            outcome.text, recorded.name
        ));
    }
    Ok(refused)
}

/// How long after the first request this one is due.
fn pause(settings: &Settings, first: Option<Timestamp>, recorded: &Recorded) -> Duration {
    match (settings.speed, first, recorded.request.recorded_at) {
        (Some(speed), Some(first), Some(at)) => at.since(first).div_f64(speed),
        _ => Duration::ZERO,
    }
}

struct Outcome {
    is_success: bool,
    text: String,
}

async fn send(client: &reqwest::Client, request: reqwest::Request) -> Outcome {
    match client.execute(request).await {
        Ok(answer) => Outcome {
            is_success: answer.status().is_success(),
            text: answer.status().as_str().to_owned(),
        },
        Err(error) => Outcome {
            is_success: false,
            text: format!("no answer ({})", reason(error)),
        },
    }
}

impl Recorded {
    fn to_request(&self, settings: &Settings) -> anyhow::Result<reqwest::Request> {
        let method = Method::from_bytes(self.request.method.as_bytes())?;
        let mut request = reqwest::Request::new(method, address(settings, &self.request.path)?);
        for (name, value) in &self.request.headers {
            if OF_THE_CONNECTION.contains(&name.to_lowercase().as_str()) {
                continue;
            }
            let name = HeaderName::from_bytes(name.as_bytes())?;
            request
                .headers_mut()
                .append(name, HeaderValue::from_str(value)?);
        }
        if let Some(body) = &self.request.body {
            *request.body_mut() = Some(body.get().to_owned().into());
        }
        Ok(request)
    }
}

/// Base, key, recorded path.
fn address(settings: &Settings, path: &str) -> anyhow::Result<Url> {
    let mut base = settings.base.clone();
    let query = base.query().map(str::to_owned);
    base.set_query(None);
    base.set_fragment(None);
    let base = base.as_str().trim_end_matches('/');
    let base = base.strip_suffix(EVENTS).unwrap_or(base);
    let key = settings
        .key
        .as_ref()
        .map(|key| format!("/k/{key}"))
        .unwrap_or_default();
    let mut url: Url = format!("{base}{key}{path}").parse()?;
    if url.query().is_none() {
        // an ingest address may carry its key there
        url.set_query(query.as_deref());
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
