//! `mimamori health`: asks the running server whether it takes events.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::arguments::Health;
use super::lock::ServerLock;
use super::{Failure, answer, load_config, runtime};

/// A server that has not answered by then is as good as none.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn run(arguments: &Health) -> Result<(), Failure> {
    let loaded = load_config(arguments.file.config.as_deref())?;
    let dir = &loaded.config.storage.dir;
    let running = ServerLock::read(dir).map_err(anyhow::Error::new)?;
    let Some(running) = running else {
        let dir = dir.display();
        return Err(anyhow::anyhow!("no server runs on storage.dir {dir}").into());
    };
    let (is_ready, said) = runtime()?.block_on(ask(reachable(running.listening)))?;
    answer(said);
    if is_ready {
        return Ok(());
    }
    Err(anyhow::anyhow!("the server takes no events now").into())
}

async fn ask(address: SocketAddr) -> anyhow::Result<(bool, String)> {
    let client = reqwest::Client::builder()
        // straight to it, whatever proxy the environment names
        .no_proxy()
        .timeout(ANSWERS_WITHIN)
        .build()?;
    let response = client.get(format!("http://{address}/readyz")).send().await;
    let response = response.map_err(reqwest::Error::without_url)?;
    let is_ready = response.status().is_success();
    Ok((is_ready, response.text().await?))
}

/// Who listens on every address is reached by this machine's own.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_this_machine() {
        for (listening, asked) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("10.0.0.7:8000", "10.0.0.7:8000"),
        ] {
            assert_eq!(
                reachable(listening.parse().unwrap()),
                asked.parse().unwrap()
            );
        }
    }
}
