//! Programs that act as clients: a simulated class, a replay of recorded requests.

pub mod replay;
pub mod simulate;

use std::time::Duration;

use anyhow::Context;

/// The path of ingest on every server.
const EVENTS: &str = "/api/v1/events";

/// The real client gives up an attempt after this time.
const ATTEMPT: Duration = Duration::from_secs(8);

/// A client as the tools need it: straight to the server, whatever proxies the environment names.
fn client() -> anyhow::Result<reqwest::Client> {
    // an error only says that the program has installed one already
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(ATTEMPT)
        .tcp_nodelay(true)
        .no_proxy()
        .build()
        .context("no HTTP client")
}

/// Why a request got no answer, with its causes and without its address, which may hold a key.
fn reason(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::new(error.without_url()))
}
