use super::*;

/// A journal of several segments, none of them let go, with a backup of each.
async fn of_several_segments() -> (Bench, Vec<(PathBuf, Vec<u8>)>) {
    let bench = Bench::with_segments(4096);
    let (journal, _) = bench.open();
    for n in 0..12 {
        append(&journal, &[&format!("{n}{}", "x".repeat(1000))]).await;
    }
    indexed(&journal).await;
    journal.committed("records", Position(1));
    journal.committed("sessions", Position(1));
    drop(journal);
    let files = bench.segment_files();
    let backups = files.into_iter().map(|path| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    });
    let backups: Vec<_> = backups.collect();
    assert!(backups.len() > 3, "{} segments", backups.len());
    (bench, backups)
}

fn put_aside(bench: &Bench, backups: &[(PathBuf, Vec<u8>)]) {
    let damaged = bench.journal_dir().join("damaged");
    fs::create_dir_all(&damaged).unwrap();
    for (path, bytes) in backups {
        fs::write(damaged.join(path.file_name().unwrap()), bytes).unwrap();
    }
}

/// As the program does, until there is nothing more.
fn repair_all(bench: &Bench) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let plan = Plan::of(bench.dir.path(), Position::ZERO).unwrap();
        told.extend(carry_out(&plan));
        if !plan.has_more() {
            return told;
        }
    }
}

fn used(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    &bytes[..=last]
}

#[tokio::test]
async fn segments_that_are_gone_come_back_from_a_backup_wherever_they_stood() {
    let (_, some) = of_several_segments().await;
    let last = some.len() - 1;
    for gone in [0..1, 1..2, 1..3, last..last + 1, 0..last + 1] {
        let (bench, backups) = of_several_segments().await;
        for (path, _) in &backups[gone.clone()] {
            fs::remove_file(path).unwrap();
        }
        let found = survey(bench.dir.path()).unwrap();
        assert_ne!(found.damaged_places(), 0, "{gone:?}");
        assert!(found.missing_entries() > 0, "{gone:?}");
        put_aside(&bench, &backups);

        let told = repair_all(&bench);

        assert!(
            !told.iter().any(|line| line.starts_with("lost")),
            "{told:?}"
        );
        for (path, before) in &backups {
            let now = fs::read(path).unwrap();
            assert!(used(&now) == used(before), "{gone:?}: {told:?}");
        }
        let found = survey(bench.dir.path()).unwrap();
        assert_eq!((found.damaged_places(), found.gone), (0, None), "{gone:?}");
        let once = all_files(bench.dir.path());
        assert_eq!(repair_all(&bench), [""; 0]);
        assert!(once == all_files(bench.dir.path()));
        assert_eq!(read_after_a_start(&bench).await.len(), 12);
    }
}

#[tokio::test]
async fn a_repair_cut_short_behind_any_step_is_done_by_the_next() {
    let (bench, backups) = of_several_segments().await;
    fs::remove_file(&backups[1].0).unwrap();
    put_aside(&bench, &backups);
    let plan = Plan::of(bench.dir.path(), Position::ZERO).unwrap();
    carry_out(&plan);
    assert!(plan.has_more(), "the file is there, and nothing is in it");
    fs::write(bench.journal_dir().join("segment.part"), b"half").unwrap();

    repair_all(&bench);

    assert!(used(&fs::read(&backups[1].0).unwrap()) == used(&backups[1].1));
    assert!(!bench.journal_dir().join("segment.part").exists());
}

#[tokio::test]
async fn a_segment_of_another_journal_is_not_made() {
    let (bench, backups) = of_several_segments().await;
    let (_, foreign) = of_several_segments().await;
    fs::remove_file(&backups[1].0).unwrap();
    put_aside(&bench, &foreign);

    let told = repair_all(&bench);

    assert_eq!(deeds(&told), ["lost"], "{told:?}");
    assert!(!backups[1].0.exists());
}

#[tokio::test]
async fn what_everybody_has_read_was_trimmed_and_is_neither_missed_nor_made_again() {
    let (bench, backups) = of_several_segments().await;
    put_aside(&bench, &backups);
    let (journal, _) = bench.open();
    for name in ["records", "sessions", "series"] {
        journal.committed(name, Position(12));
    }
    while bench.segment_files().len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // before it has noted anything else
    let noted = survey(bench.dir.path()).unwrap();
    drop(journal);

    let told = repair_all(&bench);

    assert_eq!((noted.gone, noted.damaged_places()), (None, 0));
    assert_eq!(told, [""; 0]);
    assert_eq!(bench.segment_files().len(), 1);
}

#[tokio::test]
async fn whole_frames_of_a_backup_behind_the_noted_end_come_back_too() {
    for frames_left in 0..3 {
        let bench = three_requests().await;
        let path = segment(&bench);
        let good = fs::read(&path).unwrap();
        let cut = frames_of(&path)[frames_left];
        let note = r#"{"end":3,"indexed":0,"reached":3,"consumers":{}}"#;
        fs::write(bench.journal_dir().join("offsets.json"), note).unwrap();
        bench.lose_index();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(cut).unwrap();
        put_aside(&bench, &[(path.clone(), good.clone())]);

        let told = repair(&bench);

        assert!(
            !told.iter().any(|line| line.starts_with("lost")),
            "{told:?}"
        );
        assert!(used(&fs::read(&path).unwrap()) == used(&good), "{told:?}");
    }
}

#[tokio::test]
async fn what_the_stores_know_is_named_as_lost_beyond_what_is_noted() {
    let bench = three_requests().await;
    let path = segment(&bench);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(frames_of(&path)[1]).unwrap();

    let told = carry_out(&Plan::of(bench.dir.path(), Position(9)).unwrap());

    assert!(told[0].contains("positions 2 to 9"), "{told:?}");
}
