use super::*;

const HOUR: u64 = 3_600_000;
/// When the tests begin, by the system clock.
const NOON: u64 = 1_800_000_000_000;

/// A machine whose clocks are set by hand.
#[derive(Default)]
struct Hands {
    system_ms: u64,
    elapsed_ms: u64,
}

struct ByHand(Arc<Mutex<Hands>>);

impl Source for ByHand {
    fn system(&self) -> Duration {
        Duration::from_millis(self.0.lock().unwrap().system_ms)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.lock().unwrap().elapsed_ms)
    }
}

struct Bench {
    hands: Arc<Mutex<Hands>>,
    clock: SteadyClock,
}

impl Bench {
    /// A clock that listens, from noon on.
    fn new() -> Self {
        let bench = Self::at(NOON);
        bench.clock.listen(true);
        bench
    }

    fn at(system_ms: u64) -> Self {
        let hands = Arc::new(Mutex::new(Hands {
            system_ms,
            elapsed_ms: 5_000,
        }));
        Self {
            clock: SteadyClock::on(Box::new(ByHand(Arc::clone(&hands)))),
            hands,
        }
    }

    /// Time passes, and nobody looks.
    fn stand_still(&self, millis: u64) {
        let mut hands = self.hands.lock().unwrap();
        hands.system_ms += millis;
        hands.elapsed_ms += millis;
    }

    /// Time passes, with a look at every tick.
    fn run(&self, millis: u64) {
        for _ in 0..millis / 250 {
            self.stand_still(250);
            self.clock.moment();
        }
    }

    fn set_system(&self, by_millis: i64) {
        let mut hands = self.hands.lock().unwrap();
        hands.system_ms = hands.system_ms.checked_add_signed(by_millis).unwrap();
    }

    fn wall(&self) -> i64 {
        self.clock.now().as_millis() - NOON.cast_signed()
    }

    fn heard(&self) -> i64 {
        self.clock.heard().as_millis() - NOON.cast_signed()
    }
}

#[test]
fn both_scales_begin_at_the_system_clock_and_go_with_it() {
    let bench = Bench::new();

    bench.run(60_000);

    assert_eq!((bench.wall(), bench.heard()), (60_000, 60_000));
}

#[test]
fn a_process_that_was_stopped_heard_nothing_but_the_time_of_day_went_on() {
    let bench = Bench::new();

    bench.stand_still(30_000);

    assert_eq!((bench.wall(), bench.heard()), (30_000, 1_000));
    bench.run(10_000);
    assert_eq!((bench.wall(), bench.heard()), (40_000, 11_000));
}

#[test]
fn however_often_it_is_looked_at_nothing_is_lost() {
    let bench = Bench::new();

    for _ in 0..3_000 {
        bench.stand_still(1);
        bench.clock.moment();
    }

    assert_eq!((bench.wall(), bench.heard()), (3_000, 3_000));
}

#[test]
fn the_system_clock_set_forward_is_followed_at_once_and_heard_by_nobody() {
    let bench = Bench::new();

    bench.set_system(HOUR.cast_signed());
    bench.run(1_000);

    assert_eq!(bench.wall(), HOUR.cast_signed() + 1_000);
    assert_eq!(bench.heard(), 1_000);
}

#[test]
fn the_system_clock_set_back_is_worked_off_without_a_standstill() {
    let bench = Bench::new();
    bench.run(1_000);

    bench.set_system(-HOUR.cast_signed());
    bench.run(1_000);

    assert_eq!((bench.wall(), bench.heard()), (1_900, 2_000));
    // an hour at a tenth of the pace takes ten
    bench.run(10 * HOUR);
    assert_eq!(bench.wall(), 9 * HOUR.cast_signed() + 2_000);
    bench.run(10_000);
    assert_eq!(bench.wall(), 9 * HOUR.cast_signed() + 12_000);
}

#[test]
fn no_steps_whatsoever_turn_it_back() {
    let bench = Bench::new();
    let mut before = bench.clock.moment();

    for (step, stop) in [
        (-HOUR.cast_signed(), 0),
        (2, 90_000),
        (-9_000, 7),
        (86_400_000, 1),
    ] {
        bench.set_system(step);
        bench.stand_still(stop);
        let now = bench.clock.moment();
        assert!(now.at >= before.at && now.heard >= before.heard, "{now:?}");
        before = now;
    }
}

#[test]
fn a_machine_that_slept_for_three_hours_heard_nothing_and_one_that_slept_a_night_everything() {
    let (nap, night) = (Bench::new(), Bench::new());

    nap.stand_still(3 * HOUR);
    night.stand_still(12 * HOUR);

    assert_eq!(nap.heard(), 1_000);
    assert_eq!(night.heard(), 12 * HOUR.cast_signed());
}

#[test]
fn what_is_not_listened_to_is_not_heard_unless_it_lasts_a_night() {
    let bench = Bench::new();
    bench.run(10_000);

    bench.clock.listen(false);
    bench.run(3 * HOUR);
    assert_eq!(bench.heard(), 10_000);

    bench.run(2 * HOUR);
    assert!(bench.heard() > 4 * HOUR.cast_signed(), "{}", bench.heard());
    bench.clock.listen(true);
    let before = bench.heard();
    bench.run(1_000);
    assert_eq!(bench.heard(), before + 1_000);
}

#[test]
fn two_naps_are_no_night() {
    let bench = Bench::new();

    bench.stand_still(3 * HOUR);
    bench.clock.moment();
    bench.run(1_000);
    bench.stand_still(3 * HOUR);

    assert_eq!(bench.heard(), 3_000);
}

fn moment(at: u64, heard: u64) -> Moment {
    Moment {
        at: Timestamp::from_millis(at.cast_signed()),
        heard: Heard::from_millis(heard.cast_signed()),
    }
}

#[test]
fn it_goes_on_where_the_journal_ends_and_listens_when_it_is_told_to() {
    let bench = Bench::at(NOON);

    bench
        .clock
        .go_on_from(moment(NOON - 40_000, NOON - 9 * HOUR));
    bench.run(5_000);
    bench.clock.listen(true);
    bench.run(1_000);

    assert_eq!(bench.wall(), 6_000);
    assert_eq!(bench.heard(), 1_000 - 9 * HOUR.cast_signed());
}

#[test]
fn a_night_between_two_starts_is_heard() {
    let bench = Bench::at(NOON);

    bench
        .clock
        .go_on_from(moment(NOON - 14 * HOUR, NOON - 20 * HOUR));

    assert_eq!(bench.heard(), -6 * HOUR.cast_signed());
}

#[test]
fn a_start_with_the_system_clock_behind_the_journal_goes_on_behind_the_journal() {
    let bench = Bench::at(NOON);

    bench.clock.go_on_from(moment(NOON + HOUR, NOON));
    bench.clock.listen(true);
    bench.run(1_000);

    assert_eq!(bench.wall(), HOUR.cast_signed() + 900);
    assert_eq!(bench.heard(), 1_000);
}
