use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::sync::atomic::AtomicI64;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;
use crate::journal::erase::Search;
use crate::journal::inspect;

/// A disk that takes only so many writes and syncs more.
#[derive(Debug)]
struct Dying(AtomicI64);

impl Dying {
    fn step(&self) -> io::Result<()> {
        match self.0.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 => Ok(()),
            _ => Err(io::Error::other("the power is out")),
        }
    }
}

impl Disk for Dying {
    fn allocate(&self, file: &File, from: u64, bytes: u64) -> io::Result<()> {
        RealDisk.allocate(file, from, bytes)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.step()?;
        RealDisk.write(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        RealDisk.sync(file)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }
}

/// Everything of this person up to there: the names of their records begin with theirs.
async fn erase(
    journal: &Arc<FileJournal>,
    person: char,
    through: Position,
) -> Result<(), JournalError> {
    journal.indexed(through).await?;
    let journal = Arc::clone(journal);
    let erasing = move || {
        let mut owns = |_: Position, record: &Record| match record {
            Record::Rejection(rejection) => rejection.payload.starts_with(person),
            _ => false,
        };
        let mut search = Search {
            through,
            id: "no id",
            owns: &mut owns,
        };
        let keys = journal.identities_of(&mut search)?;
        journal.forget_identities(&keys)?;
        journal.erase(&mut search, &mut |_, _| {})
    };
    tokio::task::spawn_blocking(erasing).await.unwrap()
}

/// Everything, from the files: what the tail remembers is hidden and not rewritten.
fn read_all_files(journal: &FileJournal) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut after = Position::ZERO;
    loop {
        let batch = journal.shared.read_files(after, 7).unwrap();
        let texts = batch.entries.iter();
        found.extend(texts.map(|entry| (entry.position.0, text_of(entry).to_owned())));
        if batch.through == after {
            return found;
        }
        after = batch.through;
    }
}

/// Whether these bytes stand in any file of the directory.
fn stands_in(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            stands_in(&path, bytes)
        } else {
            // a file in the making may have got its name meanwhile
            memchr::memmem::find(&fs::read(&path).unwrap_or_default(), bytes).is_some()
        }
    })
}

/// Long enough to stand nowhere by chance: the names of files, keys and ids are random.
const FIRST: &str = "a-first-words-of-the-one-who-goes";
const SECOND: &str = "a-second-words-of-the-one-who-goes";
const OTHER: &str = "b-words-of-the-one-who-stays";

fn reopen(bench: &Bench, journal: Arc<FileJournal>) -> Arc<FileJournal> {
    drop(Arc::into_inner(journal).expect("nobody else has it"));
    Arc::new(bench.open().0)
}

#[derive(Debug, Clone)]
enum Action {
    /// One request, a record of each of these people.
    Append(Vec<char>),
    /// One person, up to the end or up to so many entries before it.
    Erase(char, u64),
    /// As a crash after so many steps of the disk, and erased again by the next start.
    Killed(char, i64),
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    let person = prop::sample::select(vec!['a', 'b', 'c']);
    prop_oneof![
        6 => prop::collection::vec(person.clone(), 1..5).prop_map(Action::Append),
        2 => (person.clone(), 0..4_u64).prop_map(|(who, back)| Action::Erase(who, back)),
        1 => (person, 0..12_i64).prop_map(|(who, steps)| Action::Killed(who, steps)),
        1 => Just(Action::Reopen),
    ]
}

/// What the journal must look like.
#[derive(Default)]
struct Model {
    /// Every record that was ever accepted, with its position; gone ones have no name.
    stands: BTreeMap<u64, Option<String>>,
    gone: BTreeSet<String>,
    next: u64,
}

impl Model {
    fn erase(&mut self, person: char, through: Position) {
        for (_, name) in self.stands.range_mut(..=through.0) {
            if name.as_ref().is_some_and(|name| name.starts_with(person)) {
                self.gone.extend(name.take());
            }
        }
    }

