//! The series count what came over from the records, each entry once.
//!
//! It is a journal of its own to them ([`FORMER`]): whatever comes to an early end goes
//! on where it stopped.

use std::sync::Arc;

use mimamori_actors::domain::{Entry, JournalId, Position};
use mimamori_actors::ports::{Store as _, StoreError};

use super::{BATCH_EVENTS, MoveError};
use crate::storage::records::{Records, RecordsError};
use crate::storage::series::{FORMER, Series};

/// Why they are not counted; the records have everything.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChartError {
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    Series(#[from] StoreError),
}

impl ChartError {
    /// What it means for the whole of moving in, by which so many executions are new.
    pub(super) fn after(self, added: u64) -> MoveError {
        match self {
            Self::Records(error) => MoveError::Records(error),
            Self::Series(error) => MoveError::Series { added, error },
        }
    }
}

/// Has everything counted that is not yet; how many entries the series refuse for good.
pub(super) async fn count(
    records: &Records,
    series: &Series,
    counted: Option<Position>,
) -> Result<u64, ChartError> {
    let former = JournalId::new(FORMER);
    if counted.is_none() {
        // makes it known: of a journal that they don't know, stores begin behind all they know
        series.write(&former, &[], Position::ZERO).await?;
    }
    let mut after = counted.unwrap_or_default();
    let mut refused = 0;
    loop {
        let entries = records.former_entries(after, BATCH_EVENTS).await?;
        let Some(last) = entries.last() else {
            return Ok(refused);
        };
        after = last.position;
        refused += write(series, &former, &entries).await?;
    }
}

/// Writes them; what is refused is halved until it stands alone, and passed over. How many those are.
async fn write(
    series: &Series,
    former: &JournalId,
    entries: &[Arc<Entry>],
) -> Result<u64, StoreError> {
    let mut parts = vec![entries];
    let mut refused = 0;
    while let Some(part) = parts.pop() {
        let Some(last) = part.last() else { continue };
        match series.write(former, part, last.position).await {
            Ok(()) => {}
            Err(StoreError::Refused(_)) if part.len() == 1 => {
                refused += 1;
                series.write(former, &[], last.position).await?;
            }
            Err(StoreError::Refused(_)) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}
