use mimamori_actors::ports::Store as _;
use tempfile::TempDir;

use super::*;
use crate::config::Classroom;
use crate::storage::records::{RecordsAt, TimeRange};
use crate::storage::samples::{executed, journal, room};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_classrooms_own_term_counts_and_for_the_others_the_installations() {
    let now = Timestamp::from_millis(1_795_305_600_000);
    let privacy = Privacy {
        retention: Some(400 * DAY),
        ..Privacy::default()
    };
    let classroom = Classroom {
        retention: Some(30 * DAY),
        ..Classroom::plain(room())
    };

    let terms = Terms::new(&privacy, Classrooms::new(vec![classroom]));
    let for_ever = Terms::new(&Privacy::default(), Classrooms::default());

    assert_eq!(terms.before(&room(), now), Some(now.minus(30 * DAY)));
    let other = ClassroomId::new("other");
    assert_eq!(terms.before(&other, now), Some(now.minus(400 * DAY)));
    assert_eq!(for_ever.before(&room(), now), None);
    assert!(for_ever.are_for_ever() && !terms.are_for_ever());
}

/// A disk on which a commit and a row take so long.
struct Disk {
    commit: Duration,
    row: Duration,
}

impl Disk {
    fn takes(&self, rows: u64) -> Duration {
        self.commit + self.row * u32::try_from(rows).unwrap()
    }

    /// How many rows go within a minute of turns, and the longest batch after the first turn.
    fn minute(&self) -> (u64, Duration) {
        let mut pace = Pace::default();
        let (mut rows, mut longest) = (0, Duration::ZERO);
        for turn in 0..30 {
            let mut left = TURN;
            let first = *ROWS.start();
            pace.tried(self.takes(first));
            left = left.saturating_sub(self.takes(first) * (1 + REST));
            rows += first;
            while !left.is_zero() {
                let took = self.takes(pace.rows);
                left = left.saturating_sub(took * (1 + REST));
                rows += pace.rows;
                if turn > 0 {
                    longest = longest.max(took);
                }
                pace.took(took);
            }
        }
        (rows, longest)
    }
}

#[test]
fn half_of_the_time_goes_into_rows_however_long_a_commit_takes() {
    for (commit, row) in [(1, 20), (1, 400), (7, 50), (20, 50), (20, 400), (45, 100)] {
        let disk = Disk {
            commit: Duration::from_millis(commit),
            row: Duration::from_micros(row),
        };

        let (rows, longest) = disk.minute();

        // a quarter of the time is ours, and half of that
        let most = 60_000_000 / u64::from(1 + REST) / row;
        assert!(rows >= most * 2 / 5, "{commit} ms: {rows} of {most}");
        let held = (disk.commit * 2).max(*BATCH_TAKES.start());
        assert!(longest <= held * 5 / 4, "{commit} ms: {longest:?}");
    }
}

#[test]
fn what_writes_is_never_held_up_for_long_by_choice() {
    // a commit of a second: few rows, and no more of them
    let disk = Disk {
        commit: Duration::from_secs(1),
        row: Duration::from_micros(50),
    };
    let mut pace = Pace::default();

    pace.tried(disk.takes(*ROWS.start()));
    assert_eq!(pace.may_take, *BATCH_TAKES.end());
    for _ in 0..10 {
        pace.took(disk.takes(pace.rows));
    }
    assert_eq!(pace.rows, *ROWS.start());

    for _ in 0..40 {
        pace.took(Duration::ZERO);
    }
    assert_eq!(pace.rows, *ROWS.end());
    // one slow moment takes half of them, not all
    pace.took(Duration::from_secs(60));
    assert_eq!(pace.rows, ROWS.end() / 2);
}

/// Three runs of long ago, and a term of a day for them.
async fn overdue() -> (TempDir, Retaining, Timestamp) {
    let dir = tempfile::tempdir().unwrap();
    let at = RecordsAt::Dir(dir.path().to_owned());
    let records = Arc::new(Records::open(&at).await.unwrap());
    let entries = [1, 2, 3].map(|position| executed(position, 1));
    let through = entries[2].position;
    records.write(&journal(), &entries, through).await.unwrap();
    let classroom = Classroom {
        retention: Some(DAY),
        ..Classroom::plain(room())
    };
    let terms = Terms::new(&Privacy::default(), Classrooms::new(vec![classroom]));
    let series = Arc::new(Series::open(dir.path()).unwrap());
    let retaining = Retaining::new(terms, records, series, Arc::new(Cache::new(1 << 20)));
    (dir, retaining, entries[2].received_at.plus(DAY + DAY / 2))
}

async fn executions(records: &Records) -> i64 {
    let always = TimeRange {
        from: Timestamp::from_millis(0),
        to: None,
    };
    let room = room();
    records.count_to_export(&room, always, true).await.unwrap()
}

#[tokio::test]
async fn what_was_read_before_rows_went_is_forgotten_also_if_the_turn_ends_in_the_middle() {
    let (_dir, retaining, now) = overdue().await;
    let records = Arc::clone(&retaining.records);
    let before = records.edition(&room()).await.unwrap();
    let mut turn = retaining.turn(now);
    while executions(&records).await > 0 {
        // it goes no further than we let it
        assert!(futures_util::poll!(&mut turn).is_pending());
        tokio::task::yield_now().await;
    }
    drop(turn);

    retaining.turn(now).await.unwrap();

    let after = records.edition(&room()).await.unwrap();
    assert_ne!(before.anew, after.anew);
    // and no more once nothing goes
    retaining.turn(now).await.unwrap();
    assert_eq!(records.edition(&room()).await.unwrap().anew, after.anew);
}

#[tokio::test]
async fn by_a_clock_that_is_years_ahead_nothing_is_deleted_at_first() {
    let (_dir, retaining, now) = overdue().await;
    let far = now.plus(365 * DAY);

    let has_more = retaining.turn(far).await.unwrap();

    assert!(!has_more);
    assert_eq!(executions(&retaining.records).await, 3);
}

#[tokio::test]
async fn months_are_looked_at_once_an_hour() {
    let (_dir, retaining, _) = overdue().await;
    tokio::time::pause();

    let mut looks = 0;
    for _ in 0..4 * 60 {
        looks += u32::from(retaining.months_are_due());
        tokio::time::advance(Duration::from_secs(60)).await;
    }

    assert_eq!(looks, 4);
}
