use std::sync::atomic::{AtomicU32, Ordering};

use mimamori_actors::domain::Timestamp;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::*;
use crate::redis::tests::server;
use crate::storage::records::{Edition, TimeRange};

mod redis;

const NOON: Timestamp = Timestamp::from_millis(1_795_305_600_000);

fn room(name: &str) -> ClassroomId {
    ClassroomId::new(name)
}

fn edition(written: i64) -> Edition {
    Edition {
        written,
        anew: 7,
        through: NOON,
    }
}

fn question<'a>(classroom: &'a ClassroomId, written: i64, asked: &'a str) -> Question<'a> {
    Question {
        classroom,
        scope: Scope::Classroom,
        subject: Subject::Totals,
        holds: Holds::UntilAWrite(edition(written)),
        asked,
    }
}

/// What the store is asked, counted.
#[derive(Default)]
struct Source {
    asked: AtomicU32,
}

impl Source {
    async fn tell(&self, value: &str) -> Result<Vec<u8>, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // whoever asks at the same time is there by then
        for _ in 0..300 {
            tokio::task::yield_now().await;
        }
        Ok(value.as_bytes().to_vec())
    }

    fn times(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// The tiers of a test.
#[derive(Debug, Clone, Copy)]
enum On {
    Memory,
    Redis,
}

/// An empty cache.
fn cache(on: On) -> Cache {
    let url = match on {
        On::Memory => None,
        On::Redis => Some(server::database().parse().unwrap()),
    };
    let memory_bytes = 64 << 20;
    Cache::open(&config::Cache { url, memory_bytes }).unwrap()
}

/// Makes of each function a test on memory alone and on memory and Redis.
macro_rules! on_either {
    ($($test:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Memory).await;
            })*
        }
        mod on_redis {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::On::Redis).await;
            })*
        }
    };
}

on_either!(
    of_two_hundred_who_ask_the_same_at_once_one_asks_the_store,
    a_write_makes_another_edition_and_that_is_computed_anew,
    a_failure_is_told_to_all_who_wait_and_not_kept,
    who_goes_away_while_asking_leaves_it_to_the_next,
    a_value_that_would_push_out_everything_else_is_not_kept,
);

async fn of_two_hundred_who_ask_the_same_at_once_one_asks_the_store(on: On) {
    let cache = Arc::new(cache(on));
    let source = Arc::new(Source::default());
    let together = Arc::new(Barrier::new(200));
    let mut asking = JoinSet::new();

    for _ in 0..200 {
        let (cache, source) = (Arc::clone(&cache), Arc::clone(&source));
        let together = Arc::clone(&together);
        asking.spawn(async move {
            together.wait().await;
            let room = room("default");
            let answer = cache
                .answer(&question(&room, 1, "a day"), source.tell("so many"))
                .await;
            answer.unwrap()
        });
    }
    let answers = asking.join_all().await;

    assert!(answers.iter().all(|answer| answer == "so many"));
    assert_eq!(source.times(), 1);
}

async fn a_write_makes_another_edition_and_that_is_computed_anew(on: On) {
    let (cache, source, room) = (cache(on), Source::default(), room("default"));
    for (written, told) in [(1, "one"), (1, "not asked"), (2, "two"), (2, "not asked")] {
        let answer = cache
            .answer(&question(&room, written, ""), source.tell(told))
            .await;

        let expected = if written == 1 { "one" } else { "two" };
        assert_eq!(answer.unwrap(), expected);
    }
    assert_eq!(source.times(), 2);
}

#[tokio::test]
async fn a_range_that_is_over_holds_through_writes_and_not_through_a_renewal() {
    let range = TimeRange {
        from: Timestamp::from_millis(0),
        to: Some(NOON.minus(crate::storage::BELIEVED)),
    };
    let open = TimeRange {
        to: Some(NOON),
        ..range
    };
    let renewed = Edition {
        anew: 8,
        ..edition(3)
    };

    assert_eq!(
        Holds::over(edition(1), range),
        Holds::ForGood(edition(1)),
        "nothing is placed there any more"
    );
    let name = |holds| {
        let room = room("default");
        let mut question = question(&room, 0, "a range");
        question.holds = holds;
        question.name()
    };
    let of = |edition, range| name(Holds::over(edition, range));
    assert_eq!(of(edition(1), range), of(edition(2), range));
    assert_ne!(of(edition(1), range), of(renewed, range));
    assert_ne!(of(edition(1), open), of(edition(2), open));
    assert_ne!(
        name(Holds::AMoment(edition(1))),
        name(Holds::ForGood(edition(1)))
    );
}

