use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::storage::embedded::paced::FLUSH_BYTES;

fn key(classroom: &str, student: &str) -> SessionKey {
    SessionKey {
        classroom: ClassroomId::new(classroom),
        student: StudentId::new(student),
    }
}

fn all(snapshots: &FjallSnapshots) -> Vec<(SessionKey, Vec<u8>)> {
    let mut found = Vec::new();
    snapshots
        .all_sessions(&mut |key, state| found.push((key, state.to_vec())))
        .unwrap();
    found.sort();
    found
}

#[test]
fn a_state_is_visible_at_once_and_there_after_a_commit_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = JournalId::new("jrn_a");
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();

    snapshots.put_session(&key("c", "s"), b"\x01old").unwrap();
    snapshots.put_session(&key("c", "s"), b"\x01new").unwrap();
    let at_once = snapshots.session(&key("c", "s")).unwrap();
    snapshots.commit(&journal, b"router", Position(7)).unwrap();
    drop(snapshots);
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();

    assert_eq!(at_once.as_deref(), Some(b"\x01new".as_slice()));
    assert_eq!(snapshots.session(&key("c", "s")).unwrap(), at_once);
    let router = snapshots.router(&journal).unwrap();
    assert_eq!(router, Some((b"router".to_vec(), Position(7))));
    let other = snapshots.router(&JournalId::new("jrn_b")).unwrap();
    assert_eq!(other, None);
    assert_eq!(snapshots.session(&key("c", "t")).unwrap(), None);
}

#[test]
fn no_two_sessions_are_taken_for_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();
    let keys = [
        key("a", "bc"),
        key("ab", "c"),
        key("", "abc"),
        key("a\0b", "c"),
    ];

    for (number, key) in keys.iter().enumerate() {
        snapshots.put_session(key, &[number as u8]).unwrap();
    }

    let mut expected: Vec<_> = keys
        .into_iter()
        .zip(0..)
        .map(|(k, n)| (k, vec![n]))
        .collect();
    expected.sort();
    assert_eq!(all(&snapshots), expected);
}

#[test]
fn a_damaged_database_is_set_aside_and_begun_anew() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("snapshots");
    let journal = JournalId::new("jrn_a");
    let snapshots = FjallSnapshots::open(&dir).unwrap();
    snapshots.put_session(&key("c", "s"), b"\x01state").unwrap();
    snapshots.commit(&journal, b"router", Position(7)).unwrap();
    drop(snapshots);
    for file in fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            fs::write(&path, b"not what was written").unwrap();
        }
    }

    let snapshots = FjallSnapshots::open(&dir).unwrap();

    assert_eq!(snapshots.router(&journal).unwrap(), None);
    assert_eq!(all(&snapshots), []);
    assert!(root.path().join("snapshots.damaged").is_dir());
    snapshots.commit(&journal, b"again", Position(8)).unwrap();
}

#[test]
fn a_second_process_is_told_that_they_are_in_use_and_nothing_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let _open = FjallSnapshots::open(dir.path()).unwrap();

    let error = FjallSnapshots::open(dir.path()).err().unwrap();

    assert!(matches!(error, OpenSnapshotsError::InUse(_)), "{error}");
}

#[test]
fn an_offset_of_a_journal_never_moves_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, other) = (JournalId::new("jrn_a"), JournalId::new("jrn_b"));
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();
    snapshots.commit(&journal, b"newer", Position(7)).unwrap();

    snapshots.commit(&journal, b"late", Position(6)).unwrap();
    let after_late = snapshots.router(&journal).unwrap();
    snapshots.commit(&journal, b"again", Position(7)).unwrap();
    let after_same = snapshots.router(&journal).unwrap();
    snapshots.commit(&other, b"other", Position(1)).unwrap();

    assert_eq!(after_late, Some((b"newer".to_vec(), Position(7))));
    assert_eq!(after_same, Some((b"again".to_vec(), Position(7))));
    let of_other = snapshots.router(&other).unwrap();
    assert_eq!(of_other, Some((b"other".to_vec(), Position(1))));
}

/// A state that says it has everything up to here.
fn state_at(key: &SessionKey, position: u64) -> Vec<u8> {
    let bytes = SessionState::new(key.clone()).encode();
    // before the JSON stand the format and the rows of errors, of which there are none
    let (before, json) = bytes.split_at(bytes.iter().position(|byte| *byte == b'{').unwrap());
    let mut state: serde_json::Value = serde_json::from_slice(json).unwrap();
    state["position"] = position.into();
    [before, state.to_string().as_bytes()].concat()
}

