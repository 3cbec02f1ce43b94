//! A bare HTTP/1.1 client on one kept-alive connection, and events to send.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection.
pub struct Connection {
    socket: TcpStream,
    address: SocketAddr,
    key: String,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects; `key` is the ingest key.
    pub async fn open(address: SocketAddr, key: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            address,
            key: key.to_owned(),
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Posts a body of events and gives the status.
    pub async fn post_events(&mut self, body: &str) -> io::Result<u16> {
        let request = format!(
            "POST /api/v1/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.key,
            body.len()
        );
        self.socket.write_all(request.as_bytes()).await?;
        self.read_answer().await
    }

    async fn read_answer(&mut self) -> io::Result<u16> {
        self.buffer.clear();
        loop {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head_end) = find(&self.buffer, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..head_end]).to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:"))
                    .and_then(|value| value.trim().parse::<usize>().ok())
                    .unwrap_or(0);
                while self.buffer.len() < head_end + 4 + length {
                    if self.socket.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                return head
                    .get(9..12)
                    .and_then(|status| status.parse().ok())
                    .ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// An execution as cell-monitor sends it, about 500 bytes.
pub fn execution(student: usize, id: &str) -> String {
    format!(
        r#"{{"eventId":"{id}","eventType":"cell_executed","eventTime":"2026-11-21T22:25:44.353Z","emailAddress":"student{student:05}@example.ac.jp","teamName":"チームB","userName":"山田花子{student}","sessionId":"ce8400e8-e504-4ec7-9c43-24edd79c5182","notebookPath":"lesson/nb1.ipynb","cellId":"cell-{}","cellIndex":{},"cellType":"code","code":"import pandas as pd\ndf = pd.read_csv('data.csv')\ndf.describe()","executionCount":{},"hasError":false,"result":"count 100","executionDurationMs":2}}"#,
        student % 17,
        student % 17,
        student % 400,
    )
}
