//! Connections to Redis: the one place where they are made.
//!
//! [`Redis`] knows the address and how long to wait. [`Redis::connect`] makes a
//! connection for whoever looks after it alone, such as a reader that blocks;
//! [`Redis::line`] keeps one for many at once, asks it every second whether it
//! lives, and makes it again, with backoff, when it does not. Nothing here waits
//! longer than [`Patience`] says, nothing is tried again behind the caller's
//! back, and no password and no argument of a command stands in an error.
//!
//! TLS (`rediss://`) trusts the roots of the system, and uses the one provider of
//! cryptography that the process installs at its start.

mod backoff;
mod fault;
mod line;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, cmd};
use tokio::time::timeout;

pub use backoff::Backoff;
pub use fault::RedisFault;
pub use line::Line;

use crate::config::RedisUrl;

/// How long to wait for Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until a connection stands and its password is taken.
    pub connect: Duration,
    /// Until a command is answered.
    pub answer: Duration,
}

impl Default for Patience {
    /// 2 s to connect, 1 s to answer: more than a healthy server on the same network ever needs.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            answer: Duration::from_secs(1),
        }
    }
}

/// A Redis server that can be connected to. Cheap to clone; holds no connection.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    url: RedisUrl,
    patience: Patience,
}

impl Redis {
    /// Knows the server from now on; connects to nothing.
    ///
    /// # Errors
    /// When the address is one that the client cannot use.
    pub fn new(url: &RedisUrl, patience: Patience) -> Result<Self, RedisFault> {
        let info = url.expose().into_connection_info()?;
        // small commands one after the other: none waits for the one before to be acknowledged
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self {
            client: Client::open(info)?,
            url: url.clone(),
            patience,
        })
    }

    /// A connection of one's own. It ends for good when Redis does, or when it is dropped.
    ///
    /// # Errors
    /// [`RedisFault::Away`] when it does not stand in time, [`RedisFault::Refused`] when the password is wrong.
    pub async fn connect(&self) -> Result<MultiplexedConnection, RedisFault> {
        self.connect_for(self.patience.answer).await
    }

    /// The same for commands that block at the server for up to `block` before they answer.
    ///
    /// # Errors
    /// As [`Redis::connect`].
    pub async fn connect_to_block(
        &self,
        block: Duration,
    ) -> Result<MultiplexedConnection, RedisFault> {
        self.connect_for(block + self.patience.answer).await
    }

    /// A connection for many at once that is made again when it is lost; it is
    /// being made when this returns. Runs in the current runtime.
    pub fn line(&self) -> Line {
        Line::new(self.clone())
    }

    /// How long it waits.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    async fn connect_for(&self, answer: Duration) -> Result<MultiplexedConnection, RedisFault> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience.connect))
            .set_response_timeout(Some(answer));
        let connecting = async {
            let mut connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            // one that still loads lets us in, and answers nothing that matters
            let () = cmd("PING").query_async(&mut connection).await?;
            Ok(connection)
        };
        match timeout(self.patience.connect, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(RedisFault::Away("no connection in time".to_owned())),
        }
    }
}

impl fmt::Display for Redis {
    /// The database and the host: what may stand in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("url", &self.url)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}