#[test]
fn the_highest_position_is_that_of_the_commit_or_of_a_newer_state() {
    let dir = tempfile::tempdir().unwrap();
    let highest = || FjallSnapshots::open(dir.path()).unwrap().highest_position();

    let empty = highest();
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();
    snapshots
        .put_session(&key("c", "unreadable"), b"\x01?")
        .unwrap();
    snapshots
        .commit(&JournalId::new("jrn_a"), b"", Position(7))
        .unwrap();
    drop(snapshots);
    let committed = highest();
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();
    let newer = key("c", "newer");
    snapshots.put_session(&newer, &state_at(&newer, 9)).unwrap();
    drop(snapshots);

    assert_eq!(empty, Position::ZERO);
    assert_eq!(committed, Position(7));
    assert_eq!(highest(), Position(9));
}

fn attempt(student: &str, position: u64, count: u32) -> Attempt {
    Attempt {
        key: key("c", student),
        position: Position(position),
        count,
    }
}

#[test]
fn attempts_are_there_after_a_restart_without_a_commit_and_gone_once_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let journal = JournalId::new("jrn_a");
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();

    for (student, position, count) in [("s", 7, 1), ("s", 7, 2), ("t", 7, 1), ("s", 9, 1)] {
        snapshots
            .put_attempts(&journal, &attempt(student, position, count))
            .unwrap();
    }
    drop(snapshots);
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();

    let counted = snapshots.attempts(&journal).unwrap();
    let expected = [attempt("s", 7, 2), attempt("t", 7, 1), attempt("s", 9, 1)];
    assert_eq!(counted, expected);
    let of_another = snapshots.attempts(&JournalId::new("jrn_b")).unwrap();
    assert_eq!(of_another, []);
    snapshots.forget_attempts(&journal, Position(8)).unwrap();
    let counted = snapshots.attempts(&journal).unwrap();
    assert_eq!(counted, [attempt("s", 9, 1)]);
}

#[test]
fn attempts_of_another_journal_are_forgotten_with_the_first_that_are() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (JournalId::new("jrn_a"), JournalId::new("jrn_b"));
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();
    snapshots.put_attempts(&one, &attempt("s", 70, 1)).unwrap();

    snapshots.forget_attempts(&other, Position(1)).unwrap();

    assert_eq!(snapshots.attempts(&one).unwrap(), []);
}

#[test]
fn snapshots_that_know_less_than_was_committed_take_no_other_commit() {
    let dir = tempfile::tempdir().unwrap();
    let journal = JournalId::new("jrn_a");
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();
    snapshots.commit(&journal, b"", Position(7)).unwrap();
    // as if the commit behind it had been lost with the handle that wrote it
    *snapshots.committing.lock().unwrap() = Some((journal.clone(), Position(8)));

    let refused = snapshots.commit(&journal, b"", Position(9));

    assert!(refused.is_err());
    let router = snapshots.router(&journal).unwrap();
    assert_eq!(router, Some((Vec::new(), Position(7))));
}

#[test]
fn what_is_in_memory_is_flushed_again_and_again_however_many_write() {
    let dir = tempfile::tempdir().unwrap();
    let journal = JournalId::new("jrn_a");
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();
    let state = [1; 64 << 10];
    let a_writer = FLUSH_BYTES / 4 / (64 << 10) + 1;

    for round in 1..=6 {
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (snapshots, state) = (&snapshots, &state);
                scope.spawn(move || {
                    for student in 0..a_writer {
                        let key = key("c", &format!("{writer}-{student}"));
                        snapshots.put_session(&key, state).unwrap();
                    }
                });
            }
        });
        snapshots
            .commit(&journal, b"router", Position(round))
            .unwrap();
    }

    let deadline = Instant::now() + Duration::from_secs(30);
    let in_memory = || snapshots.files.reading().unwrap().database.in_memory();
    // a write asks for no flush while one is under way: a later one does
    let mut commits = 7..;
    while in_memory() > FLUSH_BYTES {
        assert!(Instant::now() < deadline, "{} bytes wait", in_memory());
        let position = Position(commits.next().unwrap());
        snapshots.commit(&journal, b"router", position).unwrap();
    }
    assert_eq!(all(&snapshots).len() as u64, 4 * a_writer);
}

#[test]
fn who_writes_first_at_a_start_is_not_refused_for_what_a_crash_left_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("snapshots");

    let snapshots = FjallSnapshots::open_by(&dir, busy::open_full).unwrap();

    let journal = JournalId::new("jrn_a");
    snapshots.forget(&key("c", "s"), Position(7)).unwrap();
    snapshots
        .put_attempts(&journal, &attempt("s", 7, 1))
        .unwrap();
}
