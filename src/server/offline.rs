//! A person's rights while no server runs: the stores are opened for that alone.

use std::sync::Arc;

use mimamori_actors::domain::{Position, SessionKey};
use mimamori_actors::ports::Clock;
use tokio::sync::mpsc;

use super::stores::Stores;
use crate::admit::StudentKey;
use crate::clock::SteadyClock;
use crate::config::Config;
use crate::erasure::eraser::{Eraser, Told};
use crate::erasure::export::{self, Piece};
use crate::erasure::whose::Person;
use crate::keys::Keys;
use crate::storage::records::{Records, RecordsAt};

/// Everything about a person, as far as it is in the records.
///
/// # Errors
/// When the records cannot be opened.
pub(crate) async fn export(
    config: &Config,
    keys: &Keys,
    key: &SessionKey,
) -> anyhow::Result<mpsc::Receiver<Piece>> {
    let at = RecordsAt::of(config);
    Records::check_format(&at).await?;
    let records = Arc::new(Records::open(&at).await?);
    let students = StudentKey::from_bytes(*keys.student_key());
    let row = records.person(key).await?;
    Ok(export::document(
        records,
        Person::new(key.clone(), students),
        row,
    ))
}

/// Erases a person, and everybody whose erasure was cut short before.
///
/// # Errors
/// When a store cannot be opened or written.
pub(crate) async fn erase(config: Config, key: SessionKey, told: Told) -> anyhow::Result<()> {
    let clock = SteadyClock::new();
    let stores = Stores::open(&config, &(clock.clone() as Arc<dyn Clock>)).await?;
    clock.go_on_from(stores.last_accepted);
    let eraser = Eraser::new(stores.places(&config, clock));
    eraser.take_up()?;
    eraser.finish().await;
    let erased: Result<Position, _> = eraser.erase(&key, &told).await;
    drop(told);
    stores.close(super::JOURNAL_CLOSES_WITHIN).await?;
    erased?;
    Ok(())
}
