//! The choice of a side, and what a call does that meets a failure. What stands for the
//! replica is another file of SQLite, which lacks what the primary has.

use mimamori_actors::domain::ExecutionStatus;
use sea_orm::DbErr;
use tempfile::TempDir;
use tokio::time::advance;

use super::*;
use crate::storage::records::gate::Gate;
use crate::storage::records::tests::{ALL_DAY, write};
use crate::storage::records::{ExecutionFilter, RecordsAt};
use crate::storage::samples::{executed, failed, room};

pub(in crate::storage::records) mod metrics;

/// A little more than what a replica may be behind.
const TOO_LONG: Duration = Duration::from_millis(1_001);

/// The replica as it was seen just now.
fn level() -> Level {
    Level {
        pool: DatabaseConnection::default(),
        through: Instant::now(),
        is_alone: false,
    }
}

fn stands(replica: &Replica, standing: Standing) {
    drop(replica.standing.send_replace(standing));
}

fn seen(level: Level) -> Arc<Replica> {
    let replica = Arc::new(Replica::new());
    stands(&replica, Ok(level));
    replica
}

fn is_chosen(replica: &Arc<Replica>) -> bool {
    replica.choose().is_some()
}

/// A call that begins there.
fn visit(replica: &Arc<Replica>) -> Visit {
    replica.choose().unwrap()
}

/// The number of the edition that a call is told there, when this is the answer to who asks.
async fn told(
    visit: &Visit,
    answer: impl Future<Output = Result<Option<EditionRow>, RecordsError>>,
) -> Option<i64> {
    let edition = visit.edition(&room(), answer).await?;
    edition.map(|edition| edition.written)
}

