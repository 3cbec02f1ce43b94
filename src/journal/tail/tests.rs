use mimamori_actors::domain::{Heard, Record, Rejection, Timestamp};

use super::*;

const FRAME_BYTES: usize = 1000;

fn frame(position: u64) -> CachedFrame {
    let record = Record::Rejection(Rejection {
        classroom: mimamori_actors::domain::ClassroomId::new("default"),
        index: 0,
        code: String::new(),
        detail: String::new(),
        pointer: String::new(),
        event_id: None,
        payload: String::new(),
    });
    let entry = Entry {
        position: Position(position),
        received_at: Timestamp::default(),
        heard_at: Heard::default(),
        record,
    };
    CachedFrame {
        entries: vec![Arc::new(entry)],
        bytes: FRAME_BYTES,
    }
}

/// What the writer does with one more frame.
fn append(tail: &Tail, position: u64) {
    if tail.is_wanted() {
        tail.push(vec![frame(position)]);
    } else {
        tail.skip(1, Position(position));
    }
}

fn read(tail: &Tail, after: u64) -> Option<Vec<u64>> {
    tail.note_reader(Position(after));
    let batch = tail.read(Position(after), usize::MAX)?;
    let positions = batch.entries.iter().map(|entry| entry.position.0);
    Some(positions.collect())
}

fn small() -> Tail {
    Tail::new(10 * (FRAME_BYTES + ENTRY_BYTES), Position::ZERO)
}

#[test]
fn a_reader_that_keeps_up_finds_everything_in_memory() {
    let tail = small();

    for position in 1..=100 {
        append(&tail, position);

        assert_eq!(read(&tail, position - 1), Some(vec![position]));
    }
    assert_eq!(read(&tail, 90), Some((91..=100).collect()));
    assert_eq!(read(&tail, 89), None);
}

#[test]
fn nothing_is_kept_that_would_be_gone_when_a_reader_gets_there() {
    let tail = small();

    for position in 1..=100_000 {
        append(&tail, position);
    }

    let state = tail.state.read().unwrap();
    assert_eq!((state.frames.len(), state.bytes), (0, 0));
    drop(state);
    assert_eq!(read(&tail, 99_999), None);
    assert_eq!(read(&tail, 100_000), Some(vec![]));
}

#[test]
fn a_reader_that_comes_near_finds_what_comes_behind() {
    let tail = small();
    for position in 1..=100_000 {
        append(&tail, position);
    }

    // this one is read from the files
    assert_eq!(read(&tail, 100_000 - NEAR_ENTRIES + 1), None);
    for position in 100_001..=100_005 {
        append(&tail, position);
    }

    assert_eq!(read(&tail, 99_999), None);
    let behind: Vec<_> = (100_001..=100_005).collect();
    assert_eq!(read(&tail, 100_000), Some(behind));
}
