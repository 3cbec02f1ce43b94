//! The outermost service: request ids, `/k/KEY`, the public path, the access log. Around all routes.
//!
//! What comes out of here is complete: every answer carries `X-Request-Id` and
//! the security headers, every error is a problem document, a handler that
//! panics costs its own request only. Queries and keys never reach a log.

mod address;
mod outcome;

use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::{Body, Bytes, Incoming};
use mimamori_actors::ports::Clock;
use tokio::time::Instant;
use tower_service::Service;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Method, Request, Response as HttpResponse, StatusCode, header};

use super::accept::{Answer, RefusedHead};
use super::auth::Origin;
use super::body::Kept;
use super::problem::Refused;
use super::refusals::Refusals;
use super::{ApiError, Context, Response};
use crate::networks::Networks;
use address::{Address, Found};
pub(super) use address::{cookie_path, is_https};
use outcome::Route;

/// An unread body is taken off the wire up to this size, counting what was read …
const MOST_DRAINED_BYTES: u64 = 16 * 1024 * 1024;
/// … and for this long, before the answer is written.
const MOST_DRAINED_FOR: Duration = Duration::from_secs(5);
/// A longer id of a client's is not taken over.
const MAX_REQUEST_ID: usize = 64;

/// How others reach this server.
#[derive(Debug, Clone, Default)]
pub struct FrontOptions {
    /// `http.public_url`, if it is set.
    pub public_url: Option<String>,
    /// Whose `X-Forwarded-*` counts.
    pub trusted_proxies: Networks,
}

/// The service around all routes. Cloned for every connection.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    routes: BoxedFilter<(Response,)>,
    address: Address,
    refusals: Arc<Refusals>,
    clock: Arc<dyn Clock>,
    /// Random, so that ids of two starts differ.
    id_prefix: String,
    id_next: AtomicU64,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}

impl Answer for Front {
    type Body = <Response as IntoBody>::Body;

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response {
        self.call(request, peer).await
    }

    fn refuse_head(&self, status: StatusCode) -> RefusedHead {
        let request_id = self.new_request_id();
        let document = outcome::refused_head(status, &request_id);
        RefusedHead {
            request_id,
            document,
        }
    }
}

/// Names the body of warp's answers, a type that warp itself keeps unnamed.
pub trait IntoBody {
    /// The body's type.
    type Body;
}

impl<B> IntoBody for HttpResponse<B> {
    type Body = B;
}

/// What is known of a request when its answer is finished.
struct Asked {
    method: Method,
    path: String,
    route: Route,
    origin: Option<String>,
    has_key: bool,
    request_id: String,
    began: Instant,
}

impl Front {
    /// `routes` must take every request: what it rejects becomes a plain 404 or 500.
    pub fn new(
        routes: BoxedFilter<(Response,)>,
        options: FrontOptions,
        refusals: Arc<Refusals>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut random = [0; 6];
        // an id needs to differ, not to be secret: without randomness the counter alone must do
        let _ = getrandom::fill(&mut random);
        Self(Arc::new(Inner {
            routes,
            address: Address::new(options),
            refusals,
            clock,
            id_prefix: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            id_next: AtomicU64::new(1),
        }))
    }

    /// Answers one request.
    pub async fn call<B>(&self, mut request: Request<B>, peer: SocketAddr) -> Response
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        let began = Instant::now();
        let request_id = self.request_id(&request);
        let found = self.0.address.resolve(&mut request, peer);
        let asked = Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            route: Route::of(request.uri().path()),
            origin: origin_host(&request),
            has_key: found.path_key.is_some(),
            request_id,
            began,
        };
        let response = match found.redirect {
            Some(place) => redirect(&place),
            None => self.route(request, &asked, found).await,
        };
        self.finish(response, asked)
    }

    async fn route<B>(&self, mut request: Request<B>, asked: &Asked, found: Found) -> Response
    where
        B: Body<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync,
    {
        // a client that asks before it sends has nothing under way, one that was too slow neither
        let asks_first = request.headers().contains_key(header::EXPECT);
        request.extensions_mut().insert(Context {
            request_id: asked.request_id.clone(),
            peer: found.peer,
            path_key: found.path_key,
            base_url: found.base_url,
        });
        let (parts, body) = request.into_parts();
        let body = Kept::new(body);
        let request = Request::from_parts(parts, body.share());
        let answering =
            AssertUnwindSafe(async { warp::service(self.0.routes.clone()).call(request).await });
        let response = match answering.catch_unwind().await {
            Ok(Ok(response)) => response,
            Err(_) => self.panicked(asked),
        };
        let is_waited_for = asks_first || response.status() == StatusCode::REQUEST_TIMEOUT;
        if !body.is_over() && !is_waited_for {
            body.drain(MOST_DRAINED_BYTES, MOST_DRAINED_FOR).await;
        }
        response
    }

    /// The panic's own message is in the log already, from the panic hook.
    fn panicked(&self, asked: &Asked) -> Response {
        metrics::counter!("mimamori_http_handler_panics_total").increment(1);
        tracing::error!(
            route = asked.route.name(),
            request.id = asked.request_id,
            "a handler panicked; its request is answered with 500"
        );
        ApiError::internal().into_response(&asked.request_id)
    }

    fn finish(&self, response: Response, asked: Asked) -> Response {
        let mut response = outcome::as_problem(response, &asked.request_id);
        outcome::complete_headers(&mut response, asked.route, &asked.request_id);
        if asked.route.is_read_by_people() {
            outcome::date(&mut response, self.0.clock.now());
        }
        let refused = response.extensions_mut().remove::<Refused>();
        if let Some(wanted) = asked.was_refused(response.status()) {
            let at = self.0.clock.now();
            self.0
                .refusals
                .record(asked.refusal(at, wanted, response.status(), refused));
        }
        asked.note(response.status());
        response
    }

    fn request_id<B>(&self, request: &Request<B>) -> String {
        let sent = request.headers().get("x-request-id");
        let sane = sent.and_then(|value| value.to_str().ok()).filter(|id| {
            (1..=MAX_REQUEST_ID).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        });
        match sane {
            Some(id) => id.to_owned(),
            None => self.new_request_id(),
        }
    }

    fn new_request_id(&self) -> String {
        let number = self.0.id_next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.0.id_prefix)
    }
}

/// Host and port of the page behind a request, cut to what is worth showing.
fn origin_host<B>(request: &Request<B>) -> Option<String> {
    let sent = request.headers().get(header::ORIGIN)?;
    let origin = sent
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Origin>().ok());
    Some(match origin {
        Some(origin) => origin.authority().chars().take(100).collect(),
        None => "unreadable".to_owned(),
    })
}

fn redirect(place: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

#[cfg(test)]
mod tests;
