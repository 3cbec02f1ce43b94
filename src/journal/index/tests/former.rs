use super::*;

use crate::journal::index::former;

/// As the version before wrote it.
fn write_former(root: &Path, has_heard: bool) {
    let database = fjall::Database::builder(root).open().unwrap();
    for (day, numbers) in [(TODAY, 0..500), (TODAY + 1, 500..600)] {
        let name = format!("identity-{day}");
        let keyspace = database
            .keyspace(&name, fjall::KeyspaceCreateOptions::default)
            .unwrap();
        for indexed in on_day(day, numbers.clone()) {
            let mut value = [0; 24];
            value[..16].copy_from_slice(&indexed.identity.content);
            value[16..].copy_from_slice(&indexed.position.0.to_be_bytes());
            keyspace.insert(indexed.identity.key, value).unwrap();
        }
        let to = up_to(numbers.end, day);
        let mut value = to.position.0.to_be_bytes().to_vec();
        value.extend_from_slice(&to.accepted.at.as_millis().to_be_bytes());
        value.extend_from_slice(&to.segment.0.to_be_bytes());
        value.extend_from_slice(&to.offset.to_be_bytes());
        if has_heard {
            value.extend_from_slice(&to.accepted.heard.as_millis().to_be_bytes());
        }
        value.extend_from_slice(to.journal.as_str().as_bytes());
        keyspace.insert("checkpoint", value).unwrap();
    }
}

#[test]
fn the_index_of_the_version_before_is_taken_over() {
    for has_heard in [false, true] {
        let bench = Bench::new();
        write_former(&bench.root(), has_heard);
        let mut expected = up_to(600, TODAY + 1);
        if !has_heard {
            expected.accepted = Moment::of_wall(expected.accepted.at);
        }

        let (index, known) = bench.open();
        assert_eq!(known.checkpoint.as_ref(), Some(&expected));
        assert!(knows(&index, 0..600) && knows_none(&index, 600..1000));
        assert!(!former::is_there(&bench.root()));
        drop(index);

        let (index, known) = bench.open();
        assert_eq!(known.checkpoint, Some(expected));
        index.expire(1);
        assert!(knows_none(&index, 0..500) && knows(&index, 500..600));
    }
}

#[test]
fn taking_over_begins_again_if_it_did_not_end() {
    let bench = Bench::new();
    write_former(&bench.root(), true);
    let (index, _) = Index::open_files(&bench.root()).unwrap();
    former::convert(&index).unwrap();
    drop(index);
    // the last run, which says how far the index is, was not written yet
    fs::remove_file(run_files(&bench.root()).pop().unwrap()).unwrap();

    let (index, known) = bench.open();

    assert_eq!(known.checkpoint, Some(up_to(600, TODAY + 1)));
    assert!(knows(&index, 0..600) && !former::is_there(&bench.root()));
}
