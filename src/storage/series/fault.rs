//! Why the series did not do what was asked, and what a writer makes of it.

use mimamori_actors::domain::Position;
use mimamori_actors::ports::StoreError;

use crate::storage::embedded::handle::Away;
use crate::storage::format::UnknownFormat;

/// Why the series did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The disk failed, or the database is stopping.
    #[error("the series are unavailable: {0}")]
    Unavailable(#[from] fjall::Error),
    /// It cannot be opened: in use, no rights, a full disk.
    #[error("the series: {0}")]
    Unopened(String),
    /// Opened anew, they know less than was on disk before: the next start finds out what is missing.
    #[error(
        "the series are at position {found}, they were at {written} before they were opened anew"
    )]
    WentBack {
        /// How far they are.
        found: Position,
        /// How far they were.
        written: Position,
    },
    /// A later version wrote them.
    #[error(transparent)]
    Newer(#[from] UnknownFormat),
    /// What stands there has no form that can be read.
    #[error("a cell of the series has no valid form")]
    Malformed,
    /// How far a journal is counted has no form that can be read.
    #[error("an offset of the series has no valid form")]
    MalformedOffset,
    /// It took longer than a reading call may take and was broken off.
    #[error("the series took too long")]
    TooSlow,
    /// The task that worked on it is gone.
    #[error("the series' task ended early: {0}")]
    Aborted(#[from] tokio::task::JoinError),
    /// InfluxDB is not there, or does not do what it should; said without a word of what was sent.
    #[error("InfluxDB: {0}")]
    Away(String),
    /// InfluxDB answers, and has no such database.
    #[error("InfluxDB has no database of this name")]
    NoDatabase,
    /// InfluxDB took a part of the points and will never take the others.
    #[error("InfluxDB: {0}")]
    Refused(String),
    /// InfluxDB is another one than before, or an older state of it.
    #[error("InfluxDB is at position {found}, it was at {written} before")]
    Forgot {
        /// How far it is.
        found: Position,
        /// How far it was.
        written: Position,
    },
}

impl From<Away> for SeriesError {
    fn from(away: Away) -> Self {
        Self::Unopened(away.to_string())
    }
}

impl From<SeriesError> for StoreError {
    fn from(error: SeriesError) -> Self {
        match error {
            // waiting does not cure it: what belongs into such a cell is left out, the rest goes on
            SeriesError::Malformed | SeriesError::Refused(_) => Self::Refused(error.to_string()),
            SeriesError::Forgot { .. } => Self::Forgot(error.to_string()),
            SeriesError::MalformedOffset
            | SeriesError::Unavailable(_)
            | SeriesError::Unopened(_)
            | SeriesError::WentBack { .. }
            | SeriesError::Newer(_)
            | SeriesError::TooSlow
            | SeriesError::Aborted(_)
            | SeriesError::Away(_)
            | SeriesError::NoDatabase => Self::Unavailable(error.to_string()),
        }
    }
}
