mod gone;
mod kept;

use super::*;

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::{Strategy, any};
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use crate::admit::{Admission, StudentKey};
use crate::decode::{cell_monitor, split};
use crate::journal::inspect::survey;
use crate::journal::repair::{Plan, Step};

/// Everything under a directory: names and bytes.
fn all_files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// Repairs it and tells what was done. Looking and planning change nothing, and
/// a second repair changes nothing more.
fn repair(bench: &Bench) -> Vec<String> {
    let before = all_files(bench.dir.path());
    survey(bench.dir.path()).unwrap();
    let plan = Plan::of(bench.dir.path(), Position::ZERO).unwrap();
    assert!(before == all_files(bench.dir.path()), "planning is looking");

    let told = carry_out(&plan);

    let after = all_files(bench.dir.path());
    carry_out(&Plan::of(bench.dir.path(), Position::ZERO).unwrap());
    assert!(
        after == all_files(bench.dir.path()),
        "a second repair changes nothing"
    );
    told
}

fn carry_out(plan: &Plan) -> Vec<String> {
    let mut told = Vec::new();
    plan.carry_out(&mut |step| told.push(step.to_string()))
        .unwrap();
    told
}

/// What was done, each in its first words.
fn deeds(told: &[String]) -> Vec<&str> {
    told.iter()
        .map(|line| line.split(':').next().unwrap())
        .collect()
}

/// Three requests with the positions 1, 2 and 3, and 4.
async fn three_requests() -> Bench {
    let bench = Bench::new();
    let (journal, _) = bench.open();
    append(&journal, &["a"]).await;
    append(&journal, &["b", "c"]).await;
    append(&journal, &["d"]).await;
    drop(journal);
    bench
}

/// The runs of the index.
fn runs(bench: &Bench) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = all_files(&bench.index_dir()).into_iter().collect();
    files.retain(|(path, _)| path.extension().is_some_and(|kind| kind == "run"));
    files
}

async fn read_after_a_start(bench: &Bench) -> Vec<(u64, String)> {
    let (journal, _) = bench.open();
    read_all(&journal).await
}

fn segment(bench: &Bench) -> PathBuf {
    bench.segment_files().remove(0)
}

#[tokio::test]
async fn any_one_bit_of_a_request_is_put_right_wherever_the_request_stands() {
    let bench = three_requests().await;
    let path = segment(&bench);
    let frames = frames_of(&path);
    let good = fs::read(&path).unwrap();
    // the header of each frame, every byte, and of the payload some
    let places = frames
        .iter()
        .flat_map(|frame| (0..36).chain((36..150).step_by(9)).map(move |n| frame + n));

    for place in places {
        flip_bit(&path, place);

        let told = carry_out(&Plan::of(bench.dir.path(), Position::ZERO).unwrap());

        assert!(fs::read(&path).unwrap() == good, "byte {place}: {told:?}");
        assert!(told.iter().any(|line| line.contains("one bit put right")));
    }
    assert_eq!(
        read_after_a_start(&bench).await,
        expected(&["a", "b", "c", "d"])
    );
}

#[tokio::test]
async fn what_lacks_two_bits_is_named_as_lost_and_kept_aside() {
    let bench = three_requests().await;
    let path = segment(&bench);
    let middle = frames_of(&path)[1];
    flip_bit(&path, middle + 60);
    flip_bit(&path, middle + 90);
    let damaged = fs::read(&path).unwrap();

    let told = repair(&bench);

    assert_eq!(deeds(&told), ["kept aside", "lost"], "{told:?}");
    assert!(told[1].contains("positions 2 to 3"), "{told:?}");
    assert!(fs::read(&path).unwrap() == damaged);
    let found = survey(bench.dir.path()).unwrap();
    assert_eq!(found.set_aside[0].bytes, found.holes[0].bytes);
    assert_eq!(found.missing_entries(), 2);
    let read = read_after_a_start(&bench).await;
    assert_eq!(read, [(1, "a".to_owned()), (4, "d".to_owned())]);
}

/// An event as it is admitted.
fn admitted(id: &str) -> NewRecord {
    let text = format!(
        r#"[{{"eventId":"{id}","eventType":"cell_executed","code":"1",
            "eventTime":"2026-11-21T22:25:44Z","emailAddress":"a@x"}}]"#
    );
    let sent = split(text.as_bytes()).unwrap();
    let event = cell_monitor::decode(&sent.elements[0]);
    let mut admission = Admission::with_capacity(1);
    let key = StudentKey::from_bytes([7; 32]);
    let classroom = ClassroomId::new("default");
    admission.admit(&classroom, &key, &sent.elements[0], event);
    admission.records.remove(0)
}

