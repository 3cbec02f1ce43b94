//! `mimamori simulate` and `mimamori replay`.

use super::arguments::{Replay, Simulate};
use super::{Failure, answer, runtime};
use crate::config::LogFormat;
use crate::telemetry::logs;
use crate::tools::{replay, simulate};

pub(super) fn simulate(arguments: Simulate) -> Result<(), Failure> {
    logs::install(LogFormat::Auto);
    let settings = simulate::Settings {
        students: arguments.students as usize,
        speed: arguments.speed,
        url: simulate::ingest_address(arguments.url),
        duration: arguments.duration,
        seed: arguments.seed.unwrap_or_else(simulate::fresh_seed),
        print_every: Some(arguments.print_every),
    };
    let seed = settings.seed;
    let tally = runtime()?.block_on(simulate::run(settings, simulate::ctrl_c()))?;
    answer(format_args!("{tally} (seed {seed})"));
    match tally.refused + tally.lost {
        0 => Ok(()),
        many => Err(anyhow::anyhow!("{many} events were refused or lost for good").into()),
    }
}

pub(super) fn replay(arguments: Replay) -> Result<(), Failure> {
    logs::install(LogFormat::Auto);
    let requests = replay::read(&arguments.files)?;
    let settings = replay::Settings {
        base: arguments.url,
        key: arguments.key,
        speed: arguments.speed,
    };
    let refused = runtime()?.block_on(replay::run(&settings, &requests, |line| answer(line)))?;
    match refused {
        0 => Ok(()),
        many => Err(anyhow::anyhow!(
            "{many} of {} requests were not answered with 2xx",
            requests.len()
        )
        .into()),
    }
}
