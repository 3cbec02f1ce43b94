use std::fs::File;
use std::sync::atomic::AtomicUsize;

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
fn what_failed_of_anything_but_room_is_left_as_it_is() {
    let (_dir, handle) = handle();
    let first = handle.writing().unwrap().0;

    write_fails_of(&handle, Errno::IO);
    write_fails_of(&handle, Errno::NOSPC);
    handle.judge(poisoned()).unwrap_err();

    assert_eq!(writing_later(&handle).unwrap().0, first);
}

#[test]
fn whoever_still_reads_in_the_old_one_is_waited_for_and_it_is_kept_if_that_takes_too_long() {
    let (_dir, handle) = handle();
    let reader = handle.reading().unwrap();
    write_fails_of(&handle, Errno::NOSPC);

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
    write_fails_of(&handle, Errno::NOSPC);
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
