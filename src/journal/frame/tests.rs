use mimamori_actors::domain::{ClassroomId, Rejection};
use proptest::prelude::*;

use super::*;

fn new_record(text: &str, identity: Option<Identity>) -> NewRecord {
    let record = Record::Rejection(Rejection {
        classroom: ClassroomId::new("default"),
        index: 0,
        code: "bad_time".to_owned(),
        detail: String::new(),
        pointer: String::new(),
        event_id: None,
        payload: text.to_owned(),
    });
    NewRecord {
        record,
        identity,
        json: None,
    }
}

fn frame_of(batch: Vec<NewRecord>, first: u64, received_at: i64) -> (Vec<u8>, Vec<Record>) {
    let kept = vec![true; batch.len()];
    let mut sealed = Draft::new(batch).keep(&kept).unwrap();
    let header = FrameHeader {
        version: VERSION,
        payload_bytes: (sealed.frame.len() - HEADER_BYTES) as u32,
        entries: sealed.records.len() as u32,
        first: Position(first),
        received_at: Timestamp::from_millis(received_at),
        heard_at: Heard::from_millis(received_at / 3),
    };
    header.seal(&mut sealed.frame, sealed.payload_crc);
    (sealed.frame, sealed.records)
}

fn identity() -> impl Strategy<Value = Option<Identity>> {
    proptest::option::of(
        (any::<[u8; 16]>(), any::<[u8; 16]>())
            .prop_filter("zeros mean none", |(key, _)| *key != [0; 16])
            .prop_map(|(key, content)| Identity { key, content }),
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        texts in proptest::collection::vec((any::<String>(), identity()), 1..5),
        first in 1_u64..u64::MAX / 2,
        received_at in any::<i64>(),
        behind in any::<Vec<u8>>(),
    ) {
        let batch = texts.iter().map(|(text, id)| new_record(text, *id)).collect();

        let (mut frame, written) = frame_of(batch, first, received_at);
        frame.extend(behind);

        let Check::Whole(header) = check(&frame) else {
            return Err(TestCaseError::fail("not whole"));
        };
        prop_assert_eq!(header.received_at, Timestamp::from_millis(received_at));
        prop_assert_eq!(header.heard_at, Heard::from_millis(received_at / 3));
        let payload = &frame[HEADER_BYTES..header.frame_bytes()];
        let read: Vec<_> = records(&header, payload).unwrap();
        let read: Vec<_> = read.into_iter().filter_map(|found| match found { Found::Record(record) => Some(record), Found::Erased | Found::Unreadable => None }).collect();
        prop_assert_eq!(read, written);
        let known: Vec<_> = identities(&header, payload).into_iter().map(|(_, id)| id).collect();
        let expected: Vec<_> = texts.iter().filter_map(|(_, id)| *id).collect();
        prop_assert_eq!(known, expected);
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic(bytes in any::<Vec<u8>>()) {
        let mut like_a_frame = MAGIC.to_vec();
        like_a_frame.extend(&bytes);

        prop_assert_eq!(matches!(check(&bytes), Check::Whole(_)), false);
        prop_assert_eq!(matches!(check(&like_a_frame), Check::Whole(_)), false);
    }

    #[test]
    fn one_flipped_bit_is_found(text in "[a-z]{0,40}", place in any::<prop::sample::Index>(), bit in 0..8) {
        let (mut frame, _) = frame_of(vec![new_record(&text, None)], 1, 2);

        let place = place.index(frame.len());
        frame[place] ^= 1_u8 << bit;

        prop_assert!(!matches!(check(&frame), Check::Whole(_)));
    }
}

/// What the program before wrote: the fixture is a segment of a journal of its own.
#[test]
fn a_frame_of_the_version_before_is_read_and_was_heard_when_it_was_received() {
    let segment = std::fs::read(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/journal/00000000000000000001.v1.seg"),
    )
    .unwrap();

    let Check::Whole(header) = check(&segment[128..]) else {
        panic!("not whole");
    };

    assert_eq!((header.version, header.entries), (1, 3));
    assert_eq!(header.heard_at, Heard::of_wall(header.received_at));
    let payload = &segment[128 + HEADER_BYTES..128 + header.frame_bytes()];
    let read = records(&header, payload).unwrap();
    assert!(matches!(read[0], Found::Record(Record::Event(_))));
    assert_eq!(identities(&header, payload).len(), 2);
}

/// The version before finds the checksum right and the version unknown: it stops, and cuts nothing.
#[test]
fn the_version_before_stops_at_a_frame_of_ours() {
    let (frame, _) = frame_of(vec![new_record("x", None)], 1, 2);

    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[HEADER_BYTES..]);
    hasher.update(&frame[..CRC_AT]);

    assert_eq!(hasher.finalize(), u32_at(&frame, CRC_AT));
    assert_eq!(u32_at(&frame, 8) as usize, frame.len() - HEADER_BYTES);
    assert_ne!(frame[4], 1);
}

#[test]
fn a_frame_of_the_future_is_told_from_a_damaged_one() {
    let (mut frame, _) = frame_of(vec![new_record("x", None)], 1, 2);

    frame[4] = 9;
    let crc = whole_crc(
        payload_crc(&frame[HEADER_BYTES..]),
        &frame[..CRC_AT],
        (frame.len() - HEADER_BYTES) as u32,
    );
    frame[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());

    assert_eq!(check(&frame), Check::UnknownVersion(9));
}

#[test]
fn a_record_that_cannot_be_read_costs_the_others_nothing() {
    let json = br#"[{"of_the_future":1},{"rejection":{"classroom":"c","index":0,"code":"x","detail":"","pointer":"","event_id":null,"payload":""}}]"#;
    let mut payload = vec![0; 64];
    payload.extend_from_slice(json);
    payload.extend_from_slice(&[0; HEARD_BYTES]);
    let header = FrameHeader {
        version: VERSION,
        payload_bytes: payload.len() as u32,
        entries: 2,
        first: Position(1),
        received_at: Timestamp::default(),
        heard_at: Heard::default(),
    };

    let read = records(&header, &payload).unwrap();

    assert_eq!(read[0], Found::Unreadable);
    assert!(matches!(read[1], Found::Record(Record::Rejection(_))));
}

#[test]
fn only_what_is_kept_gets_into_the_frame() {
    let batch = ["a", "b", "c"].map(|text| new_record(text, None)).to_vec();

    let sealed = Draft::new(batch.clone())
        .keep(&[true, false, true])
        .unwrap();

    assert_eq!(sealed.records.len(), 2);
    let json_end = sealed.frame.len() - HEARD_BYTES;
    let json = &sealed.frame[HEADER_BYTES + 2 * IDENTITY_BYTES..json_end];
    let written: Vec<Record> = serde_json::from_slice(json).unwrap();
    assert_eq!(written, sealed.records);
    assert!(Draft::new(batch).keep(&[false; 3]).is_none());
}
