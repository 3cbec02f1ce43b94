//! Lists of nodes that share a real Redis.

use std::sync::Mutex;

use mimamori_actors::ports::Clock as _;

use mimamori_actors::tree::Census;

use super::super::sign_outs_part;
use super::super::tests::{ground, until};
use super::*;
use crate::clock::SystemClock;
use crate::redis::tests::server::{ask, database};

/// What a node remembers, and how often it wrote that down.
#[derive(Default)]
struct List {
    known: Mutex<Vec<SessionToken>>,
    writes: watch::Sender<u64>,
}

#[async_trait]
impl SignOuts for List {
    fn changes(&self) -> watch::Receiver<u64> {
        self.writes.subscribe()
    }

    fn all(&self, _: Timestamp) -> Vec<SessionToken> {
        self.known.lock().unwrap().clone()
    }

    async fn add(&self, sessions: Vec<SessionToken>) {
        self.known.lock().unwrap().extend(sessions);
        self.writes.send_modify(|writes| *writes += 1);
    }
}

impl List {
    /// Of a node that carries it until the task is dropped.
    fn carried(url: &str) -> (Arc<Self>, Arc<Census>, Task) {
        let list = Arc::new(Self::default());
        let census = Arc::new(Census::default());
        let task = carry(ground(url), list.clone(), sign_outs_part(&census));
        (list, census, task)
    }

    fn len(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

fn session(number: u16) -> SessionToken {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_le_bytes());
    SessionToken {
        id,
        expires: SystemClock.now().plus(SESSION_LASTS),
    }
}

#[tokio::test]
async fn many_that_signed_out_before_a_node_came_are_written_down_a_few_times() {
    const MANY: usize = 2_500;
    let url = database();
    let (one, _, _carrying) = List::carried(&url);
    one.add((0..MANY).map(|number| session(number as u16)).collect())
        .await;
    until("they are there", || {
        ask(&url, &["XLEN", SIGN_OUTS]) == MANY.to_string()
    })
    .await;

    let (other, _, _carrying) = List::carried(&url);
    until("it knows them", || other.len() == MANY).await;

    assert!(*other.writes.borrow() <= 3, "{:?}", other.writes.borrow());
}

#[tokio::test]
async fn what_redis_forgot_without_being_gone_is_sent_again() {
    let url = database();
    let (one, _, _carrying) = List::carried(&url);
    one.add(vec![session(1)]).await;
    until("it is there", || ask(&url, &["EXISTS", SIGN_OUTS]) == "1").await;

    ask(&url, &["DEL", SIGN_OUTS]);

    until("it is there again", || {
        ask(&url, &["EXISTS", SIGN_OUTS]) == "1"
    })
    .await;
    let (other, _, _carrying) = List::carried(&url);
    until("another knows it", || other.len() == 1).await;
}

#[tokio::test]
async fn what_lasts_longer_than_any_of_ours_or_is_no_session_signs_nobody_out() {
    let url = database();
    let far = SystemClock
        .now()
        .plus(SESSION_LASTS * 3)
        .as_millis()
        .to_string();
    let past = "1";
    for (id, expires) in [
        (session(1).id_hex(), far.as_str()),
        (session(2).id_hex(), past),
        ("zz".to_owned(), "x"),
    ] {
        ask(&url, &["XADD", SIGN_OUTS, "*", "s", &id, "x", expires]);
    }
    let good = session(3);
    ask(
        &url,
        &[
            "XADD",
            SIGN_OUTS,
            "*",
            "s",
            &good.id_hex(),
            "x",
            &good.expires.as_millis().to_string(),
        ],
    );

    let (list, _, _carrying) = List::carried(&url);
    until("it knows one", || list.len() > 0).await;

    assert_eq!(*list.known.lock().unwrap(), [good]);
}

#[tokio::test]
async fn a_stream_that_ends_before_our_place_is_read_from_its_beginning() {
    let url = database();
    let (one, _, _carrying) = List::carried(&url);
    one.add(vec![session(1)]).await;
    until("it is there", || ask(&url, &["EXISTS", SIGN_OUTS]) == "1").await;

    // in one, so that nobody sees it gone: Redis' clock was set back meanwhile
    let other = session(2);
    let script = "redis.call('DEL', KEYS[1]) return redis.call('XADD', KEYS[1], '5-1', 's', ARGV[1], 'x', ARGV[2])";
    let expires = other.expires.as_millis().to_string();
    ask(
        &url,
        &["EVAL", script, "1", SIGN_OUTS, &other.id_hex(), &expires],
    );

    until("it knows it", || one.len() == 2).await;
    until("and sends its own again", || {
        ask(&url, &["XLEN", SIGN_OUTS]) == "2"
    })
    .await;
}

#[tokio::test]
async fn that_sign_outs_are_not_carried_is_told_and_over_when_they_are() {
    let url = database();
    let (one, census, _carrying) = List::carried(&url);
    ask(&url, &["RPUSH", SIGN_OUTS, "x"]);
    until("it is told", || census.degraded() == ["sign-outs"]).await;

    ask(&url, &["DEL", SIGN_OUTS]);
    until("it is over", || census.degraded().is_empty()).await;
    one.add(vec![session(1)]).await;

    until("it is there", || {
        ask(&url, &["TYPE", SIGN_OUTS]) == "stream"
    })
    .await;
}
