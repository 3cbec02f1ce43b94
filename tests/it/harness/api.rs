//! HTTP, as programs speak it.

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::{INGEST_KEY, ROOM};

/// A client of one server, with a credential or none.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case; the last of each.
    pub headers: BTreeMap<String, String>,
    /// Its body as it came.
    pub text: String,
    /// Its body, if it is JSON; else null.
    pub json: Value,
}

impl Answer {
    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The JSON of a good answer.
    #[track_caller]
    pub fn good(self) -> Value {
        assert!(
            (200..300).contains(&self.status),
            "{} {}",
            self.status,
            self.text
        );
        self.json
    }

    /// The items of a good list.
    #[track_caller]
    pub fn items(self) -> Vec<Value> {
        let mut page = self.good();
        assert!(
            page.get("next").is_some(),
            "a list says what is next: {page}"
        );
        let Value::Array(items) = page["items"].take() else {
            panic!("no items: {page}");
        };
        items
    }

    /// Checks that it is a problem document (RFC 9457) of this status.
    #[track_caller]
    pub fn assert_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        for member in ["type", "title", "detail", "requestId"] {
            let said = self.json[member].as_str().unwrap_or_default();
            assert!(!said.is_empty(), "{member} is missing in {}", self.text);
        }
        assert_eq!(self.json["status"], status, "{}", self.text);
        assert_eq!(self.json["requestId"], self.header("x-request-id"));
    }
}

impl Api {
    /// `base` is `http://address`.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            // reqwest asks for a provider even where no address is https
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            client,
            base: base.to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// The same server with another credential.
    pub fn holding(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// A request to be completed; without a credential yet.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends it as it is.
    pub async fn send(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer {
            status,
            headers,
            text,
            json,
        })
    }

    fn signed(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.request(method, path);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// `GET` with this client's credential.
    pub async fn get(&self, path: &str) -> Answer {
        Self::send(self.signed(Method::GET, path)).await.unwrap()
    }

    /// As [`Api::get`], from a server that may go away meanwhile.
    #[cfg(feature = "faulty")]
    pub async fn try_get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        Self::send(self.signed(Method::GET, path)).await
    }

    /// Another method, without a body.
    pub async fn call(&self, method: Method, path: &str) -> Answer {
        Self::send(self.signed(method, path)).await.unwrap()
    }

    /// `POST` with this client's credential.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.signed(Method::POST, path).json(body))
            .await
            .unwrap()
    }

    /// Sends events with the ingest key, as an extension does.
    pub async fn ingest(&self, events: &[Value]) -> Answer {
        self.try_ingest(events).await.unwrap()
    }

    /// As [`Api::ingest`], for a server that may go away meanwhile.
    pub async fn try_ingest(&self, events: &[Value]) -> Result<Answer, reqwest::Error> {
        let path = format!("/k/{INGEST_KEY}/api/v1/events");
        Self::send(self.request(Method::POST, &path).json(events)).await
    }

    /// Sends events that must all be accepted.
    #[track_caller]
    pub fn accepted(&self, events: &[Value]) -> impl Future<Output = ()> {
        let sent = events.len();
        let answer = self.ingest(events);
        async move {
            let said = answer.await.good();
            assert_eq!(said["accepted"], sent, "{said}");
        }
    }

    /// A path of the classroom.
    pub async fn room(&self, path: &str) -> Answer {
        self.get(&format!("/api/v1/classrooms/{ROOM}{path}")).await
    }

    /// Every item of a list of the classroom, page by page.
    pub async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self
                .room(&format!("{path}{separator}limit={limit}{cursor}"))
                .await
                .good();
            let Value::Array(more) = page["items"].take() else {
                panic!("no items: {page}");
            };
            assert!(
                more.len() <= limit,
                "{} items, asked for {limit}",
                more.len()
            );
            items.extend(more);
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}
