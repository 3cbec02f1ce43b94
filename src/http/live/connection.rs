//! One connection from its upgrade to its end.

use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use metrics::counter;
use mimamori_actors::outbox::{CloseCode, Outbox};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Live;
use super::between::Between;
use super::inbound::{Ended, Inbound};
use super::listener::Listener;
use super::outbound::{self, Parting};
use super::sign_in::Credential;
use crate::http::accept::Socket;

/// Waits for the socket and serves it. Ends by itself: see [`super::LiveSettings::farewell`].
pub(super) async fn serve(upgrade: OnUpgrade, credential: Credential, live: Arc<Live>) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "a console left during the handshake");
            return;
        }
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<Socket>>() else {
        tracing::error!("a console's socket did not come from the accept loop");
        return;
    };
    let (socket, _seat) = parts.io.into_inner().into_parts();
    // best effort: with the system's own size a console that does not read is found later
    if let Err(error) = set_socket_send_buffer_size(&socket, live.settings.send_buffer_bytes) {
        tracing::debug!(%error, "a console's send buffer keeps its size");
    }
    speak(socket, parts.read_buf, credential, live).await;
}

async fn speak(socket: TcpStream, already_read: Bytes, credential: Credential, live: Arc<Live>) {
    let (read, write) = socket.into_split();
    let outbox = Arc::new(Outbox::new(live.settings.outbox));
    let _goodbye = Goodbye(Arc::clone(&outbox));
    let between = Arc::new(Between::default());
    let mut writer = tokio::spawn(outbound::run(
        write,
        Arc::clone(&outbox),
        Arc::clone(&between),
    ));
    let farewell = live.settings.farewell;

    let mut inbound = Inbound::new(read, already_read, Arc::clone(&between), &live).await;
    let listener = Listener::new(live, Arc::clone(&outbox), Arc::clone(&between));
    let ended = tokio::select! {
        ended = listener.run(&mut inbound, credential) => ended,
        parting = &mut writer => {
            // somebody closed the outbox, or the socket is dead
            return part(inbound, parting.unwrap_or(Parting::Gone), farewell).await;
        }
    };
    match ended {
        Ended::Close(code) => outbox.close(code),
        Ended::ByConsole(code) => between.ask(|controls| controls.close = Some(code)),
        Ended::Gone => writer.abort(),
    }
    let parting = finish(writer, farewell).await;
    part(inbound, parting, farewell).await;
}

/// Lets the writer end if the reader panics: it waits for its outbox to be closed.
struct Goodbye(Arc<Outbox>);

impl Drop for Goodbye {
    fn drop(&mut self) {
        self.0.close(CloseCode::Draining);
    }
}

/// Gives the writer time to say goodbye, and no more.
async fn finish(mut writer: JoinHandle<Parting>, farewell: std::time::Duration) -> Parting {
    match timeout(farewell, &mut writer).await {
        Ok(parting) => parting.unwrap_or(Parting::Gone),
        Err(_) => {
            writer.abort();
            Parting::Gone
        }
    }
}

/// Counts how it ended and gives the console time to read it.
async fn part<R>(inbound: Inbound<R>, parting: Parting, farewell: std::time::Duration)
where
    R: AsyncRead + Unpin,
{
    let label = match parting {
        Parting::Closed(code) => code.as_str(),
        Parting::Echoed => "by_console",
        Parting::Gone => "gone",
    };
    counter!("mimamori_live_closes_total", "code" => label).increment(1);
    match parting {
        Parting::Closed(_) | Parting::Echoed => drop(timeout(farewell, inbound.run_dry()).await),
        Parting::Gone => {}
    }
}
