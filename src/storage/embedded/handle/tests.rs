use std::fs::File;
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc;

use rustix::io::Errno;
use tempfile::TempDir;

use super::*;

/// How often the database of a test was opened, and the one lock on its files.
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Stands for a database: knows the how manieth it is, and holds the lock on its files.
struct Opened(
    usize,
    #[expect(dead_code, reason = "locked until it is dropped")] File,
);

impl Written for Opened {
    fn make_way(&self) -> fjall::Result<bool> {
        Ok(true)
    }
}

fn open(dir: &Path) -> Result<Opened, OpenFailure> {
    let file = File::create(dir.join("lock")).map_err(fjall::Error::from)?;
    file.try_lock().map_err(|_| OpenFailure::InUse)?;
    Ok(Opened(OPENED.fetch_add(1, Ordering::SeqCst), file))
}

fn cannot_open(_: &Path) -> Result<Opened, OpenFailure> {
    Err(OpenFailure::Unusable("made to fail".to_owned()))
}

fn is_full(_: &Path) -> io::Result<()> {
    Err(Errno::NOSPC.into())
}

fn has_room(_: &Path) -> io::Result<()> {
    Ok(())
}

fn handle() -> (TempDir, Handle<Opened>) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place {
        store: "test",
        reopened: "mimamori_test_reopened_total",
        dir: dir.path().to_path_buf(),
    };
    let mut handle = Handle::new(place, open(dir.path()).unwrap(), open);
    handle.has_room = has_room;
    (dir, handle)
}

fn write_fails_of(handle: &Handle<Opened>, errno: Errno) {
    let failed: fjall::Result<()> = Err(fjall::Error::Io(errno.into()));
    handle.judge(failed).unwrap_err();
}

/// Full for one write; there is room again behind it.
fn meets_a_full_disk(handle: &mut Handle<Opened>) {
    handle.has_room = is_full;
    write_fails_of(handle, Errno::NOSPC);
    handle.has_room = has_room;
}

fn poisoned() -> fjall::Result<()> {
    Err(fjall::Error::Poisoned)
}

/// Tries are so far apart.
fn writing_later(handle: &Handle<Opened>) -> Result<Arc<Opened>, Away> {
    thread::sleep(TRY_EVERY);
    handle.writing()
}

#[test]
fn after_a_full_disk_it_is_opened_anew_once_there_is_room_and_can_be_read_until_then() {
    let (_dir, mut handle) = handle();
    let first = handle.writing().unwrap().0;
    handle.has_room = is_full;
    write_fails_of(&handle, Errno::NOSPC);
    handle.judge(poisoned()).unwrap_err();

    let refused = handle.writing().err().unwrap();
    let read = handle.reading().unwrap().0;
    handle.has_room = has_room;
    let written = writing_later(&handle).unwrap().0;

    assert!(matches!(refused, Away::NoRoom(_)), "{refused}");
    assert_eq!(read, first);
    assert_ne!(written, first);
    assert_eq!(handle.writing().unwrap().0, written);
    assert_eq!(handle.reading().unwrap().0, written);
}

#[test]
fn what_failed_of_anything_but_room_takes_nothing_more_and_can_be_read() {
    let (_dir, handle) = handle();
    let first = handle.writing().unwrap().0;

    write_fails_of(&handle, Errno::IO);
    write_fails_of(&handle, Errno::NOSPC);
    handle.judge(poisoned()).unwrap_err();
    let refused = writing_later(&handle).err().unwrap();

    assert!(matches!(refused, Away::Failed), "{refused}");
    assert_eq!(handle.reading().unwrap().0, first);
}

#[test]
fn a_thread_of_the_library_that_ended_or_a_sync_without_room_is_cured_only_if_the_disk_is_full() {
    let (_dir_of_full, mut full) = handle();
    let (_dir_of_ended, ended) = handle();
    let (_dir_of_unsynced, unsynced) = handle();
    full.has_room = is_full;

    full.judge(poisoned()).unwrap_err();
    ended.judge(poisoned()).unwrap_err();
    write_fails_of(&unsynced, Errno::NOSPC);
    full.has_room = has_room;

    writing_later(&full).unwrap();
    for failed in [ended, unsynced] {
        let refused = failed.writing().err().unwrap();
        assert!(matches!(refused, Away::Failed), "{refused}");
    }
}

#[test]
fn room_that_came_back_before_anybody_looked_is_known_from_who_saw_it_short() {
    let (_dir, handle) = handle();
    let shortage = Arc::new(Shortage::default());
    handle.heed(Arc::clone(&shortage));
    let first = handle.writing().unwrap().0;
    shortage.note(true);
    shortage.note(false);

    handle.judge(poisoned()).unwrap_err();

    assert_ne!(writing_later(&handle).unwrap().0, first);
}