#[tokio::test]
async fn an_event_comes_back_only_if_it_has_the_hash_that_stands_beside_it() {
    for (has_its_hash, deed) in [(true, "brought back"), (false, "lost")] {
        let bench = Bench::new();
        let (journal, _) = bench.open();
        let mut event = admitted("e1");
        if !has_its_hash {
            event.identity.as_mut().unwrap().content[3] ^= 1;
        }
        journal.append(vec![event], Origin::Outside).await.unwrap();
        append(&journal, &["behind"]).await;
        drop(journal);
        let path = segment(&bench);
        flip_bit(&path, frames_of(&path)[0] + 200);

        let told = repair(&bench);

        assert_eq!(
            told.last().map(|line| line.starts_with(deed)),
            Some(true),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn an_end_that_a_start_cut_as_damaged_is_brought_back_from_what_it_set_aside() {
    let bench = three_requests().await;
    let path = segment(&bench);
    flip_bit(&path, frames_of(&path)[2] + 70);
    // the runs are gone, but not the note how far the journal was
    for (run, _) in runs(&bench) {
        fs::remove_file(run).unwrap();
    }
    let (journal, started) = bench.open();
    append(&journal, &["e"]).await;
    drop(journal);

    let told = repair(&bench);

    assert_eq!(started.damaged.len(), 1);
    assert_eq!(deeds(&told), ["marked", "brought back"], "{told:?}");
    assert!(told[1].contains("position 4 (one bit"), "{told:?}");
    let (journal, report) = bench.open();
    assert_eq!(
        read_all(&journal).await,
        expected(&["a", "b", "c", "d", "e"])
    );
    assert_eq!(report.damaged, []);
    let again = append(&journal, &["d", "e"]).await;
    assert_eq!(again, [Verdict::Duplicate; 2]);
}

#[tokio::test]
async fn an_end_that_may_be_torn_is_kept_aside_and_left_to_the_start() {
    let bench = three_requests().await;
    bench.lose_index();
    fs::remove_file(bench.journal_dir().join("offsets.json")).unwrap();
    let path = segment(&bench);
    let last = frames_of(&path)[2];
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(last + 50).unwrap();

    let told = repair(&bench);

    assert_eq!(
        deeds(&told),
        ["kept aside", "left to the next start"],
        "{told:?}"
    );
    assert_eq!(bench.open().1.torn_bytes, 50);
}

#[tokio::test]
async fn a_damaged_header_is_written_anew_also_if_only_the_index_knows_the_name() {
    let bench = three_requests().await;
    let path = segment(&bench);
    let good = fs::read(&path).unwrap();
    for place in [3, 20, 50, 126] {
        flip_bit(&path, place);

        let told = repair(&bench);

        assert_eq!(deeds(&told)[told.len() - 1], "written anew", "{told:?}");
        assert!(fs::read(&path).unwrap() == good);
    }
    flip_bit(&path, 20);
    bench.lose_index();

    let told = repair(&bench);

    assert!(
        told.iter()
            .any(|line| line.contains("which journal it belongs to")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_segment_of_a_backup_put_beside_fills_the_holes_and_one_of_another_journal_does_not() {
    let bench = three_requests().await;
    let other = three_requests().await;
    let path = segment(&bench);
    let good = fs::read(&path).unwrap();
    let frames = frames_of(&path);
    let mut bad = good.clone();
    let hit = usize::try_from(frames[1]).unwrap() + 30..usize::try_from(frames[2]).unwrap();
    bad[hit].fill(0);
    fs::write(&path, &bad).unwrap();
    let damaged = bench.journal_dir().join("damaged");
    fs::create_dir(&damaged).unwrap();
    let backup = damaged.join(path.file_name().unwrap());

    fs::copy(segment(&other), &backup).unwrap();
    let refused = repair(&bench);
    fs::write(&backup, &good).unwrap();
    let told = repair(&bench);

    assert_eq!(deeds(&refused), ["kept aside", "lost"], "{refused:?}");
    assert_eq!(deeds(&told), ["marked", "brought back"], "{told:?}");
    assert!(fs::read(&path).unwrap() == good);
    let plan = Plan::of(bench.dir.path(), Position::ZERO).unwrap();
    assert_eq!(plan.read_again_after(), None);
}

#[tokio::test]
async fn what_was_sent_again_since_is_not_brought_back_a_second_time() {
    let bench = three_requests().await;
    let path = segment(&bench);
    flip_bit(&path, frames_of(&path)[1] + 60);
    bench.lose_index();
    let (journal, _) = bench.open();
    append(&journal, &["c"]).await;
    drop(journal);

    let told = repair(&bench);

    assert_eq!(deeds(&told), ["lost"], "{told:?}");
    assert!(told[0].ends_with("; 1 of them were sent again since"));
    let read = read_after_a_start(&bench).await;
    assert_eq!(read.iter().filter(|(_, text)| text == "c").count(), 1);
}

#[tokio::test]
async fn what_was_sent_again_is_told_also_if_what_stood_behind_it_comes_back() {
    let bench = three_requests().await;
    let (journal, _) = bench.open();
    append(&journal, &["e"]).await;
    drop(journal);
    let path = segment(&bench);
    let frames = frames_of(&path);
    flip_bit(&path, frames[1] + 60);
    flip_bit(&path, frames[2] + 60);
    bench.lose_index();
    let (journal, _) = bench.open();
    append(&journal, &["c"]).await;
    drop(journal);

    let told = repair(&bench);

    assert_eq!(deeds(&told), ["lost", "marked", "brought back"], "{told:?}");
    assert!(told[0].contains("positions 2 to 3"), "{told:?}");
    assert!(told[0].ends_with("; 1 of them were sent again since"));
}

#[tokio::test]
async fn a_damaged_page_of_the_index_is_marked_and_the_next_start_sets_the_run_aside() {
    let bench = three_requests().await;
    // one with pages: a new journal begins with an empty run
    let (run, _) = runs(&bench)
        .into_iter()
        .max_by_key(|(_, bytes)| bytes.len())
        .unwrap();
    flip_bit(&run, 4096 + 40);
    let before = survey(bench.dir.path()).unwrap();

    let told = repair(&bench);
    let (journal, report) = bench.open();

    assert_eq!(before.index.damaged.len(), 1, "{:?}", before.index);
    assert_eq!(deeds(&told), ["marked"]);
    assert!(report.index_rebuilt.is_some());
    assert_eq!(append(&journal, &["a"]).await, [Verdict::Duplicate]);
    drop(journal);
    let after = survey(bench.dir.path()).unwrap();
    assert_eq!(
        (after.index.set_aside.len(), after.index.is_marked),
        (1, false)
    );
    assert_eq!(after.damaged_places(), 0);
}

#[tokio::test]
async fn files_in_the_making_are_removed_and_the_spare_segment_stays() {
    let bench = three_requests().await;
    let names = [
        "journal/segment.part",
        "journal/offsets.tmp",
        "index/000000000099.tmp",
    ];
    for name in names {
        fs::write(bench.dir.path().join(name), [0; 10]).unwrap();
    }
    fs::write(bench.journal_dir().join("spare.tmp"), [0; 10]).unwrap();

    let told = repair(&bench);

    assert_eq!(deeds(&told), ["removed"; 3], "{told:?}");
    assert!(
        names
            .iter()
            .all(|name| !bench.dir.path().join(name).exists())
    );
    assert!(bench.journal_dir().join("spare.tmp").exists());
}

#[tokio::test]
async fn files_of_two_journals_are_not_repaired() {
    let bench = three_requests().await;
    let other = three_requests().await;
    let name = segment::file_name(Position(900));
    fs::copy(segment(&other), bench.journal_dir().join(name)).unwrap();

    let refused = Plan::of(bench.dir.path(), Position::ZERO).unwrap_err();

    assert!(matches!(refused, JournalError::Mixed { .. }), "{refused}");
}

#[tokio::test]
async fn a_journal_in_order_is_left_as_it_is() {
    let bench = three_requests().await;

    let told = repair(&bench);

    assert_eq!(told, [""; 0]);
}

/// Bytes of any files of the journal or its index change, one after another.
fn damage() -> impl Strategy<Value = Vec<(Index, Index, u8)>> {
    proptest::collection::vec((any::<Index>(), any::<Index>(), 1..=255_u8), 1..6)
}

async fn play(bench: &Bench, blows: &[(Index, Index, u8)]) {
    let original = read_after_a_start(bench).await;
    let files: Vec<_> = all_files(bench.dir.path())
        .into_keys()
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "seg" || kind == "run")
        })
        .collect();
    for (which, place, change) in blows {
        let path = &files[which.index(files.len())];
        let mut bytes = fs::read(path).unwrap();
        // what follows the last frame holds nothing to damage
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[place.index(used)] ^= change;
        fs::write(path, bytes).unwrap();
    }
    let before = survey(bench.dir.path()).unwrap();

    repair(bench);
    let after = survey(bench.dir.path()).unwrap();
    let read = read_after_a_start(bench).await;

    assert!(after.missing_entries() <= before.missing_entries());
    assert_eq!(
        read.len() as u64 + after.missing_entries(),
        original.len() as u64,
        "what is not there is named"
    );
    assert!(read.iter().all(|entry| original.contains(entry)));
}

#[test]
fn whatever_is_damaged_nothing_is_lost_by_a_repair_and_nothing_is_made_up() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });

    let outcome = runner.run(&damage(), |blows| {
        runtime.block_on(async {
            let bench = Bench::with_segments(4096);
            let (journal, _) = bench.open();
            for n in 0..40 {
                append(&journal, &[&format!("{n:0200}"), &format!("{n} too")]).await;
            }
            indexed(&journal).await;
            drop(journal);
            play(&bench, &blows).await;
        });
        Ok(())
    });

    if let Err(broken) = outcome {
        panic!("{broken}");
    }
}

#[test]
fn a_step_says_what_it_did() {
    let lost = Step::Lost {
        segment: Position(1),
        first: Position(2),
        last: Position(2),
        sent_again: 0,
    };

    assert_eq!(lost.to_string(), "lost: position 2 of segment 1");
}
