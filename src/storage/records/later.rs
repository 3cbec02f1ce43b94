//! Records whose server is away when the program starts: it takes events all the
//! same, the journal holds them, and this opens the records when it can.

use std::sync::Arc;
use std::time::Duration;

use mimamori_actors::domain::{JournalId, Position};
use tokio::time::sleep;

use super::gate::Gate;
use super::postgres::{self, Keeping};
use super::{PostgresAddress, Records, RecordsError, offset_in};

/// Between two tries: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// What is asked of the records before anybody uses them: how far they are with the journal.
/// An error says why the program can't go on.
pub type Check = Box<dyn Fn(Option<Position>) -> Result<(), String> + Send + Sync>;

impl Records {
    /// Records of a server that is away. They answer that they are not there
    /// until [`Records::open_when_there`] could open them.
    ///
    /// # Errors
    /// When the address can't be used at all.
    pub fn away(at: &PostgresAddress, reason: &RecordsError) -> Result<Self, RecordsError> {
        let parts = postgres::parts(at)?;
        Ok(Self::of_server(parts, Gate::shut(reason), None))
    }

    /// Whether they can be read and written.
    pub fn is_open(&self) -> bool {
        self.gate.is_open()
    }

    /// Returns when the program must end because of what the records turned out to be, with the reason.
    pub async fn lost(&self) -> String {
        self.gate.lost().await
    }

    /// Opens them as soon as their server is there, from a task of its own: tables
    /// of a later version and a `check` that fails end it ([`Records::lost`]).
    pub fn open_when_there(
        self: &Arc<Self>,
        at: PostgresAddress,
        journal: JournalId,
        check: Check,
    ) {
        let records = Arc::downgrade(self);
        let opening = async move {
            let mut wait = FIRST_WAIT;
            loop {
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
                let Some(records) = records.upgrade() else {
                    return;
                };
                match records.try_to_open(&at, &journal, &check).await {
                    Ok(()) => break,
                    Err(Failure::ForGood(reason)) => {
                        records.gate.lose(reason);
                        return;
                    }
                    Err(Failure::ForNow(error)) => {
                        metrics::counter!("mimamori_records_opening_failed_total").increment(1);
                        if records.gate.stays_shut(&error) {
                            tracing::warn!(store = "records", %error, "the records can't be opened yet, the journal holds");
                        }
                    }
                }
            }
            postgres::keep_months(at).await;
        };
        // set once: it is called once, where they are made
        let _ = self.keeping.set(Keeping::by(opening));
    }

    async fn try_to_open(
        &self,
        at: &PostgresAddress,
        journal: &JournalId,
        check: &Check,
    ) -> Result<(), Failure> {
        postgres::check_format(at, Duration::ZERO).await?;
        postgres::prepare(at, Duration::ZERO).await?;
        self.writing.claim(Duration::ZERO).await?;
        let offset = offset_in(&self.reading, self.dialect, journal).await?;
        check(offset).map_err(Failure::ForGood)?;
        self.renew_all().await?;
        self.gate.swing_open();
        tracing::info!(store = "records", "the records are open");
        Ok(())
    }
}

/// Why they were not opened.
enum Failure {
    ForNow(RecordsError),
    ForGood(String),
}

impl From<RecordsError> for Failure {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Newer(_) => Self::ForGood(error.to_string()),
            RecordsError::Unavailable(_)
            | RecordsError::TooSlow
            | RecordsError::NotYet(_)
            | RecordsError::Forgot { .. }
            | RecordsError::Refused(_)
            | RecordsError::Unfit(_)
            | RecordsError::Malformed(_) => Self::ForNow(error),
        }
    }
}