#[test]
fn a_shortage_before_the_last_write_that_went_well_explains_no_failure() {
    let (_dir, handle) = handle();
    let shortage = Arc::new(Shortage::default());
    handle.heed(Arc::clone(&shortage));
    shortage.note(true);
    shortage.note(false);
    handle.judge(Ok(())).unwrap();

    write_fails_of(&handle, Errno::NOSPC);

    let refused = writing_later(&handle).err().unwrap();
    assert!(matches!(refused, Away::Failed), "{refused}");
}

#[test]
fn a_shortage_before_the_start_explains_no_failure() {
    let (_dir, handle) = handle();
    let shortage = Arc::new(Shortage::default());
    shortage.note(true);
    shortage.note(false);
    handle.heed(Arc::clone(&shortage));

    write_fails_of(&handle, Errno::NOSPC);

    let refused = writing_later(&handle).err().unwrap();
    assert!(matches!(refused, Away::Failed), "{refused}");
}

#[test]
fn an_error_that_names_another_reason_is_no_matter_of_room_however_short_it_is() {
    let (_dir, handle) = handle();
    let shortage = Arc::new(Shortage::default());
    handle.heed(Arc::clone(&shortage));
    shortage.note(true);

    write_fails_of(&handle, Errno::IO);

    let refused = writing_later(&handle).err().unwrap();
    assert!(matches!(refused, Away::Failed), "{refused}");
}

/// Set when a thread is about to open a database anew.
static BEGAN: AtomicBool = AtomicBool::new(false);

fn has_room_and_began(_: &Path) -> io::Result<()> {
    BEGAN.store(true, Ordering::SeqCst);
    Ok(())
}

#[test]
fn a_disk_that_turns_out_to_have_failed_while_it_is_to_be_opened_anew_stays_failed() {
    let (_dir, mut handle) = handle();
    let writer = handle.writing().unwrap();
    let first = writer.0;
    meets_a_full_disk(&mut handle);
    handle.has_room = has_room_and_began;
    let handle = &handle;

    let refused = thread::scope(|scope| {
        let waiting = scope.spawn(|| handle.writing().err());
        while !BEGAN.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        // who wrote is told only now what became of it
        write_fails_of(handle, Errno::IO);
        drop(writer);
        waiting.join().unwrap()
    });

    assert!(matches!(refused, Some(Away::Failed)), "{refused:?}");
    let refused = writing_later(handle).err();
    assert!(matches!(refused, Some(Away::Failed)), "{refused:?}");
    assert_eq!(handle.reading().unwrap().0, first);
}

/// Held as long as a database is not to be opened.
static GATE: Mutex<()> = Mutex::new(());

fn open_behind_the_gate(dir: &Path) -> Result<Opened, OpenFailure> {
    let _passed = GATE.lock();
    open(dir)
}

#[test]
fn who_reads_never_waits_for_one_that_is_being_opened() {
    let (_dir, mut handle) = handle();
    handle.open = open_behind_the_gate;
    meets_a_full_disk(&mut handle);
    let handle = &handle;
    let (told, answers) = mpsc::sync_channel(1);

    let answer = thread::scope(|scope| {
        let closed = GATE.lock().unwrap();
        let opening = scope.spawn(|| handle.writing().map(|opened| opened.0));
        scope.spawn(move || {
            let mut answers = iter::repeat_with(|| {
                thread::sleep(LOOK_EVERY);
                handle.reading()
            });
            told.send(answers.by_ref().take(3_000).find_map(Result::err))
        });
        let answer = answers.recv_timeout(Duration::from_secs(5));
        drop(closed);
        opening.join().unwrap().unwrap();
        answer
    });

    assert!(matches!(answer, Ok(Some(Away::BeingOpened))), "{answer:?}");
    handle.reading().unwrap();
}

#[test]
fn whoever_still_reads_in_the_old_one_is_waited_for_and_it_is_kept_if_that_takes_too_long() {
    let (_dir, mut handle) = handle();
    let reader = handle.reading().unwrap();
    meets_a_full_disk(&mut handle);

    let refused = handle.writing().err().unwrap();
    let still = handle.reading().unwrap().0;
    let first = reader.0;
    drop(reader);
    let anew = writing_later(&handle).unwrap().0;

    assert!(matches!(refused, Away::InUse), "{refused}");
    assert_eq!(still, first);
    assert_ne!(anew, first);
}

#[test]
fn one_that_could_not_be_opened_is_tried_again_by_readers_too() {
    let (_dir, mut handle) = handle();
    meets_a_full_disk(&mut handle);
    handle.open = cannot_open;

    let refused = handle.writing().err().unwrap();
    let unread = handle.reading().err().unwrap();
    handle.open = open;
    thread::sleep(TRY_EVERY);

    assert!(matches!(refused, Away::Unopened(_)), "{refused}");
    assert!(matches!(unread, Away::BeingOpened), "{unread}");
    handle.reading().unwrap();
    handle.writing().unwrap();
}
