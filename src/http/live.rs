//! `GET /api/v1/live`: the WebSocket of a console (contract, section 5).
//!
//! The route takes hyper's upgrade itself: what warp brings costs 135 KiB a
//! connection. A connection is two tasks that share little but the console's
//! [`Outbox`](mimamori_actors::outbox::Outbox): one reads ([`listener`]), one
//! writes ([`outbound`]). The reader never waits for a write, so it finds a
//! console that no longer reads; the writer never copies a frame, so a
//! delta that goes to all consoles is in memory once.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use mimamori_actors::live::Consoles;
use mimamori_actors::outbox::OutboxLimits;
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{ApiError, Head, Response, request};

mod between;
mod connection;
mod frames;
mod handshake;
mod inbound;
mod listener;
mod message;
mod open;
mod outbound;
mod pace;
mod sign_in;
#[cfg(test)]
mod tests;

pub use open::OpenSockets;
pub use sign_in::SignIn;

/// When a console should come again that is refused while the server drains.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// The subprotocol that a console must offer.
pub const SUBPROTOCOL: &str = "mimamori.v1";

/// What the route needs.
#[derive(Clone)]
pub struct Live {
    /// Decides who may connect.
    pub sign_in: Arc<dyn SignIn>,
    /// The tree.
    pub consoles: Arc<dyn Consoles>,
    /// Turns true when the server stops: every console is told 1001.
    pub draining: watch::Receiver<bool>,
    /// Moves on whenever a right is withdrawn: every console's is looked at again.
    pub withdrawals: watch::Receiver<u64>,
    /// Counts the sockets, so that a stop can wait for them.
    pub open: OpenSockets,
    /// Times and bounds.
    pub settings: LiveSettings,
}

/// Times and bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub struct LiveSettings {
    /// Until a first frame with a token is there.
    pub sign_in_within: Duration,
    /// Between two pings; two unanswered ones end the connection.
    pub heartbeat: Duration,
    /// A console whose outbox was not empty for so long is too slow; a standstill of the process counts little.
    pub behind_for: Duration,
    /// How long a classroom may take to answer a subscription before the next attempt.
    pub subscribe_within: Duration,
    /// From the decision to close until the socket is dropped.
    pub farewell: Duration,
    /// The window of the two following counts.
    pub flood_window: Duration,
    /// More frames than this in a window end the connection.
    pub max_messages: u32,
    /// More messages that could not be understood than this in a window end the connection.
    pub max_bad_messages: u32,
    /// The longest message taken.
    pub max_message_bytes: usize,
    /// So many classrooms may be watched on one connection.
    pub max_classrooms: usize,
    /// What the system may hold for a console that does not read; Linux takes twice as much.
    pub send_buffer_bytes: usize,
    /// What may wait for one console.
    pub outbox: OutboxLimits,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            sign_in_within: Duration::from_secs(5),
            heartbeat: Duration::from_secs(15),
            behind_for: Duration::from_secs(30),
            subscribe_within: Duration::from_secs(5),
            farewell: Duration::from_secs(2),
            flood_window: Duration::from_secs(10),
            max_messages: 200,
            max_bad_messages: 50,
            max_message_bytes: 64 * 1024,
            max_classrooms: 64,
            send_buffer_bytes: 64 * 1024,
            outbox: OutboxLimits::default(),
        }
    }
}

/// The route.
pub fn routes(live: Live) -> BoxedFilter<(Response,)> {
    let live = Arc::new(live);
    warp::path!("api" / "v1" / "live")
        .and(request::head())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(move |head: Head, upgrade| answer(&live, head, upgrade))
        .boxed()
}

/// Takes the connection over, or says why not.
fn answer(live: &Arc<Live>, head: Head, upgrade: Option<OnUpgrade>) -> Response {
    let request_id = head.context.request_id.clone();
    match handshake::check(head, upgrade, live.sign_in.as_ref()) {
        // a proxy moves on to the next node: on an open socket it could not
        Ok(_) if *live.draining.borrow() => {
            let draining = ApiError::unavailable("draining", "the server is stopping", COME_AGAIN);
            handshake::refused(draining, &request_id)
        }
        Ok(accepted) => {
            let response = handshake::switching_protocols(&accepted.accept_key);
            let open = live.open.enter();
            let live = Arc::clone(live);
            tokio::spawn(async move {
                connection::serve(accepted.upgrade, accepted.credential, live).await;
                drop(open);
            });
            response
        }
        Err(refusal) => handshake::refused(refusal, &request_id),
    }
}