    fn expected(&self) -> Vec<(u64, String)> {
        let stands = self.stands.iter();
        stands
            .filter_map(|(position, name)| Some((*position, name.clone()?)))
            .collect()
    }
}

async fn act(
    bench: &Bench,
    mut journal: Arc<FileJournal>,
    model: &mut Model,
    action: &Action,
) -> Arc<FileJournal> {
    match action {
        Action::Append(people) => {
            let names: Vec<String> = people
                .iter()
                .map(|person| {
                    model.next += 1;
                    format!("{person}-{}-{}", model.next, "x".repeat(200))
                })
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let verdicts = append(&journal, &names).await;
            for (name, verdict) in names.iter().zip(verdicts) {
                let Verdict::Accepted(position) = verdict else {
                    panic!("{name} is new: {verdict:?}");
                };
                model.stands.insert(position.0, Some((*name).to_owned()));
            }
        }
        Action::Erase(person, back) => {
            let through = Position(journal.roll().await.unwrap().0.saturating_sub(*back));
            erase(&journal, *person, through).await.unwrap();
            model.erase(*person, through);
        }
        Action::Killed(person, steps) => {
            drop(Arc::into_inner(journal).expect("nobody else has it"));
            let dying = Arc::new(Dying(i64::MAX.into()));
            let opened = bench.open_on(dying.clone()).unwrap().0;
            journal = Arc::new(opened);
            let through = journal.roll().await.unwrap();
            dying.0.store(*steps, Ordering::SeqCst);
            let _ = erase(&journal, *person, through).await;
            journal = reopen(bench, journal);
            // the list tells the next start that it is not done
            erase(&journal, *person, through).await.unwrap();
            model.erase(*person, through);
        }
        Action::Reopen => journal = reopen(bench, journal),
    }
    journal
}

async fn check(bench: &Bench, journal: &FileJournal, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(read_all_files(journal), model.expected());
    for name in &model.gone {
        prop_assert!(!stands_in(bench.dir.path(), name.as_bytes()), "{}", name);
        let key = identity(name, name).key;
        prop_assert!(!stands_in(bench.dir.path(), &key), "the key of {}", name);
    }
    let found = inspect::survey(bench.dir.path()).unwrap();
    prop_assert_eq!((found.damaged_places(), found.missing_entries()), (0, 0));
    prop_assert_eq!(found.entries.unreadable, 0);
    let gone = model.stands.values().filter(|name| name.is_none()).count();
    prop_assert_eq!(found.entries.erased, gone as u64);
    Ok(())
}

async fn play(actions: &[Action]) -> Result<(), TestCaseError> {
    let bench = Bench::with_segments(4096);
    let mut journal = Arc::new(bench.open().0);
    let mut model = Model::default();
    for action in actions {
        journal = act(&bench, journal, &mut model, action).await;
        check(&bench, &journal, &model).await?;
    }
    // what was erased is new, and nothing else is
    for (name, stands) in model
        .gone
        .iter()
        .map(|name| (name.clone(), false))
        .chain(model.expected().into_iter().map(|(_, name)| (name, true)))
        .collect::<Vec<_>>()
    {
        let verdict = append(&journal, &[&name]).await[0];
        prop_assert_eq!(verdict == Verdict::Duplicate, stands, "{}", name);
    }
    Ok(())
}

#[test]
fn whatever_is_erased_and_whenever_it_is_cut_short_the_rest_stands_where_it_stood() {
    let thousands = std::env::var("MIMAMORI_DRILL_ROUNDS").ok();
    let thousands = thousands.and_then(|rounds| rounds.parse::<u32>().ok());
    let mut runner = TestRunner::new(Config {
        cases: thousands.map_or(40, |thousands| thousands.saturating_mul(1000)),
        failure_persistence: None,
        ..Config::default()
    });
    let stories = prop::collection::vec(action(), 1..14);

    let outcome = runner.run(&stories, |actions| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(play(&actions))
    });

    if let Err(broken) = outcome {
        panic!("{broken}");
    }
}

