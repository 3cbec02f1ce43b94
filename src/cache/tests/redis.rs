//! Nodes that share a real Redis.

use tokio::time::Instant;

use super::*;
use crate::redis::tests::server::{Redis as Server, ask, database};

async fn node(url: &str) -> Cache {
    let config = config::Cache {
        url: Some(url.parse().unwrap()),
        memory_bytes: 1 << 20,
    };
    let cache = Cache::open(&config).unwrap();
    cache.far.as_ref().unwrap().settled().await;
    cache
}

async fn filled(cache: &Cache) {
    cache.far.as_ref().unwrap().settled().await;
}

async fn tell(cache: &Cache, question: &Question<'_>, source: &Source, told: &str) -> String {
    let answer = cache.answer(question, source.tell(told)).await.unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

#[tokio::test]
async fn what_one_node_has_read_another_need_not() {
    let url = database();
    let (one, other) = (node(&url).await, node(&url).await);
    let (source, room) = (Source::default(), room("default"));
    let question = question(&room, 1, "山田花子");
    let page = "{\"student\":\"山田花子\"}".repeat(1_000);

    let first = tell(&one, &question, &source, &page).await;
    filled(&one).await;
    let second = tell(&other, &question, &source, "asked again").await;

    assert_eq!((&first, &second), (&page, &page));
    assert_eq!(source.times(), 1);
    let key = ask(&url, &["KEYS", "*"]);
    let term: i64 = ask(&url, &["PTTL", &key]).parse().unwrap();
    let bytes: usize = ask(&url, &["STRLEN", &key]).parse().unwrap();
    assert!(
        key.is_ascii() && (1..=300_000).contains(&term),
        "{key} {term}"
    );
    assert!(bytes < page.len() / 20, "{bytes} bytes");
}

#[tokio::test]
async fn what_is_found_there_is_kept_for_no_longer_than_it_would_have_been() {
    let url = database();
    let (one, other) = (node(&url).await, node(&url).await);
    let (source, room) = (Source::default(), room("default"));
    let question = question(&room, 1, "");
    tell(&one, &question, &source, "old").await;
    filled(&one).await;
    ask(&url, &["PEXPIRE", &ask(&url, &["KEYS", "*"]), "1500"]);
    assert_eq!(tell(&other, &question, &source, "new").await, "old");

    // so long that the question before this comes in time wherever the test runs
    tokio::time::sleep(Duration::from_millis(1_510)).await;

    assert_eq!(tell(&other, &question, &source, "new").await, "new");
}

#[tokio::test]
async fn a_redis_that_stands_still_or_is_gone_costs_the_hit_and_little_time() {
    let mut server = Server::start();
    let cache = node(&server.database()).await;
    let (source, room) = (Source::default(), room("default"));

    for (word, back) in [("freeze", "thaw"), ("kill", "start")] {
        server.say(word);
        let begun = Instant::now();
        for n in 0..100 {
            let asked = format!("{word} {n}");
            assert_eq!(
                tell(&cache, &question(&room, 1, &asked), &source, &asked).await,
                asked
            );
        }
        let took = begun.elapsed();
        // three times 20 ms, and what a hundred answers take: less than a hundred times 20 ms
        assert!(took < Duration::from_millis(1_500), "{word}: {took:?}");
        server.say(back);
        cache.far.as_ref().unwrap().rested().await;
    }
    let asked = source.times();
    filled(&cache).await;
    tell(&cache, &question(&room, 2, "and back"), &source, "yes").await;
    filled(&cache).await;
    cache.memory.forget(&room).await;

    assert_eq!(
        tell(&cache, &question(&room, 2, "and back"), &source, "no").await,
        "yes"
    );
    assert_eq!((asked, source.times()), (200, 201));
}

#[tokio::test]
async fn what_stands_there_and_was_not_packed_by_us_is_a_miss() {
    let url = database();
    let (one, other) = (node(&url).await, node(&url).await);
    let (source, room) = (Source::default(), room("default"));
    let question = question(&room, 1, "");
    tell(&one, &question, &source, "true").await;
    filled(&one).await;
    let key = ask(&url, &["KEYS", "*"]);
    ask(&url, &["SET", &key, "a forged answer", "KEEPTTL"]);

    assert_eq!(tell(&other, &question, &source, "read").await, "read");
}

#[tokio::test]
async fn of_a_forgotten_classroom_nothing_stands_there_and_nothing_old_comes_in() {
    let url = database();
    let (one, other) = (node(&url).await, node(&url).await);
    let (source, erased, room) = (Source::default(), room("erased"), room("other"));
    for n in 0..1_500 {
        tell(
            &one,
            &question(&erased, 1, &n.to_string()),
            &source,
            "a name",
        )
        .await;
        filled(&one).await;
    }
    tell(&one, &question(&room, 1, ""), &source, "another classroom").await;
    filled(&one).await;

    one.far
        .as_ref()
        .unwrap()
        .forget(&erased, Some(7))
        .await
        .unwrap();
    // another node is just done with what it began to compute before
    tell(&other, &question(&erased, 1, "late"), &source, "a name").await;
    filled(&other).await;

    // the note, and what is kept of the other classroom
    assert_eq!(ask(&url, &["DBSIZE"]), "2");
    // a start makes editions anew without forgetting
    let mut later = question(&erased, 1, "");
    later.holds = Holds::UntilAWrite(Edition {
        anew: 9,
        ..edition(1)
    });
    tell(&one, &later, &source, "without the name").await;
    filled(&one).await;
    assert_eq!(ask(&url, &["DBSIZE"]), "3");
}

#[tokio::test]
async fn to_forget_while_redis_is_away_is_told_as_a_failure() {
    let mut server = Server::start();
    let cache = node(&server.database()).await;
    server.say("freeze");

    let forgotten = cache
        .far
        .as_ref()
        .unwrap()
        .forget(&room("a"), Some(7))
        .await;

    assert!(
        matches!(forgotten, Err(RedisFault::Away(_))),
        "{forgotten:?}"
    );
}
