//! What the publisher says every second, so that who reads knows whether it has everything.

use std::collections::BTreeMap;
use std::time::Duration;

use mimamori_actors::domain::{ClassroomId, Cursor, Timestamp};
use serde::{Deserialize, Serialize};

/// From one to the next.
pub(super) const BEATS_EVERY: Duration = Duration::from_secs(1);

/// One beat. No two of one publisher are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// Whose: as the lease says.
    pub(super) node: String,
    /// How many came before.
    pub(super) number: u64,
    /// The fingerprint of the key that signs links and cookies there.
    #[serde(default)]
    pub(super) signs: Option<String>,
    pub(super) classrooms: BTreeMap<ClassroomId, BeatOfClassroom>,
}

/// Where a classroom stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BeatOfClassroom {
    /// The last delta that was told at the node that folds.
    pub(super) cursor: Cursor,
    /// At the node that folds, too, nothing has come since then where something should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stale_since: Option<Timestamp>,
}
