//! The stores behind the ports: records, series, snapshots, what is in flight.

use std::time::Duration;

use mimamori_actors::domain::Timestamp;

pub(crate) mod embedded;
pub mod flights;
pub mod format;
pub mod records;
pub mod series;
pub mod snapshots;

/// A client whose clock is further off than this is not believed.
const BELIEVED: Duration = Duration::from_secs(48 * 60 * 60);

/// The time by which ranges, buckets and order go: the client's, or ours where the two are too far apart.
pub fn placed_at(event_time: Timestamp, received_at: Timestamp) -> Timestamp {
    let apart = event_time
        .since(received_at)
        .max(received_at.since(event_time));
    if apart > BELIEVED {
        received_at
    } else {
        event_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_up_to_48_hours_off_in_either_direction() {
        let received = Timestamp::from_millis(1_000_000_000_000);
        let late = received.minus(BELIEVED);
        let early = received.plus(BELIEVED);

        assert_eq!(placed_at(late, received), late);
        assert_eq!(placed_at(early, received), early);
        let one_more = Duration::from_millis(1);
        assert_eq!(placed_at(late.minus(one_more), received), received);
        assert_eq!(placed_at(early.plus(one_more), received), received);
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
pub(crate) mod small_disk;
