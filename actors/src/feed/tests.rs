mod mirror;
mod properties;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::domain::{AlertKind, EventId, EventKind, Moment, SessionKey, StudentStatus, Timestamp};

pub(crate) fn classroom() -> ClassroomId {
    ClassroomId::new("default")
}

/// So much was heard.
pub(crate) fn at(seconds: i64) -> Heard {
    Heard::of_wall(time(seconds))
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_760_000_000_000 + seconds * 1000)
}

pub(crate) fn feed() -> Feed {
    Feed::new(classroom(), "epoch-1".to_owned(), FeedLimits::default())
}

pub(crate) fn view(student: &str, position: u64, executions: u64, seconds: i64) -> StudentView {
    StudentView {
        position: Position(position),
        id: StudentId::new(student),
        name: format!("山田 {student}").into(),
        team: Some("チームA".into()),
        is_default_address: false,
        people: Vec::new(),
        notebook: Some("lesson/01.ipynb".into()),
        cell_id: Some(format!("cell-{executions}").into()),
        cell_index: Some(3),
        executions,
        errors: 0,
        consecutive_errors: 0,
        is_last_run_failed: false,
        last_activity: Some(Moment::of_wall(time(seconds))),
        help: None,
        alerts: Vec::new(),
    }
}

/// What a session tells after the event at this position.
pub(crate) fn update(student: &str, position: u64, executions: u64, seconds: i64) -> SessionUpdate {
    update_of(view(student, position, executions, seconds))
}

fn update_of(view: StudentView) -> SessionUpdate {
    SessionUpdate {
        key: SessionKey {
            classroom: classroom(),
            student: view.id.clone(),
        },
        position: view.position,
        event: Some(line(&view)),
        alerts: Vec::new(),
        view: Arc::new(view),
    }
}

fn line(view: &StudentView) -> EventBrief {
    EventBrief {
        event_id: EventId::new(format!("event-{}", view.position)),
        event_type: EventKind::CellExecuted,
        student: view.id.clone(),
        notebook: view.notebook.as_deref().map(str::to_owned),
        cell_id: view.cell_id.as_deref().map(str::to_owned),
        cell_index: view.cell_index,
        status: None,
        event_time: time(0),
    }
}

pub(crate) fn alert(id: &str, state: AlertState) -> Alert {
    Alert {
        id: AlertId::new(id),
        kind: AlertKind::ErrorsInARow,
        student: StudentId::new("a"),
        cell_id: None,
        since: time(0),
        reason: "three errors in a row".to_owned(),
        state,
    }
}

fn parsed(frame: &Bytes) -> Value {
    serde_json::from_slice(frame).unwrap()
}

fn lines_of(frame: &Bytes, member: &str) -> Vec<String> {
    parsed(frame)[member]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["eventId"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_delta_is_the_frame_of_the_contract() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));

    let delta = feed.tick(at(1)).unwrap();

    let student = json!({
        "id": "a", "name": "山田 a", "team": "チームA", "status": "active",
        "notebook": "lesson/01.ipynb", "cellId": "cell-1", "cellIndex": 3,
        "executions": 1, "errors": 0, "consecutiveErrors": 0,
        "lastActivity": time(0).to_string(), "help": null,
    });
    let event = json!({
        "eventId": "event-1", "eventType": "cell_executed", "student": "a",
        "notebook": "lesson/01.ipynb", "cellId": "cell-1", "cellIndex": 3,
        "eventTime": time(0).to_string(),
    });
    let expected = json!({
        "type": "delta", "classroom": "default", "epoch": "epoch-1", "after": 0, "seq": 1,
        "students": [student], "removed": [], "events": [event], "eventsOmitted": 0, "alerts": [],
    });
    assert_eq!(parsed(&delta.frame), expected);
    assert!(delta.frame.starts_with(br#"{"type":"delta""#));
}

#[test]
fn a_snapshot_is_the_frame_of_the_contract_and_the_state_at_its_seq() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.tick(at(0));
    feed.apply(update("a", 2, 2, 1), at(1));

    let snapshot = parsed(&feed.snapshot(at(1)));

    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["epoch"], "epoch-1");
    assert_eq!(snapshot["seq"], 1);
    assert_eq!(snapshot["students"][0]["executions"], 1, "not ticked yet");
    assert_eq!(snapshot["recent"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot["alerts"], json!([]));
}

