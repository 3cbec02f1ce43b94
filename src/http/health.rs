//! Is it alive, is it ready, what does the tree look like: `/livez`, `/readyz`, `/metrics`, the actors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use mimamori_actors::tree::RestartError;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, StatusCode, header};

use super::request::head;
use super::session::json_answer;
use super::{Access, ApiError, Head, Response};
use crate::networks::Networks;

const MOST_SESSIONS: usize = 1_000;
const DEFAULT_SESSIONS: usize = 100;

/// Whether the server can take events, and what limps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// It can take events.
    pub is_ready: bool,
    /// Why not, for a person.
    pub reason: Option<String>,
    /// Stores that are down while the journal has room: events are taken all the same.
    pub degraded: Vec<String>,
}

/// Tells the readiness as it is now; must not wait for anything.
pub type ReadinessNow = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// The supervision tree as last published by its actors; must not ask them, because they may be blocked.
pub trait TreeReport: Send + Sync + 'static {
    /// The whole tree; sessions are folded.
    fn tree(&self) -> Value;

    /// A page of sessions, after `cursor` (the `next` of the page before).
    fn sessions(&self, cursor: Option<&str>, limit: usize) -> Value;

    /// Asks for one subtree to be restarted; does not wait until it is done.
    ///
    /// # Errors
    /// When no actor has this name.
    fn restart(&self, name: &str) -> Result<(), RestartError>;
}

/// What health is made of.
#[derive(Clone)]
pub struct Health {
    /// Who may see metrics and actors.
    pub access: Arc<Access>,
    /// Can it take events?
    pub readiness: ReadinessNow,
    /// Everything that was counted.
    pub metrics: PrometheusHandle,
    /// From where metrics are read without a token: `http.metrics_from`.
    pub metrics_from: Networks,
    /// The actors.
    pub tree: Arc<dyn TreeReport>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

/// All paths of health and administration.
pub fn routes(health: Health) -> BoxedFilter<(Response,)> {
    let health = Arc::new(health);
    let with = move |answer: fn(&Head, &Health) -> Result<Response, ApiError>| {
        let health = Arc::clone(&health);
        head().map(move |head: Head| {
            answer(&head, &health)
                .unwrap_or_else(|error| error.into_response(&head.context.request_id))
        })
    };
    let restart = warp::path!("api" / "v1" / "admin" / "actors" / String / "restart")
        // the name is taken from the path as it was sent, because it may hold a slash
        .map(|_| ())
        .untuple_one();
    warp::path!("livez")
        .and(with(livez))
        .or(warp::path!("readyz").and(with(readyz)))
        .unify()
        .or(warp::path!("metrics").and(with(metrics)))
        .unify()
        .or(warp::path!("api" / "v1" / "health" / "actors").and(with(actors)))
        .unify()
        .or(restart.and(with(restart_actor)))
        .unify()
        .boxed()
}

fn livez(head: &Head, _: &Health) -> Result<Response, ApiError> {
    only_reading(head)?;
    Ok(json_answer(&json!({ "status": "alive" })))
}

fn readyz(head: &Head, health: &Health) -> Result<Response, ApiError> {
    only_reading(head)?;
    let now = (health.readiness)();
    if now.is_ready {
        return Ok(json_answer(
            &json!({ "status": "ready", "degraded": now.degraded }),
        ));
    }
    let reason = now.reason.unwrap_or_else(|| "not ready".to_owned());
    Err(
        ApiError::unavailable("not_ready", reason, Duration::from_secs(1))
            .with("degraded", now.degraded),
    )
}

fn metrics(head: &Head, health: &Health) -> Result<Response, ApiError> {
    only_reading(head)?;
    if !is_from_allowed_address(head, &health.metrics_from) {
        health.access.admin(head)?;
    }
    let mut response = Response::new(health.metrics.render().into());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    Ok(response)
}

/// A proxy on this machine that nobody declared as trusted would lend its
/// address to the whole world: what it relays doesn't count as local.
fn is_from_allowed_address(head: &Head, allowed: &Networks) -> bool {
    let is_relayed = ["x-forwarded-for", "forwarded", "via"]
        .iter()
        .any(|name| head.headers.contains_key(*name));
    !is_relayed && allowed.contains(head.context.peer.ip())
}

fn actors(head: &Head, health: &Health) -> Result<Response, ApiError> {
    only_reading(head)?;
    health.access.admin(head)?;
    match head.parameter("kind").as_deref() {
        None => Ok(json_answer(&health.tree.tree())),
        Some("session") => {
            let cursor = head.parameter("cursor");
            let page = health.tree.sessions(cursor.as_deref(), limit(head)?);
            Ok(json_answer(&page))
        }
        Some(_) => Err(ApiError::bad_parameter("kind", "session")),
    }
}

fn limit(head: &Head) -> Result<usize, ApiError> {
    let Some(text) = head.parameter("limit") else {
        return Ok(DEFAULT_SESSIONS);
    };
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST_SESSIONS).contains(limit))
        .ok_or_else(|| ApiError::bad_parameter("limit", "a number from 1 to 1000"))
}

fn restart_actor(head: &Head, health: &Health) -> Result<Response, ApiError> {
    if head.method != Method::POST {
        return Err(ApiError::method_not_allowed("POST"));
    }
    health.access.admin(head)?;
    let sent = head.path.split('/').nth(5).unwrap_or_default();
    let name = percent_encoding::percent_decode_str(sent).decode_utf8_lossy();
    health.tree.restart(&name).map_err(|error| match error {
        RestartError::Unknown => ApiError::not_found("no actor has this name"),
        RestartError::NotAlone => ApiError::new(
            StatusCode::CONFLICT,
            "not_alone",
            "this one can only be restarted with the program",
        ),
    })?;
    tracing::info!(actor.name = %name, "an administrator asked for a restart");
    let mut response = json_answer(&json!({ "status": "restarting" }));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn only_reading(head: &Head) -> Result<(), ApiError> {
    if head.method == Method::GET || head.method == Method::HEAD {
        Ok(())
    } else {
        Err(ApiError::method_not_allowed("GET, HEAD"))
    }
}

#[cfg(test)]
mod tests;
