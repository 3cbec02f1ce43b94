mod former;

use mimamori_actors::domain::{Heard, JournalId};

use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;
const TODAY: i64 = 1000;

fn key(number: u64) -> [u8; 16] {
    *blake3::hash(&number.to_le_bytes())
        .as_bytes()
        .first_chunk()
        .unwrap()
}

fn content(number: u64) -> [u8; 16] {
    let mut content = [0; 16];
    content[..8].copy_from_slice(&number.to_le_bytes());
    content
}

fn on_day(day: i64, numbers: std::ops::Range<u64>) -> Vec<Indexed> {
    numbers
        .map(|number| Indexed {
            identity: Identity {
                key: key(number),
                content: content(number),
            },
            position: Position(number + 1),
            received_at: Timestamp::from_millis(day * DAY),
        })
        .collect()
}

fn up_to(position: u64, day: i64) -> Checkpoint {
    Checkpoint {
        journal: JournalId::new("jrn_1"),
        position: Position(position),
        accepted: Moment {
            at: Timestamp::from_millis(day * DAY),
            heard: Heard::from_millis(day * DAY - 7000),
        },
        segment: Position(1),
        offset: position * 100,
    }
}

fn add(index: &Index, day: i64, numbers: std::ops::Range<u64>) {
    let to = up_to(numbers.end, day);
    index.insert(&on_day(day, numbers), &to).unwrap();
}

fn knows(index: &Index, numbers: std::ops::Range<u64>) -> bool {
    numbers
        .into_iter()
        .all(|number| index.find(&key(number)).unwrap() == Some(content(number)))
}

fn knows_none(index: &Index, numbers: std::ops::Range<u64>) -> bool {
    numbers
        .into_iter()
        .all(|number| index.find(&key(number)).unwrap().is_none())
}

fn run_files(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "run"))
        .collect();
    found.sort();
    found
}

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("index")
    }

    fn open(&self) -> (Index, Known) {
        Index::open(&self.root()).unwrap()
    }
}

#[test]
fn what_was_inserted_is_found_again_and_after_opening_too() {
    let bench = Bench::new();
    let (index, known) = bench.open();
    assert_eq!((known.checkpoint, known.highest), (None, Position::ZERO));

    // one page, a page and one, many pages
    for numbers in [0..127, 127..255, 255..20_000] {
        add(&index, TODAY, numbers);
    }
    let is_known = knows(&index, 0..20_000);
    drop(index);
    let (index, known) = bench.open();

    assert!(is_known && knows(&index, 0..20_000));
    assert!(knows_none(&index, 20_000..60_000));
    assert_eq!(known.checkpoint, Some(up_to(20_000, TODAY)));
    assert_eq!(known.highest, Position(20_000));
}

#[test]
fn keys_that_lie_together_are_found_too() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    let batch: Vec<_> = on_day(TODAY, 0..3000)
        .into_iter()
        .zip(0_u128..)
        .map(|(mut indexed, number)| {
            indexed.identity.key = (u128::MAX - 5000 + number).to_be_bytes();
            indexed
        })
        .collect();

    index.insert(&batch, &up_to(3000, TODAY)).unwrap();

    for indexed in &batch {
        let found = index.find(&indexed.identity.key).unwrap();
        assert_eq!(found, Some(indexed.identity.content));
    }
}

#[test]
fn the_same_again_changes_nothing_and_of_one_batch_the_first_counts() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    let mut batch = on_day(TODAY, 0..10);
    batch.push(Indexed {
        identity: Identity {
            key: key(3),
            content: content(99),
        },
        position: Position(50),
        received_at: batch[0].received_at,
    });

    for _ in 0..3 {
        index.insert(&batch, &up_to(50, TODAY)).unwrap();
    }
    while index.merge_once().unwrap() {}

    assert!(knows(&index, 0..10));
}

#[test]
fn a_place_without_identities_is_kept_once() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..5);

    for _ in 0..3 {
        index.insert(&[], &up_to(9, TODAY)).unwrap();
    }
    drop(index);
    let (index, known) = bench.open();

    assert_eq!(known.checkpoint, Some(up_to(9, TODAY)));
    assert_eq!(run_files(&bench.root()).len(), 2);
    assert!(knows(&index, 0..5));
}

