use std::os::unix::fs::FileExt;

use mimamori_actors::domain::Heard;

use super::*;

/// A frame of one entry with about so many bytes.
fn frame_of(first: u64, bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; frame::HEADER_BYTES];
    frame.extend_from_slice(&[7; 32]);
    frame.extend_from_slice(format!("[\"{}\"]", "x".repeat(bytes)).as_bytes());
    let crc = frame::payload_crc(&frame[frame::HEADER_BYTES..]);
    frame.extend_from_slice(&[0; 8]);
    let header = FrameHeader {
        version: frame::VERSION,
        payload_bytes: u32::try_from(frame.len() - frame::HEADER_BYTES).unwrap(),
        entries: 1,
        first: Position(first),
        received_at: Timestamp::from_millis(1),
        heard_at: Heard::from_millis(2),
    };
    header.seal(&mut frame, crc);
    frame
}

/// A file with one frame, and zeros up to so many bytes.
fn one_frame_in(bytes: u64) -> (File, u64) {
    let file = tempfile::tempfile().unwrap();
    let frame = frame_of(1, 10);
    file.write_all_at(&frame, SEGMENT_HEADER_BYTES).unwrap();
    file.set_len(bytes).unwrap();
    (file, SEGMENT_HEADER_BYTES + frame.len() as u64)
}

fn begun() -> (Walk, SegmentFound) {
    let mut walk = Walk::default();
    let header = tempfile::tempfile().unwrap();
    let found = walk.begin(Position(1), &header, Path::new("a")).unwrap();
    (walk, found)
}

#[test]
fn what_is_written_while_it_is_looked_at_is_no_hole() {
    let (file, end) = one_frame_in(4 << 20);
    let mut scanner = Scanner::new(&file, SEGMENT_HEADER_BYTES, 4 << 20);
    let (mut walk, mut found) = begun();
    // the window is read, and then the server writes beyond it
    scanner.next().unwrap();
    walk.last = Position(1);
    let second = frame_of(2, 2 << 20);
    let third = frame_of(3, 10);
    file.write_all_at(&second, end).unwrap();
    file.write_all_at(&third, end + second.len() as u64)
        .unwrap();

    let ended = walk.frames(&mut found, (&file, Path::new("a")), &mut scanner);

    let expected = end + (second.len() + third.len()) as u64;
    assert_eq!(ended.unwrap(), (expected, 0));
    assert_eq!(walk.survey.holes, []);
    assert_eq!((found.frames, found.last), (2, Some(Position(3))));
}

#[test]
fn what_is_damaged_is_a_hole_also_at_the_second_look() {
    let (file, end) = one_frame_in(4 << 20);
    file.write_all_at(&frame_of(3, 10), end + 100).unwrap();
    let mut scanner = Scanner::new(&file, SEGMENT_HEADER_BYTES, 4 << 20);
    let (mut walk, mut found) = begun();

    walk.frames(&mut found, (&file, Path::new("a")), &mut scanner)
        .unwrap();

    let holes = walk.survey.holes;
    assert_eq!(holes.len(), 1, "{holes:?}");
    assert_eq!((holes[0].offset, holes[0].bytes), (end, 100));
}

#[test]
fn a_segment_that_is_truncated_to_what_it_holds_is_read_to_its_end() {
    let (file, end) = one_frame_in(4 << 20);
    let mut scanner = Scanner::new(&file, SEGMENT_HEADER_BYTES, 4 << 20);
    let (mut walk, mut found) = begun();
    file.set_len(end).unwrap();

    let ended = walk.frames(&mut found, (&file, Path::new("a")), &mut scanner);

    assert_eq!(ended.unwrap(), (end, 0));
    assert_eq!((found.frames, walk.survey.holes.len()), (1, 0));
}
