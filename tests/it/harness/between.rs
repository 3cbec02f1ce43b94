//! Stands between the program and a server that speaks HTTP: sees each request, and
//! answers in the server's place where a test says so. Used by the tests of the library, too.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::read::GzDecoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use warp::Filter;
use warp::http::{Method, Response};
use warp::path::FullPath;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `/write`
    pub path: String,
    /// As it stands in the address.
    pub query: String,
    /// The header `Authorization`.
    pub authorization: String,
    /// Whether the body was compressed.
    pub is_compressed: bool,
    /// What it says.
    pub body: String,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Turn {
    /// It goes on to the server, and the answer back.
    Pass,
    /// It does not go on, and this is the answer.
    Answer(u16, &'static str),
    /// Lines with this word do not go on; if there are any, the answer is that of a partial write.
    Without(&'static str),
    /// It does not go on, and there is no answer.
    Hang,
    /// It goes on, and there is no answer.
    PassAndHang,
}

type Script = Arc<Mutex<dyn FnMut(&Asked) -> Turn + Send>>;

/// It ends when this is dropped.
pub struct Between {
    /// Where it listens.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Between {
    /// Before the server at this port of the loopback; each request is as the script says.
    pub async fn before(port: u16, script: impl FnMut(&Asked) -> Turn + Send + 'static) -> Self {
        // reqwest asks for a provider even where no address is https
        let _ = rustls::crypto::ring::default_provider().install_default();
        let script: Script = Arc::new(Mutex::new(script));
        let client = reqwest::Client::new();
        let query = warp::query::raw().or_else(async |_| Ok::<_, Infallible>((String::new(),)));
        let all = warp::method()
            .and(warp::path::full())
            .and(query)
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .then(move |method, path: FullPath, query, headers, body| {
                let target = format!("http://127.0.0.1:{port}{}?{query}", path.as_str());
                let passing = Passing {
                    client: client.clone(),
                    method,
                    target,
                    headers,
                };
                let asked = passing.asked(path.as_str(), query, &body);
                let turn = (script.lock().unwrap())(&asked);
                passing.take(turn, asked, body)
            });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(warp::serve(all).incoming(listener).run());
        Self { address, serving }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Passing {
    client: reqwest::Client,
    method: Method,
    target: String,
    headers: HeaderMap,
}

impl Passing {
    fn asked(&self, path: &str, query: String, body: &Bytes) -> Asked {
        let is_compressed = self.headers.contains_key(CONTENT_ENCODING);
        let mut text = Vec::new();
        if is_compressed {
            GzDecoder::new(&**body).read_to_end(&mut text).unwrap();
        } else {
            text.extend_from_slice(body);
        }
        let authorization = self.headers.get(AUTHORIZATION);
        Asked {
            path: path.to_owned(),
            query,
            authorization: authorization
                .map_or("", |it| it.to_str().unwrap())
                .to_owned(),
            is_compressed,
            body: String::from_utf8(text).unwrap(),
        }
    }

    async fn take(mut self, turn: Turn, asked: Asked, body: Bytes) -> Response<Bytes> {
        match turn {
            Turn::Pass => self.pass(body).await,
            Turn::Answer(status, text) => answer(status, Bytes::from_static(text.as_bytes())),
            Turn::Without(word) => {
                let good: Vec<_> = asked.body.lines().filter(|it| !it.contains(word)).collect();
                let dropped = asked.body.lines().count() - good.len();
                if dropped == 0 {
                    return self.pass(body).await;
                }
                self.headers.remove(CONTENT_ENCODING);
                if !good.is_empty() {
                    self.pass(Bytes::from(good.join("\n"))).await;
                }
                let said = format!(
                    "{{\"error\":\"partial write: field type conflict: {word} dropped={dropped}\"}}"
                );
                answer(400, Bytes::from(said))
            }
            Turn::Hang => std::future::pending().await,
            Turn::PassAndHang => {
                self.pass(body).await;
                std::future::pending().await
            }
        }
    }

    async fn pass(&self, body: Bytes) -> Response<Bytes> {
        let mut request = self
            .client
            .request(self.method.clone(), &self.target)
            .body(body);
        for name in [AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE] {
            if let Some(value) = self.headers.get(&name) {
                request = request.header(name, value);
            }
        }
        match request.send().await {
            Ok(said) => answer(
                said.status().as_u16(),
                said.bytes().await.unwrap_or_default(),
            ),
            Err(_) => answer(502, Bytes::new()),
        }
    }
}

fn answer(status: u16, body: Bytes) -> Response<Bytes> {
    Response::builder().status(status).body(body).unwrap()
}
