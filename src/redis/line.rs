//! A connection for many at once that is made again when it is lost.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue, Pipeline};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Backoff, Redis, RedisFault};

/// How often it is asked whether it lives, when nobody else does.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection for many at once that is made again, with backoff, when it is
/// lost. While it is lost, whoever asks is refused at once. Clones share it; it
/// ends with the last one.
#[derive(Clone)]
pub struct Line {
    pub(super) current: watch::Receiver<Option<MultiplexedConnection>>,
    keeper: Arc<Keeper>,
}

struct Keeper {
    doubt: Arc<Notify>,
    task: JoinHandle<()>,
    shown: String,
}

impl Line {
    pub(super) fn new(redis: Redis) -> Self {
        let (connections, current) = watch::channel(None);
        let doubt = Arc::new(Notify::new());
        let shown = redis.to_string();
        let task = tokio::spawn(keep(redis, connections, Arc::clone(&doubt)));
        let keeper = Arc::new(Keeper { doubt, task, shown });
        Self { current, keeper }
    }

    /// Sends one command and reads its answer.
    ///
    /// # Errors
    /// [`RedisFault::Away`] at once while there is no connection, or when no answer comes in time.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisFault> {
        let mut connection = self.connection()?;
        let answer = command.query_async(&mut connection).await;
        self.judged(answer)
    }

    /// Sends several commands together and reads their answers.
    ///
    /// # Errors
    /// As [`Line::ask`].
    pub async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, RedisFault> {
        let mut connection = self.connection()?;
        let answer = commands.query_async(&mut connection).await;
        self.judged(answer)
    }

    /// Whether there is a connection now, as far as is known.
    pub fn is_up(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Returns when there is a connection.
    pub async fn up(&self) {
        let mut current = self.current.clone();
        // the keeper lives as long as we do
        let _ = current.wait_for(Option::is_some).await;
    }

    fn connection(&self) -> Result<MultiplexedConnection, RedisFault> {
        let connection = self.current.borrow().clone();
        connection.ok_or_else(|| RedisFault::Away("not connected".to_owned()))
    }

    fn judged<T>(&self, answer: Result<T, ::redis::RedisError>) -> Result<T, RedisFault> {
        answer.map_err(|error| {
            let fault = RedisFault::from(error);
            if matches!(fault, RedisFault::Away(_)) {
                self.keeper.doubt.notify_one();
            }
            fault
        })
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("to", &self.keeper.shown)
            .field("is_up", &self.is_up())
            .finish_non_exhaustive()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    redis: Redis,
    connections: watch::Sender<Option<MultiplexedConnection>>,
    doubt: Arc<Notify>,
) {
    let mut backoff = Backoff::default();
    let mut is_told = false;
    loop {
        let fault = match redis.connect().await {
            Ok(connection) => {
                tracing::info!(redis = %redis, "connected");
                backoff.reset();
                is_told = false;
                connections.send_replace(Some(connection.clone()));
                let fault = live_through(connection, &doubt).await;
                connections.send_replace(None);
                metrics::counter!("mimamori_redis_losses_total").increment(1);
                fault
            }
            Err(fault) => fault,
        };
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(redis = %redis, error = %fault, "no connection, trying again");
        }
        sleep(backoff.next_wait()).await;
    }
}

/// Returns when the connection is no good any more, and why.
async fn live_through(mut connection: MultiplexedConnection, doubt: &Notify) -> RedisFault {
    loop {
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = doubt.notified() => {}
        }
        let pong: Result<(), _> = ::redis::cmd("PING").query_async(&mut connection).await;
        if let Err(error) = pong {
            return error.into();
        }
    }
}