#[test]
fn of_a_batch_over_midnight_each_day_has_its_own_and_the_place_is_with_the_last() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    let mut batch = on_day(TODAY, 0..10);
    batch.extend(on_day(TODAY + 1, 10..20));
    index.insert(&batch, &up_to(20, TODAY + 1)).unwrap();

    // as if the process had ended between the two
    let files = run_files(&bench.root());
    drop(index);
    let second = fs::read(&files[1]).unwrap();
    fs::remove_file(&files[1]).unwrap();
    let (index, known) = bench.open();
    assert_eq!(known.checkpoint, None);
    assert!(knows(&index, 0..10) && knows_none(&index, 10..20));
    drop(index);
    fs::write(&files[1], second).unwrap();

    let (index, known) = bench.open();
    assert_eq!(known.checkpoint, Some(up_to(20, TODAY + 1)));
    index.expire(1);
    assert!(knows_none(&index, 0..10) && knows(&index, 10..20));
}

#[test]
fn a_batch_over_midnight_that_comes_again_writes_only_what_is_not_there() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    let mut batch = on_day(TODAY, 0..10);
    // there was no room for the second day
    index.insert(&batch, &up_to(10, TODAY)).unwrap();
    batch.extend(on_day(TODAY + 1, 10..20));

    index.insert(&batch, &up_to(20, TODAY + 1)).unwrap();

    assert_eq!(run_files(&bench.root()).len(), 2);
    assert!(knows(&index, 0..20));
    assert_eq!(index.checkpoint(), Some(up_to(20, TODAY + 1)));
}

#[test]
fn the_newest_days_on_which_something_was_accepted_are_kept() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    // a lesson a week
    for week in 0..3_i64 {
        let from = week.unsigned_abs() * 10;
        add(&index, TODAY + 7 * week, from..from + 10);
    }

    index.expire(3);
    assert!(knows(&index, 0..30));
    index.expire(2);
    assert!(knows_none(&index, 0..10) && knows(&index, 10..30));
}

#[test]
fn the_place_of_the_index_outlives_the_day_it_stood_in() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY + 1, 0..10);
    // the clock was set back
    add(&index, TODAY, 10..20);

    index.expire(1);
    drop(index);
    let (_, known) = bench.open();

    assert_eq!(known.checkpoint, Some(up_to(20, TODAY)));
    assert_eq!(run_files(&bench.root()).len(), 2);
}

#[test]
fn small_runs_are_merged_and_nothing_is_lost() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    for nth in 0..30 {
        add(&index, TODAY, nth * 100..(nth + 1) * 100);
        while index.merge_once().unwrap() {}
        assert!(run_files(&bench.root()).len() <= 3);
        assert!(knows(&index, 0..(nth + 1) * 100));
    }
    drop(index);

    let (index, known) = bench.open();

    assert!(knows(&index, 0..3000) && knows_none(&index, 3000..9000));
    assert_eq!(known.checkpoint, Some(up_to(3000, TODAY)));
}

#[test]
fn a_day_that_is_over_becomes_one_run_and_days_stay_apart() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..10);
    add(&index, TODAY, 10..20);
    assert!(!index.merge_once().unwrap());

    add(&index, TODAY + 1, 20..30);
    while index.merge_once().unwrap() {}

    assert_eq!(run_files(&bench.root()).len(), 2);
    index.expire(1);
    assert!(knows_none(&index, 0..20) && knows(&index, 20..30));
}

#[test]
fn a_merge_that_a_crash_cut_short_leaves_what_there_was() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    for nth in 0..4 {
        add(&index, TODAY, nth * 10..(nth + 1) * 10);
    }
    let before: Vec<_> = run_files(&bench.root())
        .into_iter()
        .map(|path| (fs::read(&path).unwrap(), path))
        .collect();
    assert!(index.merge_once().unwrap());
    drop(index);
    // the merged run is there, and those it was made of are too
    for (bytes, path) in &before {
        fs::write(path, bytes).unwrap();
    }
    fs::write(bench.root().join("000000000099.tmp"), b"half a run").unwrap();

    let (index, known) = bench.open();

    assert!(knows(&index, 0..40) && knows_none(&index, 40..80));
    assert_eq!(known.checkpoint, Some(up_to(40, TODAY)));
    assert!(!bench.root().join("000000000099.tmp").exists());
    while index.merge_once().unwrap() {}
    assert!(knows(&index, 0..40));
}

