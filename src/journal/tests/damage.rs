use super::*;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::storage::format::UnknownFormat;

use scan::{Found, Scanner};
use segment::SEGMENT_HEADER_BYTES;

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_found_as_such() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b"]).await;
    drop(journal);
    let path = &bench.segment_files()[0];
    let [_, second] = frames_of(path)[..] else {
        panic!("two frames were written");
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let used = second + 500;

    let mut bytes = vec![0; 500];
    file.read_exact_at(&mut bytes, second).unwrap();
    let frame_end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for torn_at in (1..frame_end).rev() {
        // as if these bytes had never been written
        file.write_all_at(&vec![0; bytes.len() - torn_at], second + torn_at as u64)
            .unwrap();

        let mut scanner = Scanner::new(&file, SEGMENT_HEADER_BYTES, used);
        let first = scanner.next().unwrap();
        let torn = scanner.next().unwrap();

        assert!(matches!(first, Some(Found::Frame { .. })), "at {torn_at}");
        assert!(
            matches!(torn, Some(Found::Torn { offset, .. }) if offset == second),
            "at {torn_at}: {torn:?}"
        );
        assert_eq!(scanner.next().unwrap(), None);
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_positions_go_on_behind_the_last_whole_frame() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b", "c"]).await;
    drop(journal);
    bench.lose_index();
    let path = bench.segment_files()[0].clone();
    let last = *frames_of(&path).last().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(last + 50).unwrap();

    let (journal, report) = bench.open();
    let verdicts = append(&journal, &["d", "b"]).await;

    assert_eq!(report.torn_bytes, 50);
    assert_eq!(report.damaged, []);
    assert_eq!(
        verdicts,
        [
            Verdict::Accepted(Position(2)),
            Verdict::Accepted(Position(3))
        ]
    );
    assert_eq!(read_all(&journal).await, expected(&["a", "d", "b"]));
    drop(journal);
    let (journal, report) = bench.open();
    assert_eq!(report.torn_bytes, 0);
    assert_eq!(read_all(&journal).await, expected(&["a", "d", "b"]));
}

#[tokio::test]
async fn nothing_of_a_torn_frame_is_left_behind_a_shorter_one_that_takes_its_place() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &[&"x".repeat(5000)]).await;
    drop(journal);
    bench.lose_index();
    let path = bench.segment_files()[0].clone();
    let last = *frames_of(&path).last().unwrap();
    flip_bit(&path, last + 3000);

    let (journal, torn) = bench.open();
    append(&journal, &["b"]).await;
    drop(journal);
    bench.lose_index();
    let (journal, clean) = bench.open();

    assert!(torn.torn_bytes > 5000);
    assert_eq!((clean.torn_bytes, clean.damaged), (0, vec![]));
    assert_eq!(read_all(&journal).await, expected(&["a", "b"]));
}

#[tokio::test]
async fn acknowledged_entries_lost_at_the_end_are_damage_and_their_positions_are_not_given_again() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b", "c"]).await;
    drop(journal);
    let path = bench.segment_files()[0].clone();
    let last = *frames_of(&path).last().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(last + 50).unwrap();

    let (journal, report) = bench.open();
    let verdicts = append(&journal, &["d"]).await;

    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].lost_entries(), 2);
    assert_eq!(verdicts, [Verdict::Accepted(Position(4))]);
    let read = read_all(&journal).await;
    assert_eq!(read, [(1, "a".to_owned()), (4, "d".to_owned())]);
}

/// A journal of two requests; the last, which was acknowledged, is damaged, and still there.
async fn with_a_damaged_end() -> (Bench, PathBuf) {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b", "c"]).await;
    drop(journal);
    let path = bench.segment_files()[0].clone();
    flip_bit(&path, *frames_of(&path).last().unwrap() + 60);
    // the runs are gone, as if it was killed, but not the note how far it was
    for file in std::fs::read_dir(bench.index_dir()).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|kind| kind == "run") {
            std::fs::remove_file(file).unwrap();
        }
    }
    (bench, path)
}

#[tokio::test]
async fn an_acknowledged_end_of_which_no_copy_can_be_made_stops_the_start_and_is_not_cut() {
    let (bench, path) = with_a_damaged_end().await;
    let before = std::fs::read(&path).unwrap();
    let damaged = bench.journal_dir().join("damaged");
    std::fs::write(&damaged, b"in the way").unwrap();

    let refused = bench.try_open().err().unwrap();

    assert!(
        matches!(refused, JournalError::NotKept { ref dir, .. } if *dir == damaged),
        "{refused}"
    );
    assert!(std::fs::read(&path).unwrap() == before);
    std::fs::remove_file(&damaged).unwrap();
    let (_, report) = bench.open();
    assert_eq!(report.damaged[0].lost_entries(), 2);
    assert_eq!(std::fs::read_dir(&damaged).unwrap().count(), 1);
}

#[tokio::test]
async fn an_acknowledged_end_that_is_cut_is_kept_however_many_pieces_are_kept_already() {
    let (bench, path) = with_a_damaged_end().await;
    let before = std::fs::read(&path).unwrap();
    let damaged = bench.journal_dir().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    for n in 0..256 {
        std::fs::write(damaged.join(format!("{n}.bin")), b"x").unwrap();
    }

    let (_, report) = bench.open();

    let spot = &report.damaged[0];
    let (from, bytes) = (spot.offset as usize, spot.bytes as usize);
    let name = format!("{:020}-{from}-{bytes}.bin", 1);
    let kept = std::fs::read(damaged.join(name)).unwrap();
    assert!(kept == before[from..from + bytes]);
}

