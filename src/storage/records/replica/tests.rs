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

fn seen(level: Level) -> Replica {
    let replica = Replica::new();
    stands(&replica, Ok(level));
    replica
}

fn is_chosen(replica: &Replica) -> bool {
    replica.choose().is_some()
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_read_from_when_it_was_seen_until_that_is_a_second_ago() {
    let unseen = Replica::new();
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
    let replica = Arc::new(seen(level()));
    let visit = || Visit {
        replica: Arc::clone(&replica),
        pool: DatabaseConnection::default(),
        has_left: AtomicBool::new(false),
    };
    for _ in 0..3 {
        assert!(is_chosen(&replica));
        let failing = async { Err::<(), _>(RecordsError::TooSlow) };
        assert!(visit().ask(failing).await.is_none());
    }
    assert!(!is_chosen(&replica));

    advance(Duration::from_secs(5)).await;
    stands(&replica, Ok(level()));
    let (one, another) = (is_chosen(&replica), is_chosen(&replica));
    let answered = visit().ask(async { Ok(7) }).await;

    assert!(one && !another);
    assert!(matches!(answered, Some(Ok(7))));
    assert!(is_chosen(&replica) && is_chosen(&replica));
}

#[tokio::test(start_paused = true)]
async fn a_call_leaves_a_replica_that_hangs_when_that_is_seen_or_after_three_seconds() {
    let replica = Arc::new(seen(level()));
    let visit = || Visit {
        replica: Arc::clone(&replica),
        pool: DatabaseConnection::default(),
        has_left: AtomicBool::new(false),
    };
    let hang = std::future::pending::<Result<(), RecordsError>>;
    let begun = Instant::now();

    let alone = visit();
    assert!(alone.ask(hang()).await.is_none());
    assert_eq!(begun.elapsed(), ANSWERS_WITHIN);
    assert!(!alone.is_there());

    let begun = Instant::now();
    let told = visit();
    let finds_out = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let away = Unused::Away("no answer".to_owned());
        stands(&replica, Err(away));
    };
    let (answer, ()) = tokio::join!(told.ask(hang()), finds_out);
    assert!(answer.is_none());
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[tokio::test]
async fn what_no_database_would_do_is_not_asked_twice() {
    let replica = Arc::new(seen(level()));
    let visit = Visit {
        replica,
        pool: DatabaseConnection::default(),
        has_left: AtomicBool::new(false),
    };
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
    records.visiting(&Arc::new(Replica::new()), pool)
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
        let replica = Arc::new(Replica::new());
        self.primary.visiting(&replica, self.behind.reading.clone())
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
    let known = replica.editions.ask(&room(), async { Ok(None) }).await;
    assert_eq!(known, None);
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
    let replica = Arc::new(seen(level()));
    let watching = Keeping::by(std::future::pending());
    let kept = Kept {
        replica: Arc::clone(&replica),
        _watching: watching,
    };
    two.primary.replica.set(kept).unwrap();
    assert!(two.primary.nearest().visit().is_some());

    two.primary.renew(&room()).await.unwrap();

    assert!(two.primary.nearest().visit().is_none());
    stands(&replica, Ok(level()));
    assert!(two.primary.nearest().visit().is_some());
    two.primary.renew_all().await.unwrap();
    assert!(two.primary.nearest().visit().is_none());
}
