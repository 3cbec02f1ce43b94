//! `mimamori health`: asks the running server whether it takes events.

use std::net::SocketAddr;
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
    let (is_ready, said) = runtime()?.block_on(ask(running.reachable()))?;
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
