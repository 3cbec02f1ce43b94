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
pub(crate) const BELIEVED: Duration = Duration::from_secs(48 * 60 * 60);

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

/// The first and the last moment at which something is filed: years that a clock may mean.
const FILED_FROM: Timestamp = Timestamp::from_millis(1_577_836_800_000);
const FILED_BEFORE: Timestamp = Timestamp::from_millis(4_102_444_800_000);

/// Where an event is filed, by its own time alone: the same event always comes to
/// the same place, whenever it arrives. What is not within 2020 to 2100 stands at 2020-01-01.
pub fn filed_at(event_time: Timestamp) -> Timestamp {
    if (FILED_FROM..FILED_BEFORE).contains(&event_time) {
        event_time
    } else {
        FILED_FROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_filed_at_its_own_time_if_that_can_be() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let first = time("2020-01-01T00:00:00Z");

        for can_be in [
            "2020-01-01T00:00:00Z",
            "2026-11-22T01:02:03.004Z",
            "2099-12-31T23:59:59.999Z",
        ] {
            assert_eq!(filed_at(time(can_be)), time(can_be));
        }
        for cannot_be in [
            "1970-01-01T00:00:00Z",
            "2019-12-31T23:59:59.999Z",
            "2100-01-01T00:00:00Z",
        ] {
            assert_eq!(filed_at(time(cannot_be)), first);
        }
    }

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
