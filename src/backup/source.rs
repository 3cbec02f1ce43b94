//! From where a backup has the states of the sessions: from the server that runs, or from their files.

use std::path::Path;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::ROUTE;
use super::error::BackupError;
use super::files::NewFile;
use super::states::{self, Came, Item, Items};
use crate::cli::ServerLock;
use crate::journal::copy;
use crate::keys::Secret;
use crate::storage::snapshots::FjallSnapshots;
use mimamori_actors::domain::{JournalId, Position};

/// A server says at least once a second that it holds its journal.
const SAYS_WITHIN: Duration = Duration::from_secs(30);
/// A server notices within so long that who asked before is gone.
const NOTICES_WITHIN: Duration = Duration::from_secs(5);
const ASKS_EVERY: Duration = Duration::from_millis(300);

/// From where a backup has what only one process can open.
#[derive(Debug)]
pub enum Source {
    /// A server runs on this storage directory.
    Server {
        /// Its address: `http://127.0.0.1:8000`.
        address: String,
        /// The admin token.
        token: Secret,
    },
    /// None does, and none can start as long as this is kept.
    Alone(ServerLock),
}

impl Source {
    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }
}

/// What was written of the states, and what keeps the journal whole meanwhile.
#[derive(Debug)]
pub(super) struct States {
    /// How many.
    pub(super) sessions: u64,
    /// The sessions' offset.
    pub(super) offset: Option<Position>,
    /// The journal that they are of; nothing if there is none yet.
    pub(super) journal: Option<JournalId>,
    hold: Option<Hold>,
}

/// A server that holds its journal for us.
#[derive(Debug)]
struct Hold {
    address: String,
    ended: watch::Receiver<Option<String>>,
    listening: JoinHandle<()>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // with the connection the server lets go
        self.listening.abort();
    }
}

impl States {
    /// Whether the server held its journal until now.
    pub(super) fn still_held(&self) -> Result<(), BackupError> {
        let Some(hold) = &self.hold else {
            return Ok(());
        };
        match hold.ended.borrow().as_ref() {
            None => Ok(()),
            Some(reason) => Err(BackupError::Server {
                address: hold.address.clone(),
                reason: reason.clone(),
            }),
        }
    }

    fn note(&mut self, item: &Item) {
        match item {
            Item::Journal { name } => self.journal = Some(name.clone()),
            Item::Router { offset, .. } => self.offset = Some(*offset),
            Item::Whole { sessions } => self.sessions = *sessions,
            Item::Session { .. } | Item::Attempt { .. } | Item::Held | Item::Ended { .. } => {}
        }
    }
}

/// Writes the states into `file`.
pub(super) async fn write(
    source: &Source,
    storage_dir: &Path,
    file: &mut NewFile,
) -> Result<States, BackupError> {
    match source {
        Source::Server { address, token } => {
            let mut stream = Stream::open(address, token).await?;
            let states = stream.write(file).await?;
            Ok(States {
                hold: Some(stream.hold()),
                ..states
            })
        }
        Source::Alone(_) => write_alone(storage_dir, file),
    }
}

fn nothing() -> States {
    States {
        sessions: 0,
        offset: None,
        journal: None,
        hold: None,
    }
}

fn write_alone(storage_dir: &Path, file: &mut NewFile) -> Result<States, BackupError> {
    let mut states = nothing();
    let segments = copy::segments(storage_dir)?;
    let Some(journal) = segments.last().map(|newest| newest.journal.clone()) else {
        return Ok(states);
    };
    let snapshots = FjallSnapshots::open(&storage_dir.join("snapshots"))?;
    let mut written = Ok(());
    let mut items = Items::default();
    states::tell(&journal, &snapshots, &mut |bytes| {
        items.push(&bytes);
        if let Ok(Some(came)) = items.next() {
            states.note(&came.item);
        }
        written = file.write(&bytes);
        written.is_ok()
    })?;
    written?;
    Ok(states)
}

/// What a server tells.
struct Stream {
    address: String,
    response: Response,
    items: Items,
}

impl Stream {
    async fn open(address: &str, token: &Secret) -> Result<Self, BackupError> {
        let failed = |reason: String| BackupError::Server {
            address: address.to_owned(),
            reason,
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(SAYS_WITHIN)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let give_up = Instant::now() + NOTICES_WITHIN;
        let response = loop {
            let asked = client
                .post(format!("{address}{ROUTE}"))
                .bearer_auth(token.expose())
                .send();
            match timeout(SAYS_WITHIN, asked).await {
                // one that was killed is still there for a moment
                Ok(Ok(response))
                    if response.status() == StatusCode::CONFLICT && Instant::now() < give_up =>
                {
                    sleep(ASKS_EVERY).await;
                }
                Ok(Ok(response)) => break response,
                Ok(Err(error)) => return Err(failed(error.without_url().to_string())),
                Err(_) => return Err(failed("it does not answer".to_owned())),
            }
        };
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Self {
                address: address.to_owned(),
                response,
                items: Items::default(),
            });
        }
        let problem: Value = response.json().await.unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason");
        Err(failed(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "the admin token of this configuration is not its own ({detail}); use the configuration that it was started with"
            ),
            StatusCode::NOT_FOUND => "it is of an earlier version that makes no backups".to_owned(),
            _ => format!("{status}, {detail}"),
        }))
    }

    async fn write(&mut self, file: &mut NewFile) -> Result<States, BackupError> {
        let mut states = nothing();
        loop {
            let bytes = next(&mut self.response).await;
            let bytes = bytes.map_err(|reason| self.failed(reason))?;
            self.items.push(&bytes);
            loop {
                let next = self.items.next();
                let next = next.map_err(|error| BackupError::Server {
                    address: self.address.clone(),
                    reason: error.to_string(),
                })?;
                let Some(Came { item, raw, .. }) = next else {
                    break;
                };
                if let Item::Ended { reason } = item {
                    return Err(self.failed(reason));
                }
                file.write(raw)?;
                states.note(&item);
                if matches!(item, Item::Whole { .. }) {
                    return Ok(states);
                }
            }
        }
    }

    fn failed(&self, reason: String) -> BackupError {
        BackupError::Server {
            address: self.address.clone(),
            reason,
        }
    }

    /// Listens on, so that the server goes on holding its journal.
    fn hold(self) -> Hold {
        let (end, ended) = watch::channel(None);
        let address = self.address.clone();
        let listening = tokio::spawn(async move {
            let reason = self.listen().await;
            end.send_replace(Some(reason));
        });
        Hold {
            address,
            ended,
            listening,
        }
    }

    /// Why the server holds its journal no longer.
    async fn listen(mut self) -> String {
        loop {
            loop {
                match self.items.next() {
                    Ok(Some(Came {
                        item: Item::Ended { reason },
                        ..
                    })) => return reason,
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
            match next(&mut self.response).await {
                Ok(bytes) => self.items.push(&bytes),
                Err(reason) => return reason,
            }
        }
    }
}

async fn next(response: &mut Response) -> Result<bytes::Bytes, String> {
    match timeout(SAYS_WITHIN, response.chunk()).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err("it ended before the backup did".to_owned()),
        Ok(Err(error)) => Err(format!(
            "it went away before the backup was done ({})",
            error.without_url()
        )),
        Err(_) => Err("it does not answer any more".to_owned()),
    }
}
