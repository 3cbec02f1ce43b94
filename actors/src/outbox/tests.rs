mod properties;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::domain::{AlertState, StudentId, Timestamp};
use crate::feed::tests::{alert, at, classroom, feed, update};
use crate::feed::{Feed, reset_frame};

fn outbox(max_bytes: usize) -> Outbox {
    Outbox::new(OutboxLimits { max_bytes })
}

fn parsed(frame: &Bytes) -> Value {
    serde_json::from_slice(frame).unwrap()
}

fn frame_of(item: Option<Item>) -> Value {
    match item {
        Some(Item::Frame(frame)) => parsed(&frame),
        other => panic!("{other:?}"),
    }
}

/// So many deltas, each about one of three students.
fn deltas(feed: &mut Feed, count: u64) -> Vec<Arc<Delta>> {
    let base = feed.cursor().seq;
    (base + 1..=base + count)
        .map(|n| {
            let student = format!("student-{}", n % 3);
            feed.apply(update(&student, n, n, i64::try_from(n).unwrap()), at(0));
            feed.tick(at(0)).unwrap()
        })
        .collect()
}

fn subscribe(outbox: &Outbox, feed: &mut Feed, opening: bool) {
    let frames = if opening {
        vec![feed.snapshot(at(0))]
    } else {
        Vec::new()
    };
    outbox.begin(&classroom(), frames, feed.cursor());
}

#[test]
fn while_there_is_room_the_shared_frame_is_queued_as_it_is() {
    let mut feed = feed();
    let outbox = outbox(1 << 20);
    subscribe(&outbox, &mut feed, true);
    let deltas = deltas(&mut feed, 2);

    for delta in &deltas {
        outbox.deliver(delta);
    }

    assert_eq!(frame_of(outbox.try_next())["type"], "snapshot");
    for delta in &deltas {
        let Some(Item::Frame(frame)) = outbox.try_next() else {
            panic!("a frame is there");
        };
        assert_eq!(frame.as_ptr(), delta.frame.as_ptr());
    }
    assert_eq!(outbox.try_next(), None);
    assert_eq!(outbox.queued_bytes(), 0);
}

#[test]
fn beyond_the_bound_everything_pending_is_merged_into_one() {
    let mut feed = feed();
    let outbox = outbox(2500);
    subscribe(&outbox, &mut feed, true);
    for delta in deltas(&mut feed, 20) {
        outbox.deliver(&delta);
        assert!(outbox.lock().bytes <= 2500);
    }

    assert_eq!(frame_of(outbox.try_next())["type"], "snapshot");
    let merged = frame_of(outbox.try_next());

    assert_eq!((&merged["after"], &merged["seq"]), (&0.into(), &20.into()));
    assert_eq!(merged["students"].as_array().unwrap().len(), 3);
    assert_eq!(merged["students"][2]["executions"], 20);
    assert_eq!(merged["events"], Value::Array(Vec::new()));
    assert_eq!(merged["eventsOmitted"], 20);
    assert_eq!(outbox.try_next(), None);
    assert_eq!(outbox.queued_bytes(), 0);
}

#[test]
fn when_even_the_merged_outgrows_the_bound_the_console_begins_anew() {
    let mut feed = feed();
    let outbox = outbox(600);
    subscribe(&outbox, &mut feed, true);
    outbox.try_next();
    for delta in deltas(&mut feed, 5) {
        outbox.deliver(&delta);
    }

    assert_eq!(outbox.try_next(), Some(Item::Resnapshot(classroom())));
    assert_eq!(outbox.try_next(), None, "once is enough");
    for delta in deltas(&mut feed, 2) {
        outbox.deliver(&delta);
    }
    assert_eq!(outbox.try_next(), None, "no delta before the snapshot");

    let opening = vec![reset_frame(&classroom(), "slow"), feed.snapshot(at(0))];
    outbox.begin(&classroom(), opening, feed.cursor());
    let next = deltas(&mut feed, 1);
    outbox.deliver(&next[0]);
    assert_eq!(frame_of(outbox.try_next())["type"], "reset");
    let snapshot = frame_of(outbox.try_next());
    assert_eq!(
        frame_of(outbox.try_next())["after"],
        snapshot["seq"],
        "the chain goes on from the snapshot"
    );
}

