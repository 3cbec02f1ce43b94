//! The accept loop: time-outs, the cap on connections, the graceful stop. `warp::serve` has none of it.
//!
//! A connection is closed when its first request's headers are not there in
//! `header_timeout`, when it then idles for `idle_timeout`, when it has begun a
//! further request and does not finish its headers in `header_timeout`, and
//! when it does not take an answer for `idle_timeout`. How long a request's
//! *body* may take is its handler's business, and how long an upgraded socket
//! lives is its owner's. hyper's own header timer is left off: it knows one
//! time for the first header, a further one and an idle connection.

mod pulse;
mod refusal;
mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep, sleep_until, timeout};
use warp::http::{Request, Response, StatusCode};

use pulse::Pulse;
pub use refusal::RefusedHead;
use refusal::Refuses;
pub use socket::{Seat, Socket};

/// Answers every request of every connection.
pub trait Answer: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static;

    /// Answers one request that came over the connection from `peer`.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// What is said of a head that is no request, or too long for one.
    fn refuse_head(&self, status: StatusCode) -> RefusedHead;
}

/// How long and how many.
#[derive(Debug, Clone)]
pub struct AcceptOptions {
    /// Until the first byte and all headers of a request are there.
    pub header_timeout: Duration,
    /// Between requests, and while a client takes nothing of its answer.
    pub idle_timeout: Duration,
    /// Sockets at a time, upgraded ones included; a further one gets a 503 at once.
    pub max_connections: usize,
    /// How long requests in hand may go on after the stop.
    pub drain_deadline: Duration,
}

/// What requests' headers may take together; more is 431.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// hyper's buffer per connection, in each direction.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// After the system had no socket to give, before asking again.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// Segments, databases, and what the series' store keeps open: up to 900 tables.
const FILES_OF_STORES: u64 = 1024;

/// Where the server is; every connection watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// No further requests; those in hand go on.
    Draining,
    /// The deadline has passed.
    Dropping,
}

/// Serves until `stop` is there, then finishes the requests in hand, and
/// returns how many connections were dropped at the deadline.
///
/// Upgraded sockets are not waited for: whoever took them over ends them.
pub async fn serve<A: Answer>(
    listener: TcpListener,
    answer: A,
    options: AcceptOptions,
    stop: impl Future<Output = ()>,
) -> usize {
    let seats = Arc::new(Semaphore::new(
        options.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let (phase, _) = watch::channel(Phase::Serving);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => admit(tcp, peer, &answer, &options, &seats, &phase),
                Err(error) => pause_after(&error).await,
            },
        }
    }
    // whoever connects from now on is told at once
    drop(listener);
    drain(phase, options.drain_deadline).await
}

async fn drain(phase: watch::Sender<Phase>, deadline: Duration) -> usize {
    phase.send_replace(Phase::Draining);
    if timeout(deadline, phase.closed()).await.is_ok() {
        return 0;
    }
    let late = phase.receiver_count();
    tracing::warn!(
        connections = late,
        "requests were still in hand at the deadline of the stop"
    );
    metrics::counter!("mimamori_http_connections_dropped_total").increment(late as u64);
    phase.send_replace(Phase::Dropping);
    phase.closed().await;
    late
}

fn admit<A: Answer>(
    tcp: TcpStream,
    peer: SocketAddr,
    answer: &A,
    options: &AcceptOptions,
    seats: &Arc<Semaphore>,
    phase: &watch::Sender<Phase>,
) {
    metrics::counter!("mimamori_http_connections_total").increment(1);
    let Ok(seat) = Arc::clone(seats).try_acquire_owned() else {
        metrics::counter!("mimamori_http_connections_refused_total").increment(1);
        turn_away(tcp);
        return;
    };
    // without it a small frame waits for the client's delayed ACK
    if tcp.set_nodelay(true).is_err() {
        return; // it is gone already
    }
    let pulse = Arc::new(Pulse::new(options.header_timeout, options.idle_timeout));
    let refusing = answer.clone();
    let refuses = Refuses::new(move |status| refusing.refuse_head(status));
    let socket = Socket::new(tcp, Arc::clone(&pulse), seat, refuses);
    tokio::spawn(connection(
        socket,
        peer,
        answer.clone(),
        pulse,
        phase.subscribe(),
    ));
}

