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

/// What an instructor's page does with the frames.
#[derive(Debug, Default)]
struct Page {
    seq: Option<u64>,
    students: BTreeMap<String, Value>,
}

impl Page {
    fn take(&mut self, frame: &Value) -> Result<(), TestCaseError> {
        match frame["type"].as_str().unwrap() {
            "reset" => *self = Self::default(),
            "snapshot" => {
                self.seq = frame["seq"].as_u64();
                let students = frame["students"].as_array().unwrap();
                for student in students {
                    self.put(student)?;
                }
                prop_assert_eq!(self.students.len(), students.len());
            }
            "delta" => {
                prop_assert_eq!(frame["after"].as_u64(), self.seq, "the chain");
                self.seq = frame["seq"].as_u64();
                for id in frame["removed"].as_array().unwrap() {
                    self.students.remove(id.as_str().unwrap());
                }
                for student in frame["students"].as_array().unwrap() {
                    self.put(student)?;
                }
            }
            "ack" => {}
            other => panic!("{other}"),
        }
        Ok(())
    }

    fn put(&mut self, student: &Value) -> Result<(), TestCaseError> {
        let id = student["id"].as_str().unwrap().to_owned();
        if let Some(before) = self.students.insert(id, student.clone()) {
            prop_assert!(before["executions"].as_u64() <= student["executions"].as_u64());
            let last = |of: &Value| of["lastActivity"].as_str().unwrap().parse::<Timestamp>();
            prop_assert!(last(&before).unwrap() <= last(student).unwrap());
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Event(u8),
    Remove(u8),
    Silence(u16),
    Tick,
    Read(u8),
    Answer,
    /// The console asks again from where it stands.
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..12_u8).prop_map(Step::Event),
        1 => (0..12_u8).prop_map(Step::Remove),
        1 => (1..900_u16).prop_map(Step::Silence),
        6 => Just(Step::Tick),
        3 => (1..6_u8).prop_map(Step::Read),
        1 => Just(Step::Answer),
        1 => Just(Step::Resume),
    ];
    prop::collection::vec(step, 0..200)
}

/// A classroom with two consoles: one slow and bounded, one that takes everything at once.
struct Scene {
    feed: Feed,
    max_bytes: usize,
    slow: (Outbox, Page),
    fast: (Outbox, Page),
    now: i64,
    position: u64,
    executions: BTreeMap<u8, u64>,
}

impl Scene {
    fn new(max_bytes: usize) -> Self {
        let mut scene = Self {
            feed: feed(),
            max_bytes,
            slow: (outbox(max_bytes), Page::default()),
            fast: (outbox(usize::MAX / 2), Page::default()),
            now: 0,
            position: 0,
            executions: BTreeMap::new(),
        };
        subscribe(&scene.slow.0, &mut scene.feed, true);
        subscribe(&scene.fast.0, &mut scene.feed, true);
        scene
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Event(student) => self.event(*student),
            Step::Remove(student) => self.feed.remove(&StudentId::new(student.to_string())),
            Step::Silence(seconds) => self.now += i64::from(*seconds),
            Step::Tick => {
                if let Some(delta) = self.feed.tick(at(self.now)) {
                    self.slow.0.deliver(&delta);
                    self.fast.0.deliver(&delta);
                }
            }
            Step::Read(count) => return self.read_slow(usize::from(*count)),
            Step::Answer => self.slow.0.push(Bytes::from_static(br#"{"type":"ack"}"#)),
            Step::Resume => self.resume(),
        }
        prop_assert!(self.slow.0.lock().bytes <= self.max_bytes);
        Ok(())
    }

    fn event(&mut self, student: u8) {
        self.position += 1;
        self.now += 1;
        let executions = self.executions.entry(student).or_default();
        *executions += 1;
        let update = update(&student.to_string(), self.position, *executions, self.now);
        self.feed.apply(update, at(self.now));
    }

    /// As a classroom's actor and a connection do it together.
    fn resnapshot(&mut self) {
        if let Some(delta) = self.feed.tick(at(self.now)) {
            self.slow.0.deliver(&delta);
            self.fast.0.deliver(&delta);
        }
        let opening = vec![
            reset_frame(&classroom(), "slow"),
            self.feed.snapshot(at(self.now)),
        ];
        self.slow.0.begin(&classroom(), opening, self.feed.cursor());
    }

    fn resume(&mut self) {
        let Some(seq) = self.slow.1.seq else {
            return;
        };
        let cursor = Cursor {
            seq,
            ..self.feed.cursor()
        };
        match self.feed.resume(&cursor) {
            crate::feed::Resume::Deltas(deltas) => {
                self.slow.0.begin(&classroom(), Vec::new(), cursor);
                for delta in deltas {
                    self.slow.0.deliver(&delta);
                }
            }
            crate::feed::Resume::Reset { .. } => self.resnapshot(),
        }
    }

    fn read_slow(&mut self, count: usize) -> Result<(), TestCaseError> {
        for _ in 0..count {
            match self.slow.0.try_next() {
                Some(Item::Frame(frame)) => self.slow.1.take(&parsed(&frame))?,
                Some(Item::Resnapshot(_)) => self.resnapshot(),
                Some(Item::Closed(code)) => panic!("{code:?}"),
                None => break,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), TestCaseError> {
        self.step(&Step::Tick)?;
        while self.slow.0.behind_since().is_some() {
            self.read_slow(1)?;
        }
        while let Some(Item::Frame(frame)) = self.fast.0.try_next() {
            self.fast.1.take(&parsed(&frame))?;
        }
        prop_assert_eq!(self.slow.0.queued_bytes(), 0);
        prop_assert_eq!(&self.slow.1.students, &self.fast.1.students);
        prop_assert_eq!(self.slow.1.seq, self.fast.1.seq);
        Ok(())
    }
}

proptest! {
    /// However slow a console reads and however small its outbox: the chain holds, nobody's
    /// counters fall, memory is bounded, and at the end it stands where a fast one stands.
    #[test]
    fn a_slow_console_ends_where_a_fast_one_does(
        steps in steps(),
        max_bytes in prop_oneof![400..2000_usize, 2000..20_000_usize],
    ) {
        let mut scene = Scene::new(max_bytes);
        for step in &steps {
            scene.step(step)?;
        }
        scene.finish()?;
    }
}