#[test]
fn a_snapshot_is_serialised_once_until_the_next_delta() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.tick(at(0));

    let first = feed.snapshot(at(0));
    let second = feed.snapshot(at(0));
    feed.apply(update("a", 2, 2, 0), at(0));
    feed.tick(at(0));
    let third = feed.snapshot(at(0));

    assert_eq!(first.as_ptr(), second.as_ptr());
    assert_ne!(first, third);
}

#[test]
fn nothing_new_is_no_delta() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.tick(at(0));

    assert!(!feed.is_dirty());
    assert!(feed.tick(at(1)).is_none());
    assert_eq!(feed.cursor().seq, 1);
}

#[test]
fn an_update_heard_twice_or_late_changes_nothing() {
    let mut feed = feed();
    feed.apply(update("a", 5, 3, 0), at(0));
    feed.tick(at(0));

    feed.apply(update("a", 5, 3, 0), at(1));
    feed.apply(update("a", 4, 2, 0), at(1));

    assert!(!feed.is_dirty());
    assert!(feed.tick(at(1)).is_none());
}

#[test]
fn a_student_who_looks_the_same_is_in_no_delta() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.tick(at(0));
    let mut same = update("a", 2, 1, 0);
    same.event = None;
    feed.apply(same, at(0));

    assert!(feed.tick(at(0)).is_none());
}

#[test]
fn a_status_changes_by_silence_alone() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.apply(update("b", 2, 1, 60), at(60));
    feed.tick(at(60));

    assert_eq!(feed.next_status_change(), Some(at(120)));
    assert!(feed.tick(at(119)).is_none());
    let delta = feed.tick(at(120)).unwrap();
    assert_eq!(delta.students.len(), 1);
    assert_eq!(delta.students[0].status, StudentStatus::Idle);
    assert!(delta.events.is_empty());
    assert_eq!(feed.next_status_change(), Some(at(180)));

    feed.tick(at(180));
    assert_eq!(feed.next_status_change(), Some(at(1800)));
    assert_eq!(feed.tick(at(1800)).unwrap().students[0].id.as_str(), "a");
    feed.tick(at(1860));
    assert_eq!(
        feed.next_status_change(),
        None,
        "both are offline and stay so"
    );
}

#[test]
fn an_event_puts_the_change_by_silence_off() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.tick(at(0));
    feed.apply(update("a", 2, 2, 100), at(100));

    assert_eq!(feed.next_status_change(), Some(at(220)));
}

#[test]
fn what_is_restored_is_in_the_snapshot_and_in_no_delta() {
    let mut feed = feed();
    feed.restore(
        vec![
            Arc::new(view("a", 7, 4, 0)),
            Arc::new(view("b", 9, 2, -3600)),
        ],
        vec![line(&view("a", 7, 4, 0))],
        Position(9),
    );

    assert!(feed.tick(at(1)).is_none());
    let snapshot = parsed(&feed.snapshot(at(1)));
    assert_eq!(snapshot["seq"], 0);
    assert_eq!(snapshot["students"][0]["status"], "active");
    assert_eq!(snapshot["students"][1]["status"], "offline");
    assert_eq!(snapshot["recent"][0]["eventId"], "event-7");
    assert_eq!(feed.next_status_change(), Some(at(120)));
}

#[test]
fn lines_that_an_earlier_incarnation_told_are_not_repeated() {
    let mut feed = feed();
    feed.restore(vec![Arc::new(view("a", 8, 4, 0))], Vec::new(), Position(6));

    for position in 5..=9 {
        feed.apply(update("a", position, position - 4, 0), at(0));
    }
    let delta = feed.tick(at(0)).unwrap();

    // 7 and 8 are in the restored view, but nobody was told of them
    assert_eq!(
        lines_of(&delta.frame, "events"),
        ["event-7", "event-8", "event-9"]
    );
    assert_eq!(delta.students[0].executions, 5);
}

