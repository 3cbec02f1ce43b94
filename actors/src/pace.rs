//! How long a classroom gathers what changed before it tells its consoles.
//!
//! A frame costs about the same whether it tells one thing or ten, so with
//! many consoles waiting saves most of the work; and a tick must not come
//! before the last one is on its way to everyone. So the pause is a few
//! milliseconds for a class, and up to half a second where thousands of
//! consoles are told much.

use std::time::Duration;

/// The shortest time between two deltas.
const SHORTEST: Duration = Duration::from_millis(2);
/// The longest time between a change and its delta.
const LONGEST: Duration = Duration::from_millis(500);
/// To gather is worth so much waiting for each console …
const GATHER_A_CONSOLE: Duration = Duration::from_micros(50);
/// … and no more than this: it would be felt.
const GATHER_AT_MOST: Duration = Duration::from_millis(50);
/// Waking a console's task and writing a small frame takes 6 to 8 µs of CPU, and half of it may go there.
const A_FRAME: Duration = Duration::from_micros(12);
/// Copying a byte into a socket, and that half of the time.
const A_KIBIBYTE: Duration = Duration::from_nanos(1024);

/// From one delta to the next, where so many consoles watch and the last delta had so many bytes.
pub(crate) fn pause(consoles: usize, frame_bytes: usize) -> Duration {
    let consoles = u32::try_from(consoles).unwrap_or(u32::MAX);
    let kibibytes = u32::try_from(frame_bytes / 1024).unwrap_or(u32::MAX);
    let gather = GATHER_A_CONSOLE
        .saturating_mul(consoles)
        .min(GATHER_AT_MOST);
    let tell = (A_FRAME + A_KIBIBYTE.saturating_mul(kibibytes)).saturating_mul(consoles);
    gather.max(tell).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_waits_milliseconds_and_thousands_of_consoles_up_to_half_a_second() {
        let ms = |consoles, kibibytes| pause(consoles, kibibytes * 1024).as_millis();

        assert_eq!(ms(0, 0), 2);
        assert_eq!(ms(1, 10), 2);
        assert_eq!(ms(200, 3), 10);
        assert!((50..60).contains(&ms(2_000, 14)), "{}", ms(2_000, 14));
        assert!((150..180).contains(&ms(10_000, 4)), "{}", ms(10_000, 4));
        assert_eq!(ms(10_000, 80), 500);
        assert_eq!(ms(usize::MAX, usize::MAX / 1024), 500);
    }

    #[test]
    fn more_consoles_or_more_to_tell_never_shorten_it() {
        for consoles in [0, 1, 10, 100, 1_000, 10_000, 15_000] {
            for bytes in [0, 500, 5_000, 50_000, 500_000] {
                assert!(pause(consoles, bytes) <= pause(consoles + 500, bytes));
                assert!(pause(consoles, bytes) <= pause(consoles, bytes * 2));
            }
        }
    }
}
