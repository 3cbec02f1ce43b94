//! The socket: bound here, or taken over from whoever started us.

use std::fmt;
use std::net::TcpListener as StdListener;

use anyhow::Context as _;
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::TcpListener;

use crate::config::Config;

/// So many connections may wait to be accepted, if `net.core.somaxconn` allows it: consoles come
/// back by the thousand, and who finds no place tries again only after a second, then after two.
const BACKLOG: i32 = 4096;

/// A listening socket that was handed to this process, by systemd's protocol:
/// `LISTEN_FDS` says how many there are, from descriptor 3 on, and `LISTEN_PID`,
/// where it is set, whom they are for. Whoever holds it holds what connects
/// while no server runs, so a restart refuses nobody.
pub struct Inherited(Option<StdListener>);

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inherited").field(&self.0).finish()
    }
}

impl Inherited {
    /// Takes it and forgets the variables: no process that is started from here
    /// may take it again. To be called before there is a second thread.
    ///
    /// # Errors
    /// When there is more than one, or it is not a TCP socket that listens.
    pub fn take() -> anyhow::Result<Self> {
        let mut given = ListenFd::from_env();
        anyhow::ensure!(
            given.len() <= 1,
            "LISTEN_FDS hands over {} sockets, and one is served",
            given.len()
        );
        let socket = given
            .take_tcp_listener(0)
            .context("LISTEN_FDS: what is handed over can't be served")?;
        if let Some(socket) = &socket {
            anyhow::ensure!(
                socket_acceptconn(socket).unwrap_or(false),
                "LISTEN_FDS: the socket that is handed over does not listen"
            );
        }
        Ok(Self(socket))
    }

    /// Whether one was handed over.
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The socket that was handed over, else one where `http.listen` says.
    pub(super) async fn or_bind(&self, config: &Config) -> anyhow::Result<TcpListener> {
        let listen = config.http.listen;
        let Some(socket) = &self.0 else {
            let bound = TcpListener::bind(listen).await.and_then(|socket| {
                rustix::net::listen(&socket, BACKLOG)?;
                Ok(socket)
            });
            return bound.with_context(|| format!("http.listen: can't listen on {listen}"));
        };
        let taken = || -> std::io::Result<TcpListener> {
            let socket = socket.try_clone()?;
            socket.set_nonblocking(true)?;
            tracing::info!(
                address = %socket.local_addr()?,
                "the socket was handed over by whoever started the server: http.listen is not looked at"
            );
            TcpListener::from_std(socket)
        };
        taken().context("LISTEN_FDS: the socket that is handed over can't be served")
    }
}