#[test]
fn a_student_restored_late_is_still_taken_from_a_newer_view() {
    let mut feed = feed();
    feed.restore(Vec::new(), Vec::new(), Position(100));

    feed.apply(update("a", 50, 3, 0), at(0));
    let delta = feed.tick(at(0)).unwrap();

    assert_eq!(delta.students.len(), 1);
    assert!(delta.events.is_empty());
}

#[test]
fn alerts_are_told_when_they_open_and_close_and_stand_in_the_snapshot_while_open() {
    let mut feed = feed();
    let mut opened = view("a", 1, 3, 0);
    opened.alerts = vec![alert("x", AlertState::Open)];
    let mut update = update_of(opened);
    update.alerts = vec![alert("x", AlertState::Open)];
    feed.apply(update, at(0));

    let delta = feed.tick(at(0)).unwrap();
    assert_eq!(delta.alerts[0].state, AlertState::Open);
    assert_eq!(parsed(&feed.snapshot(at(0)))["alerts"][0]["id"], "x");

    // the update that closed it was left out for a newer one: the view tells
    feed.apply(update_of(view("a", 3, 4, 1)), at(1));
    let delta = feed.tick(at(1)).unwrap();
    assert_eq!(delta.alerts.len(), 1);
    assert_eq!(delta.alerts[0].state, AlertState::Closed);
    assert_eq!(parsed(&feed.snapshot(at(1)))["alerts"], json!([]));
}

#[test]
fn a_removed_student_is_told_and_may_come_back() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.tick(at(0));

    feed.remove(&StudentId::new("a"));
    let gone = feed.tick(at(1)).unwrap();
    assert_eq!(gone.removed, [StudentId::new("a")]);
    assert_eq!(parsed(&feed.snapshot(at(1)))["students"], json!([]));
    assert_eq!(feed.next_status_change(), None);

    feed.apply(update("a", 2, 1, 2), at(2));
    let back = feed.tick(at(2)).unwrap();
    assert!(back.removed.is_empty());
    assert_eq!(back.students.len(), 1);
}

#[test]
fn events_beyond_the_limit_are_counted() {
    let limits = FeedLimits {
        max_events_per_delta: 3,
        recent: 2,
        ..FeedLimits::default()
    };
    let mut feed = Feed::new(classroom(), "e".to_owned(), limits);
    for position in 1..=5 {
        feed.apply(update("a", position, position, 0), at(0));
    }

    let delta = feed.tick(at(0)).unwrap();

    assert_eq!(
        lines_of(&delta.frame, "events"),
        ["event-3", "event-4", "event-5"]
    );
    assert_eq!(delta.events_omitted, 2);
    assert_eq!(
        lines_of(&feed.snapshot(at(0)), "recent"),
        ["event-4", "event-5"]
    );
}

fn feed_with_deltas(count: u64, limits: FeedLimits) -> Feed {
    let mut feed = Feed::new(classroom(), "epoch-1".to_owned(), limits);
    for position in 1..=count {
        feed.apply(update("a", position, position, 0), at(0));
        feed.tick(at(0)).unwrap();
    }
    feed
}

fn since(epoch: &str, seq: u64) -> Cursor {
    Cursor {
        epoch: epoch.to_owned(),
        seq,
    }
}

fn resumed(resume: Resume) -> Vec<Arc<Delta>> {
    match resume {
        Resume::Deltas(deltas) => deltas,
        Resume::Reset { reason } => panic!("reset: {reason}"),
    }
}

fn reset(resume: Resume) -> &'static str {
    match resume {
        Resume::Deltas(deltas) => panic!("{} deltas", deltas.len()),
        Resume::Reset { reason } => reason,
    }
}

#[test]
fn a_console_that_missed_little_gets_it_delta_by_delta() {
    let mut feed = feed_with_deltas(5, FeedLimits::default());

    let missed = resumed(feed.resume(&since("epoch-1", 2)));

    assert_eq!(
        missed.iter().map(|delta| delta.seq).collect::<Vec<_>>(),
        [3, 4, 5]
    );
    assert!(resumed(feed.resume(&since("epoch-1", 5))).is_empty());
}

