//! A moment in few bytes: both scales in milliseconds.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::{Heard, Moment, Timestamp};

pub(in super::super) fn serialize<S: Serializer>(
    moment: &Moment,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    (moment.at.as_millis(), moment.heard.as_millis()).serialize(serializer)
}

pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Moment, D::Error> {
    let (at, heard) = <(i64, i64)>::deserialize(deserializer)?;
    Ok(Moment {
        at: Timestamp::from_millis(at),
        heard: Heard::from_millis(heard),
    })
}