#[test]
fn a_merge_that_is_stopped_changes_nothing() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    for nth in 0..4 {
        add(&index, TODAY, nth * 2000..(nth + 1) * 2000);
    }

    let inputs = index.to_merge().unwrap();
    let (_, path) = index.next_run();
    index.stop_merging();

    assert!(!index.write_merged(&inputs, &path).unwrap());
    assert!(!index.merge_once().unwrap());
    assert!(!path.exists() && !path.with_extension("tmp").exists());
    assert!(knows(&index, 0..8000));
}

#[test]
fn a_merge_of_what_expired_meanwhile_brings_nothing_back() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..10);
    add(&index, TODAY, 10..20);
    add(&index, TODAY + 9, 20..30);
    let inputs = index.to_merge().unwrap();
    let (number, path) = index.next_run();
    assert!(index.write_merged(&inputs, &path).unwrap());

    index.expire(1);
    index.replace(&inputs, number, path).unwrap();
    drop(index);
    let (index, _) = bench.open();

    assert!(knows_none(&index, 0..20) && knows(&index, 20..30));
}

#[test]
fn filters_beyond_the_bound_are_read_where_they_are() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..5000);
    let path = run_files(&bench.root()).remove(0);

    let run = Run::open(path, 1, 100).unwrap();

    assert_eq!(run.filter_bytes(), 0);
    assert!((0..5000).all(|number| run.find(&key(number)).unwrap() == Some(content(number))));
    assert!((5000..20_000).all(|number| run.find(&key(number)).unwrap().is_none()));
}

#[test]
fn every_flipped_bit_is_noticed_when_it_is_read() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..300);
    drop(index);
    let path = run_files(&bench.root()).remove(0);
    let good = fs::read(&path).unwrap();

    for at in (0..good.len()).step_by(37) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&path, bad).unwrap();
        let (index, known) = bench.open();
        let is_found = (0..300).all(|number| index.find(&key(number)).is_ok());
        assert!(known.lacks.is_some() || !is_found, "the bit at {at}");
        drop(index);
        let _ = fs::remove_file(path.with_extension("damaged"));
        let _ = fs::remove_file(condemned(&bench.root()));
    }
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(bench.open().1.lacks.is_some());
}

#[test]
fn of_a_damaged_index_only_the_damaged_run_goes_and_it_lacks_something_until_the_journal_was_read()
{
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..200);
    add(&index, TODAY, 200..400);
    drop(index);
    let path = run_files(&bench.root()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] ^= 4;
    fs::write(&path, bytes).unwrap();

    // a page is looked at only when it is needed
    let (index, known) = bench.open();
    assert_eq!(known.lacks, None);
    let asked = (0..200).find_map(|number| index.find(&key(number)).err());
    index.judge(&asked.unwrap());
    drop(index);
    for _ in 0..2 {
        let (index, known) = bench.open();
        assert!(known.lacks.is_some());
        assert!(knows(&index, 200..400) && knows_none(&index, 0..200));
        assert_eq!(known.checkpoint, Some(up_to(400, TODAY)));
    }
    let (index, _) = bench.open();
    add(&index, TODAY, 0..200);
    index.is_complete().unwrap();
    drop(index);

    let (index, known) = bench.open();
    assert_eq!(known.lacks, None);
    assert!(knows(&index, 0..400));
}

#[test]
fn an_error_that_is_no_damage_condemns_nothing() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..10);
    for error in [Errno::PERM, Errno::MFILE, Errno::NOSPC] {
        index.judge(&io::Error::from(error).into());
    }
    drop(index);

    assert_eq!(bench.open().1.lacks, None);
}

#[test]
fn a_disk_that_cannot_be_read_makes_the_next_start_look_at_all() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..10);
    index.judge(&io::Error::from(Errno::IO).into());
    drop(index);

    let (index, known) = bench.open();

    assert!(known.lacks.is_some());
    assert!(knows(&index, 0..10));
}

#[test]
fn a_run_of_the_future_is_left_as_it_is() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..10);
    drop(index);
    let path = run_files(&bench.root()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();

    let opened = Index::open(&bench.root());

    assert!(matches!(opened, Err(OpenFailure::Newer(_))));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn how_far_the_journal_came_is_remembered_unless_the_note_is_damaged() {
    let bench = Bench::new();
    let (index, _) = bench.open();
    add(&index, TODAY, 0..10);
    index.note_reached(Position(77)).unwrap();
    drop(index);

    let (index, known) = bench.open();
    assert_eq!(known.highest, Position(77));
    drop(index);
    fs::write(bench.root().join(REACHED), [7; 12]).unwrap();

    assert_eq!(bench.open().1.highest, Position(10));
}