#[tokio::test]
async fn positions_of_a_lost_end_are_not_given_again_even_if_the_index_is_lost_later() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b", "c"]).await;
    drop(journal);
    let path = bench.segment_files()[0].clone();
    let last = *frames_of(&path).last().unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(last).unwrap();
    let (journal, first) = bench.open();
    drop(journal);

    bench.lose_index();
    let (journal, second) = bench.open();

    assert_eq!((first.end, second.end), (Position(3), Position(3)));
    assert_eq!(
        append(&journal, &["d"]).await,
        [Verdict::Accepted(Position(4))]
    );
    read_all(&journal).await;
    assert_eq!(journal.damaged()[0].lost_entries(), 2);
}

#[tokio::test]
async fn a_bad_end_that_a_store_has_read_is_damage_and_not_a_torn_write() {
    let mut bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b"]).await;
    drop(journal);
    bench.lose_index();
    let path = bench.segment_files()[0].clone();
    let last = *frames_of(&path).last().unwrap();
    flip_bit(&path, last + 60);

    bench.begin_after = Position(2);
    let (journal, report) = bench.open();

    assert_eq!(report.damaged.len(), 1);
    assert_eq!(
        append(&journal, &["c"]).await,
        [Verdict::Accepted(Position(3))]
    );
}

/// Flips a bit in the middle frame of three; only what was in it is missing.
async fn only_the_damaged_frame_goes(loses_index: bool) {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b", "c"]).await;
    append(&journal, &["d"]).await;
    drop(journal);
    let path = bench.segment_files()[0].clone();
    let middle = frames_of(&path)[1];
    flip_bit(&path, middle + 60);
    if loses_index {
        bench.lose_index();
    }

    let (journal, _) = bench.open();
    let read = read_all(&journal).await;
    let verdicts = append(&journal, &["d", "e"]).await;

    assert_eq!(read, [(1, "a".to_owned()), (4, "d".to_owned())]);
    assert_eq!(
        verdicts,
        [Verdict::Duplicate, Verdict::Accepted(Position(5))]
    );
    let damaged = journal.damaged();
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].lost_entries(), 2);
    let kept = std::fs::read_dir(bench.journal_dir().join("damaged")).unwrap();
    let kept: Vec<_> = kept.map(|file| file.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::metadata(&kept[0]).unwrap().len(), damaged[0].bytes);
}

#[tokio::test]
async fn of_a_damaged_frame_met_while_reading_only_that_frame_goes() {
    only_the_damaged_frame_goes(false).await;
}

#[tokio::test]
async fn of_a_damaged_frame_met_at_the_start_only_that_frame_goes() {
    only_the_damaged_frame_goes(true).await;
}

#[tokio::test]
async fn damage_in_closed_segments_costs_only_the_damaged_frames() {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    let names: Vec<_> = (0..60).map(|n| format!("{n:0200}")).collect();
    for name in &names {
        append(&journal, &[name]).await;
    }
    drop(journal);
    let files = bench.segment_files();
    assert!(files.len() > 3);
    let in_first = *frames_of(&files[0]).last().unwrap();
    let in_second = frames_of(&files[1])[0];
    flip_bit(&files[0], in_first + 40);
    // a lost header, too
    flip_bit(&files[1], in_second);
    flip_bit(&files[1], 20);

    for loses_index in [false, true] {
        if loses_index {
            bench.lose_index();
        }
        let (journal, _) = bench.open();
        let read = read_all(&journal).await;

        assert_eq!(journal.damaged().len(), 2);
        let lost: u64 = journal
            .damaged()
            .iter()
            .map(DamagedSpot::lost_entries)
            .sum();
        assert_eq!((read.len(), lost), (58, 2));
        assert!(read.iter().all(|(n, text)| *text == names[*n as usize - 1]));
    }
}

#[tokio::test]
async fn a_segment_of_the_future_stops_the_start_and_is_left_as_it_is() {
    let bench = Bench::new();
    drop(bench.open());
    let path = bench.segment_files()[0].clone();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 3;
    let crc = crc32fast::hash(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();

    let error = bench.try_open().err().unwrap();

    assert!(matches!(
        error,
        JournalError::Newer(UnknownFormat { ref found, .. }) if found == "3"
    ));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn inspecting_a_running_journal_tells_of_damage_and_changes_nothing() {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    for name in ["secret one", "secret two", "secret three"] {
        append(&journal, &[name]).await;
    }
    let path = bench.segment_files()[0].clone();
    let middle = frames_of(&path)[1];
    flip_bit(&path, middle + 50);
    let before = std::fs::read(&path).unwrap();

    let survey = inspect::survey(bench.dir.path()).unwrap();

    assert_eq!(survey.journal, Some(journal.id()));
    assert_eq!((survey.segments[0].frames, survey.damaged_places()), (2, 1));
    assert_eq!(
        (survey.segments[0].first, survey.segments[0].last),
        (Some(Position(1)), Some(Position(3)))
    );
    let mut shown = Vec::new();
    inspect::show(&survey, &mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("position 2 is missing"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_run_of_the_index_that_cannot_be_read_for_another_reason_is_not_told_as_damaged() {
    let bench = Bench::new();
    drop(bench.open());
    let run = bench.index_dir().join("000000000099.run");
    std::fs::create_dir(&run).unwrap();

    let refused = inspect::survey(bench.dir.path()).unwrap_err();

    assert!(
        matches!(refused, JournalError::Io { ref path, .. } if *path == run),
        "{refused}"
    );
}