/// A short answer that needs no reading of the request, at no risk of waiting.
fn turn_away(tcp: TcpStream) {
    const PROBLEM: &str = r#"{"type":"urn:mimamori:problem:too_many_connections","title":"Service Unavailable","status":503,"code":"too_many_connections","detail":"the server has as many connections as it may"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
         Content-Length: {}\r\nRetry-After: 5\r\nAccess-Control-Allow-Origin: *\r\n\
         Connection: close\r\n\r\n{PROBLEM}",
        PROBLEM.len()
    );
    if let Ok(tcp) = tcp.into_std() {
        // best effort: the socket is non-blocking, and closing it says the rest
        let _ = io::Write::write(&mut &tcp, answer.as_bytes());
    }
}

/// Out of descriptors or memory: a pause lets connections end instead of spinning.
async fn pause_after(error: &io::Error) {
    let is_of_the_peer = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    metrics::counter!("mimamori_http_accept_errors_total").increment(1);
    if !is_of_the_peer {
        tracing::warn!(%error, "cannot accept connections");
        sleep(PAUSE_AFTER_ERROR).await;
    }
}

async fn connection<A: Answer>(
    socket: Socket,
    peer: SocketAddr,
    answer: A,
    pulse: Arc<Pulse>,
    mut phase: watch::Receiver<Phase>,
) {
    let service = service_fn(|request| {
        let (answer, pulse) = (&answer, &pulse);
        pulse.request_began();
        async move {
            let response = answer.answer(request, peer).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| Watched {
                body,
                pulse: Arc::clone(pulse),
            }))
        }
    });
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut served = pin!(served);
    let mut overdue = pin!(Overdue::new(&pulse));
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == Phase::Dropping {
                    return;
                }
                draining = true;
                served.as_mut().graceful_shutdown();
            }
            ended = served.as_mut() => {
                note_end(&ended, draining);
                break;
            }
            () = overdue.as_mut() => {
                metrics::counter!("mimamori_http_connections_timed_out_total").increment(1);
                return;
            }
        }
    }
    // an upgraded socket is its new owner's: no more watching
    pulse.detach();
}

fn note_end(ended: &hyper::Result<()>, draining: bool) {
    if let Err(error) = ended {
        metrics::counter!("mimamori_http_connection_errors_total").increment(1);
        tracing::debug!(%error, draining, "a connection ended badly");
    }
}

/// Ready when the connection's pulse has missed its deadline.
///
/// Lives in the connection's own task and looks at the pulse whenever anything
/// moves there; the timer is only set when a deadline comes nearer.
struct Overdue<'a> {
    pulse: &'a Pulse,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Overdue<'a> {
    fn new(pulse: &'a Pulse) -> Self {
        let first = pulse.deadline().unwrap_or_else(tokio::time::Instant::now);
        Self {
            pulse,
            timer: Box::pin(sleep_until(first)),
        }
    }
}

impl Future for Overdue<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.pulse.deadline() else {
                // busy: whatever ends that wakes this task too
                return Poll::Pending;
            };
            if deadline < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            if self
                .pulse
                .deadline()
                .is_some_and(|d| d <= self.timer.deadline())
            {
                return Poll::Ready(());
            }
        }
    }
}

/// An answer's body; tells the pulse when it has been handed over whole.
struct Watched<B> {
    body: B,
    pulse: Arc<Pulse>,
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(task)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.pulse.answered();
    }
}

/// Raises the soft limit of open files to the hard one and returns it.
///
/// # Errors
/// When the system refuses.
pub fn raise_open_files() -> io::Result<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// How many of `wanted` connections fit beside the journal and the stores when
/// the process may open so many files. Of few files,
/// half are theirs.
///
/// Whoever is turned away gets a 503; without this the accept loop, and then the
/// journal, would find no descriptor.
#[must_use]
pub fn connections_within(open_files: u64, wanted: usize) -> usize {
    let kept = FILES_OF_STORES.min(open_files / 2);
    let fit = usize::try_from(open_files - kept).unwrap_or(usize::MAX);
    wanted.min(fit)
}

#[cfg(test)]
mod tests;