#[tokio::test]
async fn who_holds_the_old_file_reads_on_in_it() {
    let bench = Bench::new();
    let journal = Arc::new(bench.open().0);
    append(&journal, &[FIRST, OTHER, SECOND]).await;
    let through = journal.roll().await.unwrap();
    let held = journal.shared.segments.all().remove(0).file.try_clone();

    erase(&journal, 'a', through).await.unwrap();

    let mut old = Vec::new();
    io::Read::read_to_end(
        &mut io::Seek::seek(&mut held.as_ref().unwrap(), io::SeekFrom::Start(0))
            .map(|_| held.as_ref().unwrap())
            .unwrap(),
        &mut old,
    )
    .unwrap();
    assert!(memchr::memmem::find(&old, FIRST.as_bytes()).is_some());
    // the tail's memory is hidden, not rewritten
    let from_files = journal
        .shared
        .read_files(Position::ZERO, 10)
        .unwrap()
        .entries;
    let texts: Vec<_> = from_files.iter().map(|entry| text_of(entry)).collect();
    assert_eq!(texts, [OTHER]);
}

#[tokio::test]
async fn what_stands_in_the_segment_that_is_written_to_is_erased_once_that_is_closed() {
    let bench = Bench::new();
    let journal = Arc::new(bench.open().0);
    append(&journal, &[FIRST, OTHER]).await;
    let through = *Journal::end(&*journal).borrow();
    assert!(stands_in(bench.dir.path(), FIRST.as_bytes()));

    for _ in 0..2 {
        journal.close_through(through).await.unwrap();
        erase(&journal, 'a', through).await.unwrap();
    }

    assert!(!stands_in(bench.dir.path(), FIRST.as_bytes()));
    assert_eq!(read_all_files(&journal), [(2, OTHER.to_owned())]);
    assert_eq!(bench.segment_files().len(), 2);
}

#[tokio::test]
async fn what_is_damaged_may_be_anybodys_and_goes_with_its_pieces() {
    let bench = Bench::new();
    let journal = Arc::new(bench.open().0);
    append(&journal, &["a1"]).await;
    append(&journal, &["b-secret"]).await;
    append(&journal, &["c1"]).await;
    let through = journal.roll().await.unwrap();
    let path = bench.segment_files().remove(0);
    flip_bit(&path, frames_of(&path)[1] + 40);
    journal.shared.read_files(Position::ZERO, 10).unwrap();
    assert!(
        bench
            .journal_dir()
            .join("damaged")
            .read_dir()
            .unwrap()
            .count()
            > 0
    );

    erase(&journal, 'a', through).await.unwrap();

    assert!(!stands_in(bench.dir.path(), b"b-secret"));
    let left = bench.journal_dir().join("damaged").read_dir().unwrap();
    assert_eq!(left.count(), 0);
    let read = journal.shared.read_files(Position::ZERO, 10).unwrap();
    assert_eq!(read.through, through);
    assert_eq!(read.entries.len(), 1);
}

#[tokio::test]
async fn a_program_that_knows_of_no_erased_entries_is_told_by_the_segments_header() {
    let bench = Bench::new();
    let journal = Arc::new(bench.open().0);
    append(&journal, &["a1", "b1"]).await;
    let through = journal.roll().await.unwrap();
    let version = |path: &Path| fs::read(path).unwrap()[8];
    let files = bench.segment_files();
    assert_eq!((version(&files[0]), version(&files[1])), (1, 1));

    erase(&journal, 'a', through).await.unwrap();

    let files = bench.segment_files();
    assert_eq!((version(&files[0]), version(&files[1])), (2, 1));
    check_formats(bench.dir.path()).unwrap();
}
