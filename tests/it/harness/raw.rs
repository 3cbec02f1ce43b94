//! Bytes on a socket, for what no client library would send.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// What came back, up to the end of the connection or of the answer.
#[derive(Debug, Default)]
pub struct RawAnswer {
    /// Of the last answer; 0 if none came.
    pub status: u16,
    /// Everything that came.
    pub text: String,
    /// The head of the last answer, in lower case.
    pub head: String,
    /// The body of the last answer, if it is JSON.
    pub json: Value,
}

impl RawAnswer {
    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(header, _)| *header == name)
            .map_or("", |(_, value)| value.trim())
    }
}

/// Sends these bytes on a connection of their own and reads the answer. The
/// server may answer, and close, before it has them all.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> RawAnswer {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut reader, mut writer) = socket.split();
    let send = async {
        let _ = writer.write_all(request).await;
        let _ = writer.flush().await;
    };
    let receive = async {
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            match reader.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            }
            if is_complete(&bytes) {
                break;
            }
        }
        bytes
    };
    let both = async {
        tokio::pin!(send);
        tokio::pin!(receive);
        // the answer counts, also one that comes before all is sent
        tokio::select! {
            bytes = &mut receive => bytes,
            () = &mut send => receive.await,
        }
    };
    let bytes = timeout(PATIENCE, both)
        .await
        .expect("an answer, or the end of the connection");
    parse(&String::from_utf8_lossy(&bytes))
}

/// Is a whole final answer there? A 100 before it is not one.
fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = last_answer(&text) else {
        return false;
    };
    let length = head.to_ascii_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length:")
            .map(|n| n.trim().parse::<usize>())
    });
    match length {
        Some(Ok(length)) => body.len() >= length,
        // without a length: 204 and the like have no body, the rest goes on to the end of the connection
        _ => head.starts_with("HTTP/1.1 204") || head.starts_with("HTTP/1.1 101"),
    }
}

fn last_answer(text: &str) -> Option<(&str, &str)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    if head.starts_with("HTTP/1.1 100") {
        return last_answer(body);
    }
    Some((head, body))
}

fn parse(text: &str) -> RawAnswer {
    let Some((head, body)) = last_answer(text) else {
        return RawAnswer {
            text: text.to_owned(),
            ..RawAnswer::default()
        };
    };
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    RawAnswer {
        status: status.unwrap_or(0),
        text: text.to_owned(),
        head: head.to_ascii_lowercase(),
        json: serde_json::from_str(body).unwrap_or_default(),
    }
}