#[test]
fn a_console_that_missed_much_gets_it_as_one_and_shares_it_with_the_others() {
    let mut feed = feed_with_deltas(100, FeedLimits::default());

    let first = resumed(feed.resume(&since("epoch-1", 10)));
    feed.resume(&since("epoch-1", 20)); // one that was cut off a little later
    let second = resumed(feed.resume(&since("epoch-1", 10)));

    assert_eq!((first.len(), first[0].after, first[0].seq), (1, 10, 100));
    assert_eq!(first[0].students.len(), 1);
    assert_eq!(first[0].students[0].executions, 100);
    assert_eq!(first[0].events.len(), 90);
    assert!(Arc::ptr_eq(&first[0], &second[0]));

    feed.apply(update("a", 101, 101, 0), at(0));
    feed.tick(at(0));
    assert_eq!(resumed(feed.resume(&since("epoch-1", 10)))[0].seq, 101);
}

#[test]
fn a_console_that_cannot_resume_is_told_why() {
    let limits = FeedLimits {
        remember_deltas: 3,
        ..FeedLimits::default()
    };
    let mut feed = feed_with_deltas(10, limits);

    assert_eq!(reset(feed.resume(&since("epoch-0", 9))), "epoch");
    assert_eq!(reset(feed.resume(&since("epoch-1", 11))), "unknown");
    assert_eq!(reset(feed.resume(&since("epoch-1", 6))), "forgotten");
    assert_eq!(resumed(feed.resume(&since("epoch-1", 7))).len(), 3);
}

#[test]
fn what_is_remembered_is_bounded_in_bytes() {
    let limits = FeedLimits {
        remember_bytes: 4000,
        ..FeedLimits::default()
    };
    let mut feed = feed_with_deltas(50, limits);
    let size = feed.tick(at(500)).unwrap().frame.len();

    let oldest = (0..=51)
        .find(|seq| matches!(feed.resume(&since("epoch-1", *seq)), Resume::Deltas(_)))
        .unwrap();

    assert!(oldest > 40 && oldest < 51, "{oldest}");
    assert!(size < 4000);
}

#[test]
fn what_nobody_comes_back_for_is_forgotten_after_a_minute() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.tick(at(0));
    feed.apply(update("a", 2, 2, 30), at(30));
    feed.tick(at(30));
    assert_eq!(feed.next_tick(), Some(at(90)));

    assert!(feed.tick(at(60)).is_none());
    assert_eq!(reset(feed.resume(&since("epoch-1", 0))), "forgotten");
    assert_eq!(resumed(feed.resume(&since("epoch-1", 1))).len(), 1);

    assert!(feed.tick(at(90)).is_none());
    assert_eq!(reset(feed.resume(&since("epoch-1", 1))), "forgotten");
    assert!(resumed(feed.resume(&since("epoch-1", 2))).is_empty());
    assert_eq!(feed.next_tick(), feed.next_status_change());
}

#[test]
fn who_is_forgotten_is_in_no_snapshot_and_who_missed_it_begins_anew() {
    let mut feed = feed();
    feed.apply(update("a", 1, 1, 0), at(0));
    feed.apply(update("b", 2, 1, 0), at(0));
    feed.tick(at(0)).unwrap();
    let before = feed.cursor();
    feed.apply(update("a", 3, 2, 1), at(1));

    feed.forget(&StudentId::new("a"));

    let delta = feed.tick(at(1)).unwrap();
    let told: Value = serde_json::from_slice(&delta.frame).unwrap();
    assert_eq!(told["removed"], json!(["a"]));
    assert_eq!(told["events"], json!([]));
    let snapshot = feed.snapshot(at(1));
    let shown: Value = serde_json::from_slice(&snapshot).unwrap();
    assert_eq!(shown["students"].as_array().unwrap().len(), 1);
    assert_eq!(shown["recent"].as_array().unwrap().len(), 1);
    // the delta of before is forgotten with them
    let mut other = self::feed();
    other.apply(update("a", 1, 1, 0), at(0));
    other.tick(at(0)).unwrap();
    let start = Cursor { seq: 0, ..before };
    other.forget(&StudentId::new("a"));
    assert!(matches!(other.resume(&start), Resume::Reset { .. }));
}