#[tokio::test]
async fn whatever_differs_in_a_question_is_another_value() {
    let (one, other) = (room("a"), room("ab"));
    let base = question(&one, 1, "bc");
    let mut differing = vec![
        question(&other, 1, "c"),
        question(&one, 2, "bc"),
        question(&one, 1, "b"),
    ];
    for subject in [
        Subject::Activity,
        Subject::Students,
        Subject::Cells,
        Subject::Search,
    ] {
        differing.push(Question {
            subject,
            ..base.clone()
        });
    }

    for question in differing {
        assert_ne!(question.name(), base.name(), "{question:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_over_after_its_term() {
    let (cache, source, room) = (Cache::new(1 << 20), Source::default(), room("default"));
    let question = question(&room, 1, "");
    cache.answer(&question, source.tell("old")).await.unwrap();

    tokio::time::advance(Duration::from_secs(299)).await;
    let before = cache.answer(&question, source.tell("new")).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    let after = cache.answer(&question, source.tell("new")).await.unwrap();

    assert_eq!((&before[..], &after[..]), (&b"old"[..], &b"new"[..]));
}

async fn a_failure_is_told_to_all_who_wait_and_not_kept(on: On) {
    let (cache, source, room) = (cache(on), Source::default(), room("default"));
    let question = question(&room, 1, "");
    let fail = || async {
        source.tell("").await?;
        Err::<Vec<u8>, _>("the store is away".to_owned())
    };

    let (first, second) = tokio::join!(
        cache.answer(&question, fail()),
        cache.answer(&question, fail())
    );
    let later = cache.answer(&question, source.tell("here")).await;

    assert_eq!(*first.unwrap_err(), "the store is away");
    assert_eq!(*second.unwrap_err(), "the store is away");
    assert_eq!(later.unwrap(), "here");
    assert_eq!(source.times(), 2);
}

async fn who_goes_away_while_asking_leaves_it_to_the_next(on: On) {
    let (cache, source, room) = (cache(on), Source::default(), room("default"));
    let question = question(&room, 1, "");
    let never = std::future::pending::<Result<Vec<u8>, String>>();

    let waiting = cache.answer(&question, source.tell("here"));
    let gone = async {
        let first = cache.answer(&question, never);
        // polled once, so that it is the one who asks; then dropped
        tokio::select! { biased; _ = first => {}, () = tokio::task::yield_now() => {} }
    };
    let ((), answer) = tokio::join!(gone, waiting);

    assert_eq!(answer.unwrap(), "here");
}

#[tokio::test]
async fn memory_stays_within_its_bound() {
    let (cache, room) = (Cache::new(100_000), room("default"));
    for asked in 0..1_000 {
        let asked = asked.to_string();
        let large = async { Ok::<_, String>(vec![b'x'; 1_000]) };
        cache
            .answer(&question(&room, 1, &asked), large)
            .await
            .unwrap();
    }

    let bytes = cache.bytes().await;
    assert!((1..=100_000).contains(&bytes), "{bytes} bytes are kept");
}

async fn a_value_that_would_push_out_everything_else_is_not_kept(on: On) {
    let (cache, source, room) = (cache(on), Source::default(), room("default"));
    let question = question(&room, 1, "");
    let large = "x".repeat(LARGEST + 1);

    let first = cache.answer(&question, source.tell(&large)).await.unwrap();
    cache.answer(&question, source.tell(&large)).await.unwrap();

    assert_eq!(first.len(), LARGEST + 1);
    assert_eq!(source.times(), 2);
}
