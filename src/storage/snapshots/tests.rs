use super::*;

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

    snapshots.put_session(&key("c", "s"), b"old").unwrap();
    snapshots.put_session(&key("c", "s"), b"new").unwrap();
    let at_once = snapshots.session(&key("c", "s")).unwrap();
    snapshots.commit(&journal, b"router", Position(7)).unwrap();
    drop(snapshots);
    let snapshots = FjallSnapshots::open(dir.path()).unwrap();

    assert_eq!(at_once.as_deref(), Some(b"new".as_slice()));
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
    snapshots.put_session(&key("c", "s"), b"state").unwrap();
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
