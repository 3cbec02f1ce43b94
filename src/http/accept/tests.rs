use std::convert::Infallible;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

/// Answers by the path: `/wait` when told to, `/large`, `/endless`, `/upgrade`, else at once.
#[derive(Clone)]
struct Paths {
    began: mpsc::Sender<String>,
    go_on: Arc<Notify>,
    upgraded: mpsc::Sender<hyper::upgrade::Upgraded>,
}

impl Answer for Paths {
    type Body = BoxBody<Bytes, Infallible>;

    async fn answer(&self, mut request: Request<Incoming>, _: SocketAddr) -> Response<Self::Body> {
        let path = request.uri().path().to_owned();
        self.began.send(path.clone()).await.unwrap();
        let body = match path.as_str() {
            "/wait" => {
                self.go_on.notified().await;
                Bytes::from_static(b"done")
            }
            "/large" => Bytes::from(vec![b'x'; 64 * 1024 * 1024]),
            _ => Bytes::from_static(b"hello"),
        };
        let mut response = Response::new(Full::new(body).boxed());
        if path == "/endless" {
            let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
            let chunks = futures_util::stream::repeat_with(move || Ok(Frame::data(chunk.clone())));
            *response.body_mut() = BoxBody::new(http_body_util::StreamBody::new(chunks));
        }
        if path == "/upgrade" {
            let taken = hyper::upgrade::on(&mut request);
            let upgraded = self.upgraded.clone();
            tokio::spawn(async move { upgraded.send(taken.await.unwrap()).await });
            *response.status_mut() = warp::http::StatusCode::SWITCHING_PROTOCOLS;
            *response.body_mut() = Full::new(Bytes::new()).boxed();
            response
                .headers_mut()
                .insert("upgrade", "test".parse().unwrap());
        }
        response
    }

    fn refuse_head(&self, status: StatusCode) -> RefusedHead {
        RefusedHead {
            request_id: "id-1".to_owned(),
            document: format!("{{\"status\":{}}}", status.as_u16()),
        }
    }
}

struct Server {
    address: SocketAddr,
    began: mpsc::Receiver<String>,
    go_on: Arc<Notify>,
    upgraded: mpsc::Receiver<hyper::upgrade::Upgraded>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<usize>,
}

fn short() -> AcceptOptions {
    AcceptOptions {
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(900),
        max_connections: 100,
        drain_deadline: Duration::from_secs(5),
    }
}

fn patient() -> AcceptOptions {
    AcceptOptions {
        header_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(30),
        ..short()
    }
}