fn edition(written: i64) -> std::future::Ready<Result<Option<EditionRow>, RecordsError>> {
    std::future::ready(Ok(Some(EditionRow {
        written,
        anew: 1,
        through_ms: 0,
    })))
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_read_from_when_it_was_seen_until_that_is_a_second_ago() {
    let unseen = Arc::new(Replica::new());
    assert!(!is_chosen(&unseen));

    let replica = seen(level());

    assert!(is_chosen(&replica));
    advance(MOST_BEHIND).await;
    assert!(is_chosen(&replica));
    advance(Duration::from_millis(1)).await;
    assert!(!is_chosen(&replica), "whoever looks at it may hang himself");
    stands(&replica, Err(Unused::Behind));
    assert!(!is_chosen(&replica));
}

#[tokio::test(start_paused = true)]
async fn after_a_change_nobody_reads_there_until_it_has_the_change() {
    let replica = seen(level());
    advance(Duration::from_millis(100)).await;

    replica.changed();

    assert!(!is_chosen(&replica));
    advance(Duration::from_millis(100)).await;
    assert!(!is_chosen(&replica));
    stands(&replica, Ok(level()));
    assert!(is_chosen(&replica));
}

#[tokio::test(start_paused = true)]
async fn without_a_primary_it_is_read_for_five_minutes_unless_somebody_still_writes() {
    let alone = || Level {
        is_alone: true,
        ..level()
    };
    let replica = seen(alone());
    replica.wrote();

    advance(ALONE_FOR).await;
    assert!(is_chosen(&replica));
    advance(Duration::from_millis(1)).await;
    assert!(!is_chosen(&replica));

    let replica = seen(alone());
    advance(TOO_LONG).await;
    replica.wrote();
    assert!(!is_chosen(&replica), "the primary is there for who writes");
}

#[tokio::test(start_paused = true)]
async fn three_failures_in_a_row_and_nobody_waits_for_it_for_five_seconds() {
    let replica = seen(level());
    let failing = || async { Err::<(), _>(RecordsError::TooSlow) };
    for _ in 0..3 {
        assert!(visit(&replica).ask(failing()).await.is_none());
    }
    assert!(!is_chosen(&replica));

    advance(Duration::from_secs(5)).await;
    stands(&replica, Ok(level()));
    // somebody who asks nothing in the end takes nobody's turn
    drop(visit(&replica));
    let (one, another) = (visit(&replica), visit(&replica));
    let trying = one.ask(async {
        assert!(another.ask(async { Ok(8) }).await.is_none());
        Ok(7)
    });
    let answered = trying.await;

    assert!(matches!(answered, Some(Ok(7))));
    assert!(one.is_there() && !another.is_there());
    assert!(visit(&replica).ask(async { Ok(9) }).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_leaves_a_replica_that_hangs_when_that_is_seen_or_after_three_seconds() {
    let replica = seen(level());
    let hang = std::future::pending::<Result<(), RecordsError>>;
    let (alone, told) = (visit(&replica), visit(&replica));
    let begun = Instant::now();

    assert!(alone.ask(hang()).await.is_none());
    assert_eq!(begun.elapsed(), ANSWERS_WITHIN);
    assert!(!alone.is_there());

    let begun = Instant::now();
    let finds_out = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let away = Unused::Away("no answer".to_owned());
        stands(&replica, Err(away));
    };
    let (answer, ()) = tokio::join!(told.ask(hang()), finds_out);
    assert!(answer.is_none());
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_edition_that_hangs_there_is_asked_of_the_primary_by_all_who_wait_for_it() {
    let replica = seen(level());
    assert_eq!(told(&visit(&replica), edition(7)).await, Some(7));

    // the breaker hears of it, too
    for _ in 0..3 {
        advance(Duration::from_millis(250)).await;
        stands(&replica, Ok(level()));
        let begun = Instant::now();
        let calls = [(); 3].map(|()| visit(&replica));
        let [one, another, later] = &calls;
        let answers = tokio::join!(
            told(one, std::future::pending()),
            told(another, std::future::pending())
        );
        assert_eq!(answers, (None, None), "7 may be an old one");
        assert_eq!(told(later, edition(8)).await, None);
        assert_eq!(begun.elapsed(), ASKED_FOR);
        assert!(calls.iter().all(|call| !call.is_there()));
    }
    assert!(!is_chosen(&replica));
}

#[tokio::test(start_paused = true)]
async fn calls_in_hand_leave_when_rows_change_and_no_edition_of_before_is_told() {
    let replica = seen(level());
    let (between, within) = (visit(&replica), visit(&replica));
    assert_eq!(told(&between, edition(7)).await, Some(7));

    let answer = within.ask(async {
        replica.changed();
        Ok("rows of before")
    });

    assert!(answer.await.is_none(), "the primary is asked for them");
    assert!(!within.is_there() && !between.is_there());
    assert_eq!(told(&between, edition(7)).await, None);
    advance(Duration::from_millis(250)).await;
    stands(&replica, Ok(level()));
    assert_eq!(told(&visit(&replica), edition(8)).await, Some(8));
    replica.changed();
    advance(Duration::from_millis(1)).await;
    stands(&replica, Ok(level()));
    assert_eq!(told(&visit(&replica), edition(9)).await, Some(9));
}

#[tokio::test(start_paused = true)]
async fn what_no_database_would_do_is_not_asked_twice() {
    let visit = visit(&seen(level()));
    let refused = RecordsError::Refused(DbErr::Custom("a text that it cannot hold".to_owned()));

    let answer = visit.ask(async { Err::<(), _>(refused) }).await;

    assert!(matches!(answer, Some(Err(RecordsError::Refused(_)))));
    assert!(visit.is_there());
}

/// Records that are written at one server, read at the second by whoever asks the primary, and
/// at the third by whoever holds these.
pub(in crate::storage::records) fn at_once(
    written: &PostgresAddress,
    primary: &PostgresAddress,
    replica: &PostgresAddress,
) -> Records {
    let mut parts = postgres::parts(written).unwrap();
    parts.reading = postgres::parts(primary).unwrap().reading;
    let records = Records::of_server(parts, Gate::open(), None);
    let pool = postgres::parts(replica).unwrap().reading;
    records.visiting(visit_of(pool))
}

/// A call that begins at this as a replica.
fn visit_of(pool: DatabaseConnection) -> Visit {
    visit(&seen(Level { pool, ..level() }))
}

/// A primary with two executions, one of them failed, and what has but the first.
struct Two {
    primary: Arc<Records>,
    behind: Records,
    _dirs: [TempDir; 2],
}

impl Two {
    async fn new() -> Self {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [primary, behind] = &dirs;
        let open = async |dir: &TempDir| {
            let at = RecordsAt::Dir(dir.path().to_owned());
            Records::open(&at).await.unwrap()
        };
        let (primary, behind) = (open(primary).await, open(behind).await);
        write(&behind, &[executed(1, 1)]).await;
        write(&primary, &[executed(1, 1), failed(2, 1, "E")]).await;
        Self {
            primary: Arc::new(primary),
            behind,
            _dirs: dirs,
        }
    }

    /// A call that begins at what is behind.
    fn call(&self) -> Records {
        let pool = self.behind.reading.clone();
        self.primary.visiting(visit_of(pool))
    }

    /// The replica, from now on known to the primary's readers.
    fn kept(&self) -> Arc<Replica> {
        let pool = self.behind.reading.clone();
        let replica = seen(Level { pool, ..level() });
        let kept = Kept {
            replica: Arc::clone(&replica),
            _watching: Keeping::by(std::future::pending()),
        };
        self.primary.replica.set(kept).unwrap();
        replica
    }
}

async fn listed(records: &Records, status: Option<ExecutionStatus>) -> usize {
    let filter = ExecutionFilter {
        status,
        ..ExecutionFilter::default()
    };
    let room = room();
    let found = records.executions(&room, ALL_DAY, &filter, None, 10);
    found.await.unwrap().rows.len()
}

#[tokio::test]
async fn an_edition_comes_from_where_the_rows_come() {
    let two = Two::new().await;
    let of_primary = two.primary.edition(&room()).await;
    let of_behind = two.behind.edition(&room()).await;

    let call = two.call();
    let (edition, rows) = (call.edition(&room()).await, listed(&call, None).await);

    assert_ne!(of_primary, of_behind);
    assert_eq!((edition, rows), (of_behind, 1));
    // and what was learned there is nothing that the primary's readers take for theirs
    assert_eq!(two.primary.edition(&room()).await, of_primary);
    assert_eq!(listed(&two.primary, None).await, 2);
}

#[tokio::test]
async fn a_call_that_fails_there_goes_on_at_the_primary_and_never_back() {
    let two = Two::new().await;
    let call = two.call();
    assert_eq!(listed(&call, None).await, 1);
    two.behind.reading.close_by_ref().await.unwrap();

    let after_the_failure = listed(&call, None).await;

    assert_eq!(after_the_failure, 2);
    assert!(call.visit().is_none());
    let of_primary = two.primary.edition(&room()).await;
    assert_eq!(call.edition(&room()).await, of_primary);
}

#[tokio::test]
async fn an_edition_that_cannot_be_read_there_is_asked_of_the_primary_and_not_remembered_there() {
    let two = Two::new().await;
    let call = two.call();
    let replica = Arc::clone(&call.visit().unwrap().replica);
    two.behind.reading.close_by_ref().await.unwrap();

    let edition = call.edition(&room()).await;

    assert_eq!(edition, two.primary.edition(&room()).await);
    assert_eq!(replica.editions.last(&room()), None);
}

#[tokio::test]
async fn while_neither_tells_the_edition_counts_that_was_told_later_by_either() {
    let two = Two::new().await;
    let of_primary = two.primary.edition(&room()).await;
    two.kept();
    let of_behind = two.primary.nearest().edition(&room()).await;
    assert_ne!(of_primary, of_behind);
    two.primary.reading.close_by_ref().await.unwrap();
    two.behind.reading.close_by_ref().await.unwrap();
    // past the time for which nobody asks the database
    tokio::time::sleep(Duration::from_millis(260)).await;

    assert_eq!(two.primary.edition(&room()).await, of_behind);
    let call = two.primary.nearest();
    assert_eq!(call.edition(&room()).await, of_behind);

    // what was written here is newer than either
    let number = two.primary.renew(&room()).await.unwrap();
    let written = two.primary.edition(&room()).await;
    assert_eq!(written.map(|edition| edition.anew), Some(number));
}

#[tokio::test]
async fn without_a_replica_everybody_reads_where_it_is_written() {
    let two = Two::new().await;

    let nearest = two.primary.nearest();

    assert!(Arc::ptr_eq(&nearest, &two.primary));
}

#[tokio::test]
async fn a_renewal_is_what_a_replica_must_have() {
    let two = Two::new().await;
    let replica = two.kept();
    assert!(two.primary.nearest().visit().is_some());

    two.primary.renew(&room()).await.unwrap();

    assert!(two.primary.nearest().visit().is_none());
    stands(&replica, Ok(level()));
    assert!(two.primary.nearest().visit().is_some());
    two.primary.renew_all().await.unwrap();
    assert!(two.primary.nearest().visit().is_none());
}
