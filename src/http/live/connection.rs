//! One connection from its upgrade to its end.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use metrics::counter;
use mimamori_actors::outbox::Outbox;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Live;
use super::inbound::{Ended, Inbound};
use super::listener::Listener;
use super::outbound::{self, Control, Parting};
use super::sign_in::Credential;

/// A ping, a pong and a close may wait for a writer that is busy.
const CONTROLS: usize = 4;

/// Waits for the socket and serves it. Ends by itself: see [`super::LiveSettings::farewell`].
pub(super) async fn serve(upgrade: OnUpgrade, credential: Credential, live: Live) {
    match upgrade.await {
        Ok(upgraded) => speak(TokioIo::new(upgraded), credential, live).await,
        Err(error) => tracing::debug!(%error, "a console left during the handshake"),
    }
}

async fn speak<S>(socket: S, credential: Credential, live: Live)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(socket);
    let outbox = Arc::new(Outbox::new(live.settings.outbox));
    let (controls, asked) = mpsc::channel(CONTROLS);
    // each classroom is lost at most once until it begins anew
    let (lost, begin_anew) = mpsc::channel(2 * live.settings.max_classrooms);
    let mut writer = tokio::spawn(outbound::run(write, Arc::clone(&outbox), asked, lost));
    let farewell = live.settings.farewell;

    let mut inbound = Inbound::new(read, controls.clone(), live.settings).await;
    let listener = Listener::new(live, Arc::clone(&outbox), begin_anew);
    let ended = tokio::select! {
        ended = listener.run(&mut inbound, credential) => ended,
        parting = &mut writer => {
            // somebody closed the outbox, or the socket is dead
            return part(inbound, parting.unwrap_or(Parting::Gone), farewell).await;
        }
    };
    match ended {
        Ended::Close(code) => outbox.close(code),
        Ended::ByConsole(code) => drop(controls.try_send(Control::CloseEcho(code))),
        Ended::Gone => writer.abort(),
    }
    let parting = finish(writer, farewell).await;
    part(inbound, parting, farewell).await;
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