async fn start(options: AcceptOptions) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (began_tx, began) = mpsc::channel(64);
    let (upgraded_tx, upgraded) = mpsc::channel(8);
    let (stop, stopped) = oneshot::channel::<()>();
    let go_on = Arc::new(Notify::new());
    let paths = Paths {
        began: began_tx,
        go_on: Arc::clone(&go_on),
        upgraded: upgraded_tx,
    };
    let served = tokio::spawn(serve(listener, paths, options, async {
        let _ = stopped.await;
    }));
    Server {
        address,
        began,
        go_on,
        upgraded,
        stop: Some(stop),
        served,
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

async fn send(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.unwrap();
}

async fn get(socket: &mut TcpStream, path: &str) {
    send(socket, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
}

/// Reads until `end` has come.
async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(end) {
        let mut byte = [0; 1];
        let count = within(socket.read(&mut byte)).await.unwrap();
        assert_eq!(
            count,
            1,
            "closed after {:?}",
            String::from_utf8_lossy(&read)
        );
        read.push(byte[0]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Reads until the server closes, and tells how long that took.
async fn closed(socket: &mut TcpStream) -> (String, Duration) {
    let began = Instant::now();
    let mut rest = Vec::new();
    // a reset is a close too
    let _ = within(socket.read_to_end(&mut rest)).await;
    (String::from_utf8_lossy(&rest).into_owned(), began.elapsed())
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(10), future)
        .await
        .expect("nothing happened within ten seconds")
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let server = start(patient()).await;
    let mut socket = server.connect().await;

    for _ in 0..3 {
        get(&mut socket, "/").await;

        assert!(read_until(&mut socket, "hello").await.contains("200 OK"));
    }
}

#[tokio::test]
async fn a_socket_that_says_nothing_is_closed_after_the_header_timeout() {
    let server = start(short()).await;
    let mut socket = server.connect().await;

    let (said, took) = closed(&mut socket).await;

    assert_eq!(said, "");
    assert!(took >= Duration::from_millis(200), "{took:?}");
}

#[tokio::test]
async fn half_a_header_is_closed_even_if_it_trickles() {
    let server = start(short()).await;
    let mut socket = server.connect().await;
    let (mut read, mut write) = socket.split();
    let trickle = async {
        write.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if write.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };

    let mut rest = Vec::new();
    tokio::select! {
        _ = within(read.read_to_end(&mut rest)) => {}
        () = trickle => unreachable!("it trickles for ever"),
    }

    assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn between_requests_a_connection_may_idle_longer_than_headers_may_take() {
    let server = start(short()).await;
    let mut socket = server.connect().await;
    get(&mut socket, "/").await;
    read_until(&mut socket, "hello").await;

    let (_, took) = closed(&mut socket).await;

    assert!(took >= Duration::from_millis(700), "idle for {took:?}");
}

#[tokio::test]
async fn a_further_request_must_finish_its_header_in_time() {
    let options = AcceptOptions {
        idle_timeout: Duration::from_secs(30),
        ..short()
    };
    let server = start(options).await;
    let mut socket = server.connect().await;
    get(&mut socket, "/").await;
    read_until(&mut socket, "hello").await;

    send(&mut socket, "GET / HT").await;
    let (said, took) = closed(&mut socket).await;

    assert!(!said.contains("HTTP/1.1 200"), "{said}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn a_request_in_hand_has_no_deadline_here() {
    let mut server = start(short()).await;
    let mut socket = server.connect().await;
    get(&mut socket, "/wait").await;
    within(server.began.recv()).await;

    tokio::time::sleep(Duration::from_millis(1_300)).await;
    server.go_on.notify_one();

    read_until(&mut socket, "done").await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_closed() {
    for path in ["/large", "/endless"] {
        let mut server = start(short()).await;
        let mut socket = server.connect().await;
        get(&mut socket, path).await;
        within(server.began.recv()).await;

        // it reads nothing for a while, and then what the kernel held
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let (said, _) = closed(&mut socket).await;

        assert!(said.len() < 60 * 1024 * 1024, "got {} bytes", said.len());
    }
}

#[tokio::test]
async fn a_connection_over_the_cap_is_told_so_at_once() {
    let options = AcceptOptions {
        max_connections: 1,
        ..patient()
    };
    let server = start(options).await;
    let mut first = server.connect().await;
    get(&mut first, "/").await;
    read_until(&mut first, "hello").await;

    let mut second = server.connect().await;
    let (said, _) = closed(&mut second).await;

    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    assert!(said.contains("Retry-After"));
    get(&mut first, "/").await;
    read_until(&mut first, "hello").await;
}

#[tokio::test]
async fn a_seat_is_free_again_when_its_connection_has_ended() {
    let options = AcceptOptions {
        max_connections: 1,
        ..patient()
    };
    let server = start(options).await;
    for _ in 0..3 {
        let mut socket = server.connect().await;
        send(
            &mut socket,
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;

        let (said, _) = closed(&mut socket).await;

        assert!(said.contains("hello"), "{said}");
    }
}

#[tokio::test]
async fn an_upgraded_socket_keeps_its_seat_and_has_no_deadline() {
    let options = AcceptOptions {
        max_connections: 1,
        ..short()
    };
    let mut server = start(options).await;
    let mut socket = server.connect().await;
    send(
        &mut socket,
        "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n",
    )
    .await;
    read_until(&mut socket, "\r\n\r\n").await;
    let upgraded = within(server.upgraded.recv()).await.unwrap();
    let mut inner = upgraded
        .downcast::<TokioIo<Socket>>()
        .unwrap()
        .io
        .into_inner();

    tokio::time::sleep(Duration::from_millis(1_300)).await;
    inner.write_all(b"frame").await.unwrap();
    read_until(&mut socket, "frame").await;
    let (said, _) = closed(&mut server.connect().await).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");

    drop(inner);
    let mut next = server.connect().await;
    get(&mut next, "/").await;
    read_until(&mut next, "hello").await;
}

#[tokio::test]
async fn a_stop_finishes_requests_in_hand_and_closes_idle_connections() {
    let mut server = start(patient()).await;
    let mut idle = server.connect().await;
    get(&mut idle, "/").await;
    read_until(&mut idle, "hello").await;
    let silent = server.connect().await;
    let mut busy = server.connect().await;
    get(&mut busy, "/wait").await;
    server.began.recv().await;
    within(server.began.recv()).await;

    server.stop();
    let (_, _) = closed(&mut idle).await;
    assert!(!server.served.is_finished());
    server.go_on.notify_one();
    let (said, _) = closed(&mut busy).await;

    assert!(said.contains("done"), "{said}");
    assert!(said.to_lowercase().contains("connection: close"), "{said}");
    assert_eq!(within(server.served).await.unwrap(), 0);
    assert!(TcpStream::connect(server.address).await.is_err());
    drop(silent);
}

#[tokio::test]
async fn what_is_not_finished_at_the_deadline_is_dropped_and_counted() {
    let options = AcceptOptions {
        drain_deadline: Duration::from_millis(100),
        ..patient()
    };
    let mut server = start(options).await;
    let mut busy = server.connect().await;
    get(&mut busy, "/wait").await;
    within(server.began.recv()).await;

    server.stop();

    assert_eq!(within(&mut server.served).await.unwrap(), 1);
    let (said, _) = closed(&mut busy).await;
    assert_eq!(said, "");
}

#[tokio::test]
async fn headers_that_are_too_long_are_refused() {
    let server = start(patient()).await;
    let mut socket = server.connect().await;
    let long = "a".repeat(MAX_HEADER_BYTES + 1);

    send(
        &mut socket,
        &format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"),
    )
    .await;
    let (said, _) = closed(&mut socket).await;

    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    assert!(said.ends_with("\r\n\r\n{\"status\":431}"), "{said}");
    assert!(said.contains("x-request-id: id-1\r\n"), "{said}");
}

#[tokio::test]
async fn a_head_that_is_no_request_is_refused_like_everything_else_also_behind_a_good_one() {
    let server = start(patient()).await;
    for good in ["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut socket = server.connect().await;
        send(&mut socket, good).await;
        if !good.is_empty() {
            receive_hello(&mut socket).await;
        }

        send(&mut socket, "no request\r\n\r\n").await;
        let (said, _) = closed(&mut socket).await;

        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
        assert!(said.ends_with("\r\n\r\n{\"status\":400}"), "{said}");
    }
}

async fn receive_hello(socket: &mut TcpStream) {
    let mut said = Vec::new();
    while !said.ends_with(b"hello") {
        let read = socket.read_buf(&mut said).await.unwrap();
        assert!(read > 0, "closed too early");
    }
}

#[tokio::test]
async fn small_writes_are_not_held_back() {
    let mut server = start(patient()).await;
    let mut socket = server.connect().await;
    send(
        &mut socket,
        "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n",
    )
    .await;

    let upgraded = within(server.upgraded.recv()).await.unwrap();
    let inner = upgraded.downcast::<TokioIo<Socket>>().unwrap();

    let (tcp, _seat) = inner.io.into_inner().into_parts();
    assert!(tcp.nodelay().unwrap());
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    use rustix::process::{Resource, getrlimit};

    raise_open_files().unwrap();

    let limit = getrlimit(Resource::Nofile);
    assert_eq!(limit.current, limit.maximum);
}

#[test]
fn connections_leave_the_stores_their_files() {
    assert_eq!(connections_within(65_536, 18_000), 18_000);
    assert_eq!(connections_within(u64::MAX, 18_000), 18_000);
    assert_eq!(connections_within(19_024, 18_000), 18_000);
    assert_eq!(connections_within(19_023, 18_000), 17_999);
    assert_eq!(connections_within(4_096, 18_000), 3_072);
}

#[test]
fn of_few_files_half_are_for_connections() {
    assert_eq!(connections_within(1_024, 18_000), 512);
    assert_eq!(connections_within(256, 18_000), 128);
    assert_eq!(connections_within(256, 5), 5);
}