#[test]
fn of_an_alert_that_opened_and_closed_while_nobody_read_the_end_is_told() {
    let mut feed = feed();
    let outbox = outbox(2500);
    subscribe(&outbox, &mut feed, false);
    for (position, state) in [(1, AlertState::Open), (2, AlertState::Closed)] {
        let mut update = update("student-0", position, position, 0);
        update.alerts = vec![alert("x", state)];
        feed.apply(update, at(0));
        outbox.deliver(&feed.tick(at(0)).unwrap());
    }
    for delta in deltas(&mut feed, 20) {
        outbox.deliver(&delta);
    }

    let merged = frame_of(outbox.try_next());

    assert_eq!(merged["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(merged["alerts"][0]["state"], "closed");
}

#[test]
fn deltas_that_the_console_has_or_that_belong_elsewhere_are_ignored() {
    let mut feed = feed();
    let outbox = outbox(1 << 20);
    let old = deltas(&mut feed, 3);
    outbox.deliver(&old[0]);
    assert_eq!(outbox.try_next(), None, "not begun");
    subscribe(&outbox, &mut feed, true);
    outbox.try_next();

    outbox.deliver(&old[2]);
    let mut other = Feed::new(classroom(), "another".to_owned(), Default::default());
    for delta in deltas(&mut other, 5) {
        outbox.deliver(&delta);
    }

    assert_eq!(outbox.try_next(), None);
}

#[test]
fn a_hole_in_the_chain_is_never_shown() {
    let mut feed = feed();
    let outbox = outbox(1 << 20);
    subscribe(&outbox, &mut feed, false);
    let deltas = deltas(&mut feed, 3);

    outbox.deliver(&deltas[0]);
    outbox.deliver(&deltas[2]);

    assert_eq!(outbox.try_next(), Some(Item::Resnapshot(classroom())));
}

#[test]
fn a_console_that_resumes_gets_no_snapshot() {
    let mut feed = feed();
    let outbox = outbox(1 << 20);
    let all = deltas(&mut feed, 4);
    let cursor = Cursor {
        epoch: feed.cursor().epoch,
        seq: 2,
    };

    outbox.begin(&classroom(), Vec::new(), cursor);
    for delta in &all {
        outbox.deliver(delta);
    }

    assert_eq!(frame_of(outbox.try_next())["after"], 2);
    assert_eq!(frame_of(outbox.try_next())["after"], 3);
    assert_eq!(outbox.try_next(), None);
}

#[test]
fn classrooms_are_kept_apart() {
    let (mut here, other) = (feed(), ClassroomId::new("other"));
    let mut there = Feed::new(other.clone(), "e".to_owned(), Default::default());
    let outbox = outbox(2500);
    subscribe(&outbox, &mut here, false);
    outbox.begin(&other, Vec::new(), there.cursor());

    for (a, b) in deltas(&mut here, 20).iter().zip(&deltas(&mut there, 20)) {
        outbox.deliver(a);
        outbox.deliver(b);
    }
    let first = frame_of(outbox.try_next());
    let second = frame_of(outbox.try_next());

    assert_eq!(first["classroom"], "default");
    assert_eq!(second["classroom"], "other");
    for merged in [first, second] {
        assert_eq!((&merged["after"], &merged["seq"]), (&0.into(), &20.into()));
    }
}

#[test]
fn a_classroom_that_is_no_longer_watched_leaves_nothing_behind() {
    let mut feed = feed();
    let outbox = outbox(1 << 20);
    subscribe(&outbox, &mut feed, true);
    let deltas = deltas(&mut feed, 2);
    outbox.deliver(&deltas[0]);
    outbox.push(Bytes::from_static(b"{}"));

    outbox.stop_classroom(&classroom());
    outbox.deliver(&deltas[1]);

    assert_eq!(
        outbox.try_next(),
        Some(Item::Frame(Bytes::from_static(b"{}")))
    );
    assert_eq!(outbox.try_next(), None);
    assert_eq!(outbox.queued_bytes(), 0);
}

#[test]
fn what_waits_is_delivered_before_a_drain_and_dropped_before_any_other_end() {
    for code in CloseCode::ALL {
        let mut feed = feed();
        let outbox = outbox(1 << 20);
        subscribe(&outbox, &mut feed, true);

        outbox.close(code);
        outbox.close(CloseCode::Policy);
        outbox.push(Bytes::from_static(b"{}"));

        if code == CloseCode::Draining {
            assert_eq!(frame_of(outbox.try_next())["type"], "snapshot");
        }
        assert_eq!(outbox.try_next(), Some(Item::Closed(code)));
        assert_eq!(outbox.try_next(), Some(Item::Closed(code)));
    }
}

#[test]
fn a_delta_that_is_larger_than_the_bound_is_told_as_it_is_where_nothing_else_waits() {
    let mut feed = feed();
    let outbox = outbox(10);
    subscribe(&outbox, &mut feed, false);
    let deltas = deltas(&mut feed, 2);

    outbox.deliver(&deltas[0]);
    assert_eq!(
        outbox.try_next(),
        Some(Item::Frame(deltas[0].frame.clone()))
    );
    outbox.deliver(&deltas[1]);

    assert_eq!(
        outbox.try_next(),
        Some(Item::Frame(deltas[1].frame.clone()))
    );
}

#[test]
fn consoles_are_told_once_that_nothing_comes_until_something_does() {
    let mut feed = feed();
    let outbox = outbox(1 << 20);
    let stale = Bytes::from_static(br#"{"type":"stale"}"#);
    outbox.tell_stale(&classroom(), &stale);
    assert_eq!(outbox.try_next(), None, "it does not watch");
    subscribe(&outbox, &mut feed, false);

    outbox.tell_stale(&classroom(), &stale);
    outbox.tell_stale(&classroom(), &stale);
    let delta = &deltas(&mut feed, 1)[0];
    outbox.deliver(delta);
    outbox.tell_stale(&classroom(), &stale);

    let told: Vec<_> = std::iter::from_fn(|| outbox.try_next()).collect();
    let frames = [stale.clone(), delta.frame.clone(), stale].map(Item::Frame);
    assert_eq!(told, frames);
}

#[test]
fn answers_that_nobody_reads_end_the_connection() {
    let outbox = outbox(1000);

    for _ in 0..200 {
        outbox.push(Bytes::from_static(br#"{"type":"ack","ref":"1"}"#));
        assert!(outbox.queued_bytes() <= 1000);
    }

    assert_eq!(outbox.try_next(), Some(Item::Closed(CloseCode::TooSlow)));
}

#[tokio::test(start_paused = true)]
async fn the_outbox_knows_since_when_it_is_behind() {
    let mut feed = feed();
    let outbox = outbox(1 << 20);
    assert_eq!(outbox.behind_since(), None);
    let begun = Instant::now();
    subscribe(&outbox, &mut feed, true);
    tokio::time::advance(std::time::Duration::from_secs(7)).await;
    for delta in deltas(&mut feed, 2) {
        outbox.deliver(&delta);
    }

    outbox.try_next();
    assert_eq!(outbox.behind_since(), Some(begun));
    outbox.try_next();
    outbox.try_next();
    assert_eq!(outbox.behind_since(), None);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_console_is_woken() {
    let outbox = Arc::new(outbox(1000));
    let waiting = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move { (outbox.next().await, outbox.next().await) }
    });
    tokio::task::yield_now().await;

    outbox.push(Bytes::from_static(b"{}"));
    tokio::task::yield_now().await;
    outbox.close(CloseCode::Draining);

    let expected = (
        Item::Frame(Bytes::from_static(b"{}")),
        Item::Closed(CloseCode::Draining),
    );
    assert_eq!(waiting.await.unwrap(), expected);
}
